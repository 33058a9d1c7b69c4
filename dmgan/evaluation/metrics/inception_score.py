"""Inception Score (Salimans et al. 2016): mean over ten splits of the images, by torch-fidelity."""

import importlib.metadata
from typing import TYPE_CHECKING

import numpy as np

from dmgan.errors import UserError
from dmgan.evaluation.metrics.base import Facts, FeatureMetric, Measurement, Metric, Result
from dmgan.evaluation.statistics.folds import TORCH_FIDELITY_SEED, fold_rows, mean_over_folds

if TYPE_CHECKING:
    from dmgan.evaluation.networks.loaded import EvaluationNetworks

LIBRARY = f"torch-fidelity {importlib.metadata.version('torch-fidelity')}"


class InceptionScore(FeatureMetric):
    """IS of class logits; the split order depends on the extractor's protocol."""

    facts = Facts(
        "IS", "up", LIBRARY, "salimans2016improved", least=1.0, moves_with_images=True, worse_with_fewer=True,
        bootstrap_is_of_value=False, protocol=("library", "classes", "splits"),
        published_readers=(("CUB", "birds-released"), ("COCO", "openai-released")),
    )  # fmt: skip
    extractors = ("species", "efficientnet-lite0", "inception-tf", "openai-released", "birds-released")

    @classmethod
    def build(cls, networks: "EvaluationNetworks") -> "list[Metric]":
        return [each for each in super().build(networks) if "logits" in each.extractor.widths]

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.statistics.uncertainty import bootstrap_inception_score

        subject, seed = measurement.subject, measurement.options.seed
        logits = measurement.stored[self.reader]["logits"]
        order, rule = self._split_order(measurement)
        protocol = {
            **self.extractor.protocol,
            **self.extractor.protocol_of_logits,
            "library": LIBRARY,
            "classes": logits.width,
            "splits": rule,
        }
        score = inception_score(logits, order, measurement.clustered_folds())
        bootstrap = bootstrap_inception_score(logits.blocks(1024), subject.test_images, seed)
        return Result(score, protocol, len(order), bootstrap)

    def _split_order(self, measurement: Measurement) -> tuple[np.ndarray, str]:
        """Return the image order that is cut into ten splits, and its description."""
        count, seed = len(measurement.subject), measurement.options.seed
        batch = getattr(self.extractor, "batch", None)  # set by an extractor that drops an incomplete last batch
        if batch is not None:
            if count < batch:
                name = measurement.subject.name
                raise UserError(f"{name}: {count} images do not fill a batch of {batch}, as {self.reader} needs")
            order = measurement.fold_order()[: count // batch * batch]
            return order, f"a permutation of seed {seed}, without the images behind the last batch of {batch}"
        if self.reader == "inception-tf":
            return torch_fidelity_order(count), f"torch-fidelity's permutation, seed {TORCH_FIDELITY_SEED}"
        if self.reader == "openai-released":
            return np.arange(count), "consecutive images, not shuffled"
        return measurement.fold_order(), f"a permutation of seed {seed}"


def torch_fidelity_order(count: int) -> np.ndarray:
    """Return the image order that torch-fidelity cuts into ten splits."""
    return np.random.RandomState(TORCH_FIDELITY_SEED).permutation(count)


def inception_score(logits, order: np.ndarray, clustered: list[np.ndarray]):
    """Return the IS (a Score) of logits (Rows, N x classes): mean over ten consecutive splits of `order`.

    clustered: the images of each fold of whole test images, for the interval.
    """
    import torch
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    def of_each(folds: list[np.ndarray]) -> np.ndarray:
        splits = (torch.from_numpy(logits.take(rows)) for rows in folds)
        return np.array([isc_features_to_metric(each, splits=1, shuffle=False)[KEY_METRIC_ISC_MEAN] for each in splits])

    return mean_over_folds(of_each(fold_rows(order)), of_each(clustered))
