"""FID (Heusel et al. 2017): Fréchet distance between the features of generated and of real images."""

from dmgan.evaluation.metrics.base import (
    CONTROL_REFERENCE,
    REFERENCE_PROTOCOL,
    Facts,
    FeatureMetric,
    Measurement,
    Result,
    against_reference,
)

LIBRARY = "this project's, float64 (equal to torch-fidelity's and clean-fid's)"


class FrechetInceptionDistance(FeatureMetric):
    """FID of all images, with the papers' ± over ten folds and an interval."""

    facts = Facts(
        "FID", "down", LIBRARY, on_extractor_scale=True, moves_with_images=True, worse_with_fewer=True,
        in_validation=True, protocol=(*REFERENCE_PROTOCOL, "library"), controls_may_differ=CONTROL_REFERENCE,
    )  # fmt: skip
    extractors = ("species", "inception-tf", "clean", "torchvision", "torchvision-released")

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.statistics.frechet import frechet_distance, whole_batches

        features = measurement.stored[self.reader]["features"]
        reference = measurement.reference(self.reader)
        batch = getattr(self.extractor, "batch", None)  # set by an extractor that drops an incomplete last batch
        if batch is not None:
            features = whole_batches(features, batch, measurement.subject.name)
            reference = whole_batches(reference, batch, "real images")
        count = len(features)
        order, clustered = measurement.fold_order(count), measurement.clustered_folds(count)
        protocol = {**against_reference(measurement, self.extractor, reference), "library": LIBRARY}
        return Result(frechet_distance(features, reference, order, clustered), protocol, count)

    def value(self, measurement: Measurement) -> float:
        from dmgan.evaluation.statistics.frechet import moments_to_reference, rows_to_moments, statistics_to_fid

        reference = moments_to_reference(rows_to_moments(measurement.reference(self.reader)))
        return statistics_to_fid(rows_to_moments(measurement.stored[self.reader]["features"]), reference)
