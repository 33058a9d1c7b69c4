"""Frozen networks whose feature maps a model reads: VGG-16 up to relu5_3, and a small stand-in for demo sizes."""

import hashlib
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from dmgan import files
from dmgan.errors import UserError
from dmgan.models.interface import TextToImageGAN
from dmgan.randomness import generator
from dmgan.released import read_state_dict
from dmgan.weights import load_state

REDUCTION = 16  # side of an image over the side of its feature map, of both networks
CHANNELS = {"vgg16": 512, "small": 64}
_RELU5_3 = 30  # layers of torchvision's vgg16().features up to and with relu5_3
_SMALL_WIDTHS = (3, 16, 32, 64, CHANNELS["small"])
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's weights expect
_MEND = "give --vgg16-weights vgg16-397923af.pth (python -m dmgan fetch vgg16), or use --feature-network small"


class FeatureNetwork:
    """Images (B, 3, s, s) in [-1, 1] -> features (B, C, s / 16, s / 16).

    It is no module, so that its weights are no part of the model that reads it. Gradients reach the images.
    """

    def __init__(self, name: str, layers: nn.Module, sha256: str):
        self.name, self.sha256 = name, sha256
        self.layers = layers.eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> Tensor:
        self.layers.to(images.device, images.dtype)
        if self.name == "vgg16":
            shape = (1, 3, 1, 1)
            images = ((images + 1) / 2 - images.new_tensor(_MEAN).view(shape)) / images.new_tensor(_STD).view(shape)
        return self.layers(images)


def vgg16(weights: Path) -> FeatureNetwork:
    """VGG-16 up to relu5_3 with torchvision's ImageNet weights; UserError where the file is none of them."""
    from torchvision.models import vgg16 as build

    layers = build(weights=None, init_weights=False).features[:_RELU5_3]
    own = {key.removeprefix("features."): value for key, value in read_state_dict(weights).items()}
    load_state(layers, {key: own[key] for key in layers.state_dict().keys() & own.keys()}, str(weights), _MEND)
    return FeatureNetwork("vgg16", layers, files.file_sha256(weights))


def small() -> FeatureNetwork:
    """Four convolutions with fixed random weights: it stands in for VGG-16 at demo sizes and knows no objects."""
    layers, digest = [], hashlib.sha256()
    for number, (inputs, outputs) in enumerate(pairwise(_SMALL_WIDTHS)):
        conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
        random = generator(0, "small feature network", number)
        values = random.standard_normal((outputs, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5
        conv.weight.data = torch.from_numpy(values).float()
        digest.update(conv.weight.data.numpy().tobytes())
        layers += [conv, nn.ReLU()]
    return FeatureNetwork("small", nn.Sequential(*layers), digest.hexdigest())


def give_features(model: TextToImageGAN, weights: Path | None) -> None:
    """Attach the network that the model's architecture names, if the model reads one; UserError without its weights."""
    if not model.reads_features:
        if weights is not None:
            raise UserError(f"--vgg16-weights {weights}: this model reads no features; leave the option out")
        return
    if model.architecture.feature_network == "small":
        if weights is not None:
            raise UserError(f"--vgg16-weights {weights}: feature_network small has fixed weights; leave it out")
        model.features = small()
    elif weights is None:
        raise UserError(f"feature_network vgg16: needs its weights; {_MEND}")
    else:
        model.features = vgg16(weights)
