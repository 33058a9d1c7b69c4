"""KID (Binkowski et al. 2018): kernel distance between the features of generated and of real images."""

from dmgan.evaluation.metrics.base import (
    CONTROL_REFERENCE,
    REFERENCE_PROTOCOL,
    Facts,
    FeatureMetric,
    Measurement,
    Result,
    against_reference,
)
from dmgan.evaluation.metrics.inception_score import LIBRARY


class KernelInceptionDistance(FeatureMetric):
    """torch-fidelity's KID: the mean over 100 random subsets."""

    # No bounds: the estimate is unbiased, so that it is below 0 for half of all pairs of equal distributions.
    facts = Facts(
        "KID", "down", LIBRARY, "binkowski2018demystifying", decimals=3, on_extractor_scale=True,
        protocol=(*REFERENCE_PROTOCOL, "library", "subsets", "subset_size"),
        controls_may_differ=(*CONTROL_REFERENCE, "subset_size"),
    )  # fmt: skip
    extractors = ("species", "efficientnet-lite0", "inception-tf", "clean")

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.statistics import kernel

        features, reference = measurement.stored[self.reader]["features"], measurement.reference(self.reader)
        count = len(features)
        protocol = {
            **against_reference(measurement, self.extractor, reference),
            "library": LIBRARY,
            "subsets": kernel.SUBSETS,
            "subset_size": kernel.subset_size(count, len(reference)),
        }
        score = kernel.kernel_distance(features, reference, measurement.fold_order(), measurement.clustered_folds())
        return Result(score, protocol, count)
