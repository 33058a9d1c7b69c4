"""R-precision (AttnGAN, section 4): share of images that retrieve their own caption among 99 mismatched captions."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dmgan.errors import UserError
from dmgan.evaluation.metrics.base import FEWEST_FOR_SHARES, Facts, Measurement, Metric, Result
from dmgan.evaluation.statistics import folds

if TYPE_CHECKING:
    from dmgan.data.dataset import PreparedDataset
    from dmgan.evaluation.networks.caption_encoder import CaptionEncoder
    from dmgan.evaluation.networks.loaded import EvaluationNetworks
    from dmgan.evaluation.statistics.uncertainty import Bootstrap


class RPrecision(Metric):
    """R-precision (R = 1) in percent over ten folds, by an encoder of images and captions."""

    facts = Facts(
        "R-precision", "up", "this project's (equal to the released code's)", "xu2018attngan", unit="%",
        least=0.0, largest=100.0, fewest_images=FEWEST_FOR_SHARES, reads_captions=True, in_validation=True,
        protocol=("captions", "candidates", "mismatched", "caption_seed", "fold_seed", "fold_rule"),
        published_readers=(("CUB", "training DAMSM"), ("COCO", "training DAMSM")),
    )  # fmt: skip

    def __init__(self, encoder: "CaptionEncoder"):
        self.encoder, self.extractor, self.reader = encoder, encoder.extractor, encoder.name

    @classmethod
    def build(cls, networks: "EvaluationNetworks") -> list[Metric]:
        return [cls(each) for each in networks.caption_encoders]

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.statistics import retrieval
        from dmgan.evaluation.statistics.uncertainty import bootstrap_share

        subject, options = measurement.subject, measurement.options
        hits = self._hits(measurement)
        order = measurement.fold_order()
        fold_of_each = folds.fold_of_each(len(subject), order)
        counts = np.ones(len(hits))
        return Result(
            score=folds.mean_over_folds(
                retrieval.precision_of_folds(hits, fold_of_each, order, options.fold_rule),
                np.array([100 * hits[rows].mean() for rows in measurement.clustered_folds()]),
            ),
            protocol={
                **self.extractor.protocol,
                "captions": self.encoder.reading(options),
                "candidates": retrieval.CANDIDATES,
                "mismatched": retrieval.MISMATCHED,
                "caption_seed": options.seed,
                "fold_seed": options.seed,
                "fold_rule": options.fold_rule,
            },
            num_images=int(retrieval.counted_images(fold_of_each, order, options.fold_rule).sum()),
            bootstrap=bootstrap_share(hits, counts, subject.test_images, options.seed),
            chance=100 / retrieval.CANDIDATES,
            hits=hits.astype(np.int64),
            counts=counts.astype(np.int64),
        )

    def share(self, measurement: Measurement) -> "Bootstrap":
        """Return the value over all images and its interval, for image sets of any size."""
        from dmgan.evaluation.statistics.uncertainty import bootstrap_share

        hits = self._hits(measurement)
        seed = measurement.options.seed
        return bootstrap_share(hits, np.ones(len(hits)), measurement.subject.test_images, seed)

    def value(self, measurement: Measurement) -> float:
        return float(100 * self._hits(measurement).mean())

    def _hits(self, measurement: Measurement) -> np.ndarray:
        """Return, for each image, whether it retrieves its own caption, (N,) bool."""
        from dmgan.evaluation.statistics import retrieval

        subject, dataset, options = measurement.subject, measurement.dataset, measurement.options
        pool, pool_classes = retrieval.pool_of_test_captions(dataset)
        own = self.encoder.own_captions(subject, dataset, options)
        texts = [*own, *(self.encoder.caption(dataset, *each, options) for each in pool)]
        captions, rows = retrieval.distinct(texts)
        candidates = np.empty((len(own), retrieval.CANDIDATES), rows.dtype)
        candidates[:, 0] = rows[: len(own)]
        own_classes, others = dataset.class_ids[subject.test_images], rows[len(own) :]
        for some, mismatched in retrieval.mismatched_blocks(own_classes, pool_classes, options.seed):
            candidates[some, 1:] = others[mismatched]
        places = [*zip(subject.test_images, subject.captions, strict=True), *pool]
        images, sentences = measurement.stored[self.extractor.name]["embeddings"].all(), self.encoder.encode(captions)
        self._refuse_unusable(images, subject.read.name)
        self._refuse_unusable(sentences, lambda row: _caption_name(dataset, *places[np.flatnonzero(rows == row)[0]]))
        return retrieval.retrieval_hits(images, sentences, candidates)

    def _refuse_unusable(self, embeddings: np.ndarray, name: Callable[[int], str]) -> None:
        """Raise UserError naming the first of embeddings (N, E) that is zero or not finite and has no cosine."""
        lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
        bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(bad):
            what = "has length 0" if lengths[bad[0]] == 0 else "is not finite"
            raise UserError(
                f"{name(int(bad[0]))}: its embedding by {self.extractor.name} {what} ({len(bad)} of "
                f"{len(embeddings)} embeddings); {self.key} cannot be computed; the encoder's weights are broken, make "
                "or fetch them again"
            )


def _caption_name(dataset: "PreparedDataset", image: int, caption: int) -> str:
    return f"{dataset.folder}: caption {caption} of {dataset.name(image)}"
