"""A frozen image encoder computed with fewer operations; values and gradients are equal up to rounding.

`folded_encoder(encoder)` returns a copy whose batch norms are part of the convolutions before them, and whose weights
may have another number format, so that no pass converts them. In Inception's blocks the average pooling follows the
1x1 convolution instead of preceding it, which pools fewer channels. Blocks (torchvision's Inception, timm's
EfficientNet) are recognised by their exact type; unknown blocks are left unchanged.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dmgan.text.efficientnet_lite import EfficientNetLite0
from dmgan.text.encoders import ImageEncoder

_Encoder = TypeVar("_Encoder", ImageEncoder, EfficientNetLite0)
_CHAINS = {  # the branches of torchvision's blocks that pool, as chains of convolutions; a tuple in a chain: a fork
    "InceptionA": (
        ("branch1x1",),
        ("branch5x5_1", "branch5x5_2"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    ),
    "InceptionC": (
        ("branch1x1",),
        ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
        ("branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"),
    ),
    "InceptionE": (
        ("branch1x1",),
        ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
        ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
    ),
}
_LAYERS = {  # timm's blocks: every convolution with the batch norm (and activation) after it
    "EfficientNet": (("conv_stem", "bn1"), ("conv_head", "bn2")),
    "DepthwiseSeparableConv": (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    "InvertedResidual": (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
}


class Branches(nn.ModuleList):
    """Modules that read the same input; their outputs are concatenated over the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


class PooledConvolution(nn.Module):
    """A 1x1 convolution, 3x3 average pooling that keeps the side, bias and ReLU: equal to pooling first."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.conv2d(x, self.conv.weight), kernel_size=3, stride=1, padding=1)
        return F.relu(x + self.conv.bias[:, None, None], inplace=True)


def _folded_sequence(layers: nn.Sequential) -> nn.Sequential:
    """Return the layers with every batch norm folded into the convolution directly before it."""
    kept: list[nn.Module] = []
    for layer in layers:
        if type(layer) is nn.BatchNorm2d and kept and type(kept[-1]) is nn.Conv2d:
            kept[-1] = fuse_conv_bn_eval(kept[-1], layer)
        else:
            kept.append(layer)
    return nn.Sequential(*kept)


def _folded_convolution(block: nn.Module) -> nn.Sequential:
    """Return torchvision's BasicConv2d (convolution, batch norm, ReLU) as a convolution with bias and a ReLU."""
    return nn.Sequential(fuse_conv_bn_eval(block.conv, block.bn), nn.ReLU(inplace=True))


def _folded_branches(block: nn.Module, chains: tuple) -> Branches:
    """Return the branches of a block of torchvision's Inception that pools."""

    def part(name: str | tuple) -> nn.Module:
        return _folded_convolution(getattr(block, name)) if isinstance(name, str) else Branches(map(part, name))

    pool = block.branch_pool
    return Branches(
        [
            *(nn.Sequential(*map(part, chain)) for chain in chains),
            PooledConvolution(fuse_conv_bn_eval(pool.conv, pool.bn)),
        ]
    )


def _folded_block(block: nn.Module) -> nn.Module | None:
    """Return the folded form of a known block; None for other modules."""
    if type(block) is nn.Sequential:
        return _folded_sequence(block)
    if type(block).__module__ != "torchvision.models.inception":
        return None
    if type(block).__name__ == "BasicConv2d":
        return _folded_convolution(block)
    chains = _CHAINS.get(type(block).__name__)
    return None if chains is None else _folded_branches(block, chains)


def _fold_layers(block: nn.Module) -> None:
    """Fold the batch norms of a block of timm's EfficientNet; leave other modules unchanged."""
    if type(block).__module__.startswith("timm.models."):
        for conv, norm in _LAYERS.get(type(block).__name__, ()):
            setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
            setattr(block, norm, getattr(block, norm).act)


def _fold(module: nn.Module) -> None:
    """Replace every known block inside `module`."""
    for name, child in list(module.named_children()):
        folded = _folded_block(child)
        if folded is None:
            _fold(child)
        else:
            setattr(module, name, folded)


@torch.no_grad()
def folded_encoder(encoder: _Encoder, dtype: torch.dtype | None = None) -> _Encoder:
    """Return a faster copy of a frozen encoder, with weights in `dtype` (None: unchanged).

    Raise ValueError if the encoder is in training mode or has weights that require a gradient. The copy has another
    state dict: save the encoder, not the copy.
    """
    if encoder.training or any(parameter.requires_grad for parameter in encoder.parameters()):
        raise ValueError("the encoder must be frozen and in evaluation mode: its statistics must not change")
    folded = copy.deepcopy(encoder)
    for module in list(folded.modules()):
        _fold_layers(module)
    _fold(folded)
    return folded.to(dtype=dtype).eval().requires_grad_(False)
