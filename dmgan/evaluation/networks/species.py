"""Extractor `species`: the species classifier that was trained on the data set, on classes of one of its splits."""

from torch import Tensor

from dmgan.errors import UserError
from dmgan.evaluation.networks.base import CODEC, ExtractorInputs, FeatureExtractor, resized, signed
from dmgan.evaluation.networks.classifier import TrainedClassifier


class SpeciesFeatures(FeatureExtractor):
    """Features and class logits of the species classifier."""

    name = "species"
    packages = ("torch",)
    code = ("dmgan.evaluation.networks.classifier",)

    def __init__(self, classifier: TrainedClassifier):
        self._classifier = classifier
        protocol = {
            "feature_network": "species-classifier" + ("" if classifier.split == "train" else " of the test classes"),
            "feature_network_sha256": classifier.sha256,
            "feature_network_accuracy": classifier.validation_accuracy,
            "resize": f"to {classifier.options.image_size} px, bilinear with antialiasing, where the side differs",
            "input_range": "[-1, 1]",
            "codec": CODEC,
        }
        network = classifier.network
        super().__init__({"features": network.logits.in_features, "logits": network.logits.out_features}, protocol)

    @classmethod
    def read(cls, inputs: ExtractorInputs) -> "SpeciesFeatures":
        """Read the classifier's folder; raise UserError if none is given."""
        if inputs.classifier is None:
            raise UserError("--extractors species: needs the species classifier; give --classifier FOLDER")
        return cls(TrainedClassifier.read(inputs.classifier, inputs.device))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        features, logits = self._classifier.network(resized(signed(batch), self._classifier.options.image_size))
        return {"features": features, "logits": logits}
