"""The attribute classifier of synthbirds: which attribute values an image shows.

Only synthbirds has captions whose attributes are stored. The classifier is trained on real images; its accuracy on
real test images, of species that training did not include, is recorded with every value.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.synthbirds.attributes import SPECIES_ATTRIBUTES
from dmgan.errors import UserError
from dmgan.evaluation.attribute_values import NAMES, PLACES, SIZES, has_named_attributes
from dmgan.evaluation.networks.base import CODEC, FeatureExtractor, resized, signed
from dmgan.evaluation.networks.classifier import WEIGHTS, ImageClassifier, Labels
from dmgan.options import ClassifierOptions, from_dict
from dmgan.storage import files
from dmgan.storage.reading import read_object
from dmgan.storage.weights import build_network

_WRITTEN = {"options": dict, "attributes": dict, "majority": [int], "test_accuracy_of_named": float}  # options.json


class TrainedAttributes(NamedTuple):
    """A frozen attribute classifier and its protocol."""

    network: ImageClassifier
    options: ClassifierOptions
    labels: Labels
    majority: np.ndarray  # (A,) most frequent value of each attribute in training captions
    protocol: dict[str, object]

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> "TrainedAttributes":
        """Read the folder that `train_attributes` wrote."""
        folder = Path(folder)
        hint = f"train it: python -m dmgan attributes --data FOLDER --out {folder}"
        written = read_object(folder / "options.json", hint, _WRITTEN)
        options = from_dict(ClassifierOptions, written["options"], str(folder / "options.json"))
        if written.get("attributes") != {name: list(values) for name, values in SPECIES_ATTRIBUTES.items()}:
            raise UserError(f"{folder / 'options.json'}: is of a classifier of other attributes; {hint}")
        if len(written["majority"]) != len(SIZES):
            raise UserError(f"{folder / 'options.json'}: is damaged (majority names no value of an attribute); {hint}")
        network = build_network(
            lambda: ImageClassifier(options.width, options.features, sum(SIZES), PLACES), folder / WEIGHTS, hint
        )
        network.to(device).eval().requires_grad_(False)
        protocol = {
            "feature_network": "attribute-classifier",
            "feature_network_sha256": files.file_sha256(folder / WEIGHTS),
            "accuracy_on_real_test_images": written["test_accuracy_of_named"],
        }
        return cls(network, options, Labels(np.empty((0, len(NAMES))), SIZES), np.array(written["majority"]), protocol)

    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """Return the most probable value of each attribute, (N, A), from logits (N, sum of SIZES)."""
        return self.labels.predicted(torch.from_numpy(np.asarray(logits))).numpy()


class AttributeClassifier(FeatureExtractor):
    """Logits of the attribute classifier, and the attribute values that it predicts."""

    name = "attribute-classifier"
    packages = ("torch",)
    code = ("dmgan.evaluation.networks.classifier",)

    def __init__(self, trained: TrainedAttributes):
        self.trained = trained
        protocol = {
            **trained.protocol,
            "resize": f"to {trained.options.image_size} px, bilinear with antialiasing, where the side differs",
            "codec": CODEC,
        }
        super().__init__({"logits": sum(SIZES)}, protocol)

    @classmethod
    def read(cls, folder: Path, dataset: PreparedDataset, device: torch.device) -> "AttributeClassifier":
        """Read the folder of `train_attributes`; raise UserError if the captions of `dataset` name no attributes."""
        if not has_named_attributes(dataset):
            raise UserError(f"{dataset.folder}: its captions name no known attributes; leave --attributes out")
        return cls(TrainedAttributes.read(folder, device))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"logits": self.trained.network(resized(signed(batch), self.trained.options.image_size))[1]}

    def values(self, logits: np.ndarray) -> np.ndarray:
        """Return the most probable value of each attribute, (N, attributes), from stored logits (N, sum of SIZES)."""
        return self.trained.predicted(logits)
