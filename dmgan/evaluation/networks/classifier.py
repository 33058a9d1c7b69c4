"""Small image classifiers: the network, loading trained weights, and labels.

The extractor `species` reads the features of the species classifier; attributes.py has the attribute classifier.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.data.batches import centre_crop, to_tensor
from dmgan.data.dataset import PreparedDataset
from dmgan.options import ClassifierOptions, from_dict
from dmgan.storage import files
from dmgan.storage.reading import read_object
from dmgan.storage.weights import build_network

WEIGHTS = "classifier.safetensors"
_WRITTEN = {"options": dict, "classes": int, "validation_accuracy": float, "split?": str}  # into options.json


class ImageClassifier(nn.Module):
    """A small convolutional network: images -> features and class logits."""

    def __init__(self, width: int, features: int, classes: int, places: int = 2):
        super().__init__()
        self.places = places  # side of the feature map that the linear layer reads
        channels = [3, width, 2 * width, 4 * width, 4 * width]
        blocks = [_block(inputs, outputs) for inputs, outputs in zip(channels, channels[1:], strict=False)]
        self.trunk = nn.Sequential(*blocks)
        self.embed = nn.Sequential(
            nn.Linear(places * places * channels[-1], features), nn.BatchNorm1d(features), nn.ReLU()
        )
        self.logits = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, classes) of images (B, 3, s, s) in [-1, 1]."""
        features = self.embed(F.adaptive_avg_pool2d(self.trunk(images), self.places).flatten(1))
        return features, self.logits(features)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class TrainedClassifier(NamedTuple):
    """A frozen classifier, the hash of its weights and its accuracy."""

    network: ImageClassifier
    options: ClassifierOptions
    sha256: str  # of its weights
    validation_accuracy: float  # on held-out images of the classes that it was trained on
    split: str  # whose classes it was trained on

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> "TrainedClassifier":
        """Read the folder that `train_classifier` wrote."""
        folder = Path(folder)
        hint = f"train it: python -m dmgan classifier --data FOLDER --out {folder}"
        written = read_object(folder / "options.json", hint, _WRITTEN)
        options = from_dict(ClassifierOptions, written["options"], str(folder / "options.json"))
        network = build_network(
            lambda: ImageClassifier(options.width, options.features, written["classes"]), folder / WEIGHTS, hint
        )
        network.to(device).eval().requires_grad_(False)
        split = written.get("split", "train")  # classifiers of earlier versions do not state it
        return cls(network, options, files.file_sha256(folder / WEIGHTS), written["validation_accuracy"], split)


class Labels(NamedTuple):
    """Labels of a classifier, one or more per image."""

    of_image: np.ndarray  # (images, L) int64, values from 0
    sizes: tuple[int, ...]  # values of each label

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the cross entropy (L,) of logits (B, sum of sizes) against target (B, L)."""
        parts = zip(logits.split(self.sizes, dim=1), target.unbind(dim=1), strict=True)
        return torch.stack([F.cross_entropy(part, wanted) for part, wanted in parts])

    def predicted(self, logits: Tensor) -> Tensor:
        """Return the most probable value of each label, (B, L)."""
        return torch.stack([part.argmax(dim=1) for part in logits.split(self.sizes, dim=1)], dim=1)


@torch.inference_mode()
def predictions(
    network: nn.Module,
    dataset: PreparedDataset,
    indices: np.ndarray,
    labels: Labels,
    size: int,
    device: torch.device,
) -> np.ndarray:
    """Return the most probable value of each label of real images, centre crops, (len(indices), L)."""
    parts = []
    for start in range(0, len(indices), 256):
        images = to_tensor([centre_crop(dataset, i, size) for i in indices[start : start + 256]])
        parts.append(labels.predicted(network(images.to(device))[1]).cpu().numpy())
    return np.concatenate(parts)
