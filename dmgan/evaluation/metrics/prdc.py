"""Precision, recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020)."""

from dmgan.evaluation.metrics.base import (
    CONTROL_REFERENCE,
    REFERENCE_PROTOCOL,
    Facts,
    FeatureMetric,
    Measurement,
    Result,
    against_reference,
)
from dmgan.evaluation.statistics.folds import fold_order

LIBRARY = "this project's (equal to prdc's)"
_KYNKAANNIEMI, _NAEEM = "kynkaanniemi2019improved", "naeem2020reliable"


def _facts(name: str, citation: str, largest: float | None = 1.0) -> Facts:
    return Facts(
        name, "up", LIBRARY, citation, decimals=3, least=0.0, largest=largest, moves_with_images=True,
        protocol=(*REFERENCE_PROTOCOL, "library", "neighbours"), controls_may_differ=CONTROL_REFERENCE,
    )  # fmt: skip


class _ManifoldMetric(FeatureMetric):
    """Base of the four metrics, which share one computation of neighbourhoods."""

    extractors = ("species", "efficientnet-lite0", "inception-tf", "clean", "torchvision")

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.statistics.manifolds import manifold_scores

        options = measurement.options
        features, reference = measurement.stored[self.reader]["features"], measurement.reference(self.reader)
        order, clustered = measurement.fold_order(), measurement.clustered_folds()
        reference_order = fold_order(len(reference), options.seed)
        scores = measurement.once(
            ("manifolds", self.reader),
            lambda: manifold_scores(features, reference, order, clustered, reference_order, options.neighbours),
        )
        protocol = against_reference(measurement, self.extractor, reference)
        protocol |= {"library": LIBRARY, "neighbours": options.neighbours}
        return Result(scores[self.facts.name], protocol, len(features))


class Precision(_ManifoldMetric):
    """Share of generated images inside the manifold of the real ones."""

    facts = _facts("precision", _KYNKAANNIEMI)


class Recall(_ManifoldMetric):
    """Share of real images inside the manifold of the generated ones."""

    facts = _facts("recall", _KYNKAANNIEMI)


class Density(_ManifoldMetric):
    """Number of real neighbourhoods that hold a generated image, over k."""

    facts = _facts("density", _NAEEM, largest=None)  # a count of neighbours over k, which may exceed 1


class Coverage(_ManifoldMetric):
    """Share of real images whose neighbourhood holds a generated image."""

    facts = _facts("coverage", _NAEEM)
