"""Attribute accuracy: the share of the attributes in a caption that its image shows, by a classifier of attributes.

Defined on synthbirds, whose attributes are stored. The classifier's accuracy on real test images is in the protocol;
`chance` is the share of the most frequent values.
"""

from typing import TYPE_CHECKING

import numpy as np

from dmgan.evaluation.metrics.base import FEWEST_FOR_SHARES, Facts, Measurement, Metric, Result
from dmgan.evaluation.statistics import folds

if TYPE_CHECKING:
    from dmgan.evaluation.networks.attributes import AttributeClassifier
    from dmgan.evaluation.networks.loaded import EvaluationNetworks


class AttributeAccuracy(Metric):
    """Share of caption attributes that the images show, in percent over ten folds."""

    facts = Facts(
        "attribute accuracy", "up", "this project's", unit="%", least=0.0, largest=100.0,
        fewest_images=FEWEST_FOR_SHARES, reads_captions=True, in_validation=True,
        protocol=("accuracy_on_real_test_images", "fold_seed"),
    )  # fmt: skip
    reader = "attribute classifier"

    def __init__(self, classifier: "AttributeClassifier"):
        self.extractor = classifier

    @classmethod
    def build(cls, networks: "EvaluationNetworks") -> list[Metric]:
        return [] if networks.attributes is None else [cls(networks.attributes)]

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.attribute_values import shown_attributes
        from dmgan.evaluation.statistics.uncertainty import bootstrap_share

        subject, seed = measurement.subject, measurement.options.seed
        hits, counts, wanted = self._hits(measurement)
        guessed, _ = shown_attributes(np.broadcast_to(self.extractor.trained.majority, wanted.shape), wanted)
        single = folds.fold_rows(measurement.fold_order())
        shares = (
            np.array([100 * hits[rows].sum() / counts[rows].sum() for rows in each])
            for each in (single, measurement.clustered_folds())
        )
        return Result(
            score=folds.mean_over_folds(*shares),
            protocol={**self.extractor.protocol, "fold_seed": seed},
            num_images=len(subject),
            bootstrap=bootstrap_share(hits, counts, subject.test_images, seed),
            chance=float(100 * guessed.sum() / counts.sum()),
            hits=hits,
            counts=counts,
        )

    def value(self, measurement: Measurement) -> float:
        hits, counts, _ = self._hits(measurement)
        return float(100 * hits.sum() / counts.sum())

    def _hits(self, measurement: Measurement) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, per image, attributes of the caption that it shows and that there are, (N,), and values wanted."""
        from dmgan.evaluation.attribute_values import shown_attributes, wanted_values

        subject, dataset = measurement.subject, measurement.dataset
        values = self.extractor.values(measurement.stored[self.extractor.name]["logits"].all())
        wanted = wanted_values(
            [dataset.caption(*each) for each in zip(subject.test_images, subject.captions, strict=True)]
        )
        return *shown_attributes(values, wanted), wanted
