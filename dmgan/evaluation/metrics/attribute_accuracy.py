"""Attribute accuracy: the share of the attributes in a caption that its image shows, by a classifier of attributes.

Defined on synthbirds, whose attributes are stored. The classifier's accuracy on real test images is in the protocol;
`chance` is the share of the most frequent values.
"""

from typing import TYPE_CHECKING

import numpy as np

from dmgan.evaluation.metrics.base import Facts, Measurement, Metric, Result
from dmgan.evaluation.statistics import folds

if TYPE_CHECKING:
    from dmgan.evaluation.networks.attributes import AttributeClassifier
    from dmgan.evaluation.networks.loaded import EvaluationNetworks


class AttributeAccuracy(Metric):
    """Share of caption attributes that the images show, in percent over ten folds."""

    facts = Facts(
        "attribute accuracy", "up", "this project's", unit="%", reads_captions=True,
        protocol=("accuracy_on_real_test_images", "fold_seed"),
    )  # fmt: skip
    reader = "attribute classifier"

    def __init__(self, classifier: "AttributeClassifier"):
        self.extractor = classifier

    @classmethod
    def build(cls, networks: "EvaluationNetworks") -> list[Metric]:
        return [] if networks.attributes is None else [cls(networks.attributes)]

    def compute(self, measurement: Measurement) -> Result:
        from dmgan.evaluation.attribute_values import shown_attributes, wanted_values
        from dmgan.evaluation.statistics.uncertainty import bootstrap_share

        subject, dataset, seed = measurement.subject, measurement.dataset, measurement.options.seed
        values = self.extractor.values(measurement.stored[self.extractor.name]["logits"].all())
        texts = [dataset.caption(*each) for each in zip(subject.test_images, subject.captions, strict=True)]
        wanted = wanted_values(texts)
        hits, counts = shown_attributes(values, wanted)
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
