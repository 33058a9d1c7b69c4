"""A linear probe: multinomial logistic regression from frozen features to the classes of a data set.

It gives class probabilities, and so an Inception Score, to an extractor whose network knows other classes.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dmgan.storage import files
from dmgan.storage.reading import read_object
from dmgan.storage.weights import build_network

WEIGHTS, OPTIONS = "probe.safetensors", "options.json"
_WRITTEN = {"features": int, "classes": int, "validation_accuracy": float}  # entries of options.json that are read


class LinearProbe(nn.Module):
    """Standardised features -> class logits."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes) of features (B, D)."""
        return self.linear((features - self.mean) * self.scale)


class FittedProbe(NamedTuple):
    """A fitted probe, the hash of its weights and its accuracy."""

    network: LinearProbe
    sha256: str
    accuracy: float  # on held-out training images of the classes that it was fitted to

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> "FittedProbe":
        """Read the folder that `fit_probe` wrote."""
        folder = Path(folder)
        hint = f"fit it: python -m dmgan probe --data FOLDER --out {folder}"
        written = read_object(folder / OPTIONS, hint, _WRITTEN)
        network = build_network(lambda: LinearProbe(written["features"], written["classes"]), folder / WEIGHTS, hint)
        network.to(device).eval().requires_grad_(False)
        return cls(network, files.file_sha256(folder / WEIGHTS), written["validation_accuracy"])
