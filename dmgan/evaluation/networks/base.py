"""Interface of a feature extractor, and functions that several extractors share."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dmgan.errors import UserError
from dmgan.runtime.provenance import versions
from dmgan.storage import downloads, files
from dmgan.storage.weights import read_state_dict

CODEC = "8-bit RGB, lossless"
_T = TypeVar("_T")


class FeatureExtractor:
    """uint8 images -> named float32 arrays, one row per image.

    `prepare` transforms one image (h, w, 3) before batching; None: no transform. It must be a module-level function, so
    that worker processes can unpickle it. `forward` takes the batch on the device.
    """

    name: str
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    packages: tuple[str, ...] = ("torch", "pillow")  # packages whose version can change a value
    code: tuple[str, ...] = ()  # further modules of this project that `forward` and `prepare` use

    def __init__(self, widths: dict[str, int], protocol: dict[str, object]):
        """widths: numbers per row of each array; protocol: network, hash of its weights, resize, input range."""
        self.widths, self.protocol = widths, protocol
        self.protocol_of_logits: dict[str, object] = {}  # entries that replace those of the protocol in the IS

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Return the arrays (B, width) of prepared images (B, h, w, 3)."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def identity(self) -> dict[str, object]:
        """Return all that determines the stored values, except the images; a change discards stored features."""
        installed = versions()
        return {
            "name": self.name,
            "widths": self.widths,
            "protocol": self.protocol,
            **({"protocol_of_logits": self.protocol_of_logits} if self.protocol_of_logits else {}),
            "versions": {each: installed[each] for each in self.packages},
            "code_sha256": {module: _module_sha256(module) for module in self.modules()},
        }

    def modules(self) -> list[str]:
        """Return the names of the modules of this project on which the values depend."""
        classes = (each for each in type(self).__mro__ if issubclass(each, FeatureExtractor))
        return sorted({*(each.__module__ for each in classes), *self.code})


def _module_sha256(module: str) -> str:
    return files.file_sha256(Path(importlib.util.find_spec(module).origin))


@dataclass
class ExtractorInputs:
    """Files that extractors are loaded from; a network that several extractors share is loaded once."""

    classifier: Path | None  # folder of the species classifier
    weights: Path  # folder of the Inception weights, into which missing ones are fetched
    device: torch.device
    probe: Path | None = None  # folder of the linear probe of efficientnet-lite0
    _made: dict[Callable, object] = field(default_factory=dict)

    def once(self, make: "Callable[[ExtractorInputs], _T]") -> _T:
        """Return make(self), called only once per function."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]


def resized(images: Tensor, size: int) -> Tensor:
    """Resize images (B, 3, h, w) to a square of another side: bilinear, antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def channels_first(batch: Tensor) -> Tensor:
    """Convert (B, h, w, 3) to (B, 3, h, w) float32, levels 0 ... 255."""
    return batch.permute(0, 3, 1, 2).float()


def signed(batch: Tensor) -> Tensor:
    """Convert (B, h, w, 3) uint8 to (B, 3, h, w) in [-1, 1]."""
    return channels_first(batch).div_(127.5).sub_(1.0)


class Weights(NamedTuple):
    """A checked state dict, and the hash of its file."""

    state: dict[str, Tensor]
    sha256: str
    source: str


def read_weights(path: Path) -> Weights:
    """Read a state dict and the hash of its file."""
    return Weights(read_state_dict(path, "fetch it again"), files.file_sha256(path), str(path))


def find_weights(name: str, folder: Path) -> Weights:
    """Return the weights of an asset from `folder`, after downloading a missing file and checking the hash.

    Raise UserError naming file, address and hash if the download fails or the hash differs.
    """
    asset = downloads.find(name)
    path = Path(folder) / asset.file
    wanted = f"{asset.file} of {asset.url}, SHA-256 {asset.sha256}"
    if not path.exists():
        try:
            downloads.fetch(asset, folder)
        except UserError as error:
            raise UserError(
                f"{path}: does not exist and could not be downloaded ({error}); expected: {wanted}"
            ) from error
    weights = read_weights(path)
    if not asset.fits(weights.sha256):
        raise UserError(f"{path}: has SHA-256 {weights.sha256}; expected: {wanted}; move it away and fetch it again")
    return weights
