"""Frozen feature networks that models and losses read: VGG-16 up to a layer, and a small replacement for demos."""

import hashlib
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from dmgan.errors import UserError
from dmgan.runtime.randomness import generator
from dmgan.storage import downloads as assets
from dmgan.storage import files
from dmgan.storage.weights import load_state, read_state_dict

REDUCTION = 16  # side of the image divided by the side of the generator's feature map, for both networks
CHANNELS = {"vgg16": 512, "small": 64}
_DEPTHS = {"relu2_2": 9, "relu5_3": 30}  # number of layers of torchvision's vgg16().features, including the named layer
_SMALL_WIDTHS = (3, 16, 32, 64, CHANNELS["small"])
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet statistics, which torchvision's weights expect
_ASSET = assets.find("vgg16")


class FeatureNetwork:
    """Frozen network: images (B, 3, s, s) in [-1, 1] -> features (B, C, h, w), differentiable in the images.

    normalises: the layers read images with ImageNet's mean and deviation, as torchvision's weights expect; otherwise
    they read the images as given. The class is not an nn.Module, so that its weights do not become parameters of a
    model that stores it.
    """

    def __init__(self, name: str, layers: nn.Module, sha256: str, normalises: bool = False):
        self.name, self.sha256, self.normalises = name, sha256, normalises
        self.layers = layers.eval().requires_grad_(False)
        self._statistics = torch.tensor([_MEAN, _STD])[:, None, :, None, None]  # (2, 1, 3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        self.layers.to(images.device)
        images = images.float()  # the weights are float32; autocast converts both
        if self.normalises:
            self._statistics = self._statistics.to(images)  # copied from the host once, not in every step
            mean, std = self._statistics
            images = ((images + 1) / 2 - mean) / std
        return self.layers(images)


def vgg16(weights: Path | None, layer: str, option: str, alternative: str, normalises: bool = True) -> FeatureNetwork:
    """Return VGG-16 up to `layer` with torchvision's ImageNet weights.

    normalises: see FeatureNetwork. UserError if `weights` is None or another file. The message names `option`, which
    selected VGG-16, and `alternative`, an option that needs no weights.
    """
    from torchvision.models.vgg import cfgs, make_layers

    hint = f"give --vgg16-weights {_ASSET.file} (python -m dmgan fetch {_ASSET.name}), or use {alternative}"
    if weights is None:
        raise UserError(f"{option}: needs VGG-16's weights; {hint}")
    layers = make_layers(cfgs["D"])[: _DEPTHS[layer]]  # "D" is VGG-16
    own = {key.removeprefix("features."): value for key, value in read_state_dict(weights, hint).items()}
    load_state(layers, {key: own[key] for key in layers.state_dict().keys() & own.keys()}, str(weights), hint)
    sha256 = files.file_sha256(weights)
    if Path(weights).name == _ASSET.file and not _ASSET.fits(sha256):
        raise UserError(f"{weights}: has SHA-256 {sha256}, not {_ASSET.sha256}; {hint}")
    return FeatureNetwork("vgg16", layers, sha256, normalises)


def small() -> FeatureNetwork:
    """Return four convolutions with fixed random weights, which replace VGG-16 at demo sizes."""
    layers, digest = [], hashlib.sha256()
    for number, (inputs, outputs) in enumerate(pairwise(_SMALL_WIDTHS)):
        conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
        random = generator(0, "small feature network", number)
        values = random.standard_normal((outputs, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5
        conv.weight.data = torch.from_numpy(values).float()
        digest.update(conv.weight.data.numpy().tobytes())
        layers += [conv, nn.ReLU()]
    return FeatureNetwork("small", nn.Sequential(*layers), digest.hexdigest())


def feature_network(kind: str, weights: Path | None) -> FeatureNetwork:
    """Return the network that ArchitectureOptions.feature_network names: "vgg16" up to relu5_3, or "small"."""
    if kind == "vgg16":
        return vgg16(weights, "relu5_3", "feature_network vgg16", "--feature-network small")
    if weights is not None:
        raise UserError(f"--vgg16-weights {weights}: is not used with feature_network small; leave it out")
    return small()
