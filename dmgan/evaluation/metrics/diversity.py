"""Diversity: mean pairwise distance of the images over that of the real images."""

from dmgan.evaluation.metrics.base import (
    CONTROL_REFERENCE,
    REFERENCE_PROTOCOL,
    Facts,
    FeatureMetric,
    Measurement,
    Result,
    against_reference,
)
from dmgan.evaluation.statistics.folds import REAL_IMAGES, fold_rows, whole_with_jackknife

LIBRARY = "this project's: mean pairwise distance of the images over that of the reference, float64"


class Diversity(FeatureMetric):
    """Diversity: 1 if as diverse as the reference, 0 if all images are equal. More is not better: noise is diverse."""

    facts = Facts(
        "diversity", "", LIBRARY, decimals=3, least=0.0, collapsed_below=0.1,
        protocol=(*REFERENCE_PROTOCOL, "library"), controls_may_differ=CONTROL_REFERENCE,
    )  # fmt: skip
    extractors = ("species", "efficientnet-lite0")

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.statistics.pairwise import diversity

        features, reference = measurement.stored[self.reader]["features"], measurement.reference(self.reader)
        folds, clustered = fold_rows(measurement.fold_order()), measurement.clustered_folds()
        found = diversity(features.all(), reference.all(), folds, clustered)
        score = whole_with_jackknife(*found, held_fixed=REAL_IMAGES)
        protocol = {**against_reference(measurement, self.extractor, reference), "library": LIBRARY}
        return Result(score, protocol, len(features))
