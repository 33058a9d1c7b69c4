"""FID (Heusel et al. 2017): Fréchet distance between the features of generated and of real images."""

import re
from typing import TYPE_CHECKING

from dmgan.evaluation.metrics.base import (
    CONTROL_REFERENCE,
    REFERENCE_PROTOCOL,
    Facts,
    FeatureMetric,
    Measurement,
    Metric,
    Result,
    against_reference,
)

if TYPE_CHECKING:
    from dmgan.evaluation.feature_store import Rows
    from dmgan.evaluation.networks.base import FeatureExtractor
    from dmgan.evaluation.networks.loaded import EvaluationNetworks
    from dmgan.evaluation.networks.reference_statistics import ReferenceStatistics

LIBRARY = "this project's, float64 (equal to torch-fidelity's and clean-fid's)"


class FrechetInceptionDistance(FeatureMetric):
    """FID of all images, with the papers' ± over ten folds and an interval."""

    facts = Facts(
        "FID", "down", LIBRARY, "heusel2017gans", least=0.0, on_extractor_scale=True, moves_with_images=True,
        worse_with_fewer=True, in_validation=True, protocol=(*REFERENCE_PROTOCOL, "library"),
        controls_may_differ=CONTROL_REFERENCE,
        published_readers=(("CUB", "torchvision-released"), ("COCO", "torchvision-released")),
    )  # fmt: skip
    extractors = ("species", "efficientnet-lite0", "inception-tf", "clean", "torchvision", "torchvision-released")

    @classmethod
    def build(cls, networks: "EvaluationNetworks") -> list[Metric]:
        stored = [FrechetDistanceToStatistics(each) for each in networks.reference_statistics]
        return [*super().build(networks), *stored]

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.statistics.frechet import frechet_distance

        features = _whole_batches(self.extractor, measurement.stored[self.reader]["features"], measurement.subject.name)
        reference = _whole_batches(self.extractor, measurement.reference(self.reader), "real images")
        count = len(features)
        order, clustered = measurement.fold_order(count), measurement.clustered_folds(count)
        protocol = {**against_reference(measurement, self.extractor, reference), "library": LIBRARY}
        return Result(frechet_distance(features, reference, order, clustered), protocol, count)

    def value(self, measurement: Measurement) -> float:
        from dmgan.evaluation.statistics.frechet import moments_to_reference, rows_to_moments, statistics_to_fid

        features = _whole_batches(self.extractor, measurement.stored[self.reader]["features"], measurement.subject.name)
        reference = _whole_batches(self.extractor, measurement.reference(self.reader), "real images")
        return statistics_to_fid(rows_to_moments(features), moments_to_reference(rows_to_moments(reference)))


def _whole_batches(extractor: "FeatureExtractor", features: "Rows", name: str) -> "Rows":
    """Return the features, without an incomplete last batch if the extractor drops it."""
    from dmgan.evaluation.statistics.frechet import whole_batches

    batch = getattr(extractor, "batch", None)  # set by an extractor that drops an incomplete last batch
    return features if batch is None else whole_batches(features, batch, name)


class FrechetDistanceToStatistics(FrechetInceptionDistance):
    """FID against stored statistics, such as DM-GAN's bird_val.npz, in a column of their own."""

    reads_reference = False  # features of real images; only their stored statistics

    def __init__(self, statistics: "ReferenceStatistics"):
        super().__init__(statistics.extractor)
        self._statistics = statistics
        self.reader = f"{statistics.extractor.name}, {re.sub('[()]', '', statistics.name)}"

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.statistics.frechet import distance_to_reference, statistics_to_reference

        statistics, name = self._statistics, measurement.subject.name
        features = _whole_batches(self.extractor, measurement.stored[self.extractor.name]["features"], name)
        count = len(features)
        real = statistics_to_reference(statistics.mean, statistics.covariance)
        score = distance_to_reference(features, real, measurement.fold_order(count), measurement.clustered_folds(count))
        protocol = {
            **self.extractor.protocol,
            "reference": f"stored statistics, {statistics.name}",
            "reference_sha256": statistics.sha256,
            "fold_seed": measurement.options.seed,
            "library": LIBRARY,
        }
        return Result(score, protocol, count)

    def value(self, measurement: Measurement) -> float:
        from dmgan.evaluation.statistics.frechet import rows_to_moments, statistics_to_fid, statistics_to_reference

        features = measurement.stored[self.extractor.name]["features"]
        features = _whole_batches(self.extractor, features, measurement.subject.name)
        real = statistics_to_reference(self._statistics.mean, self._statistics.covariance)
        return statistics_to_fid(rows_to_moments(features), real)
