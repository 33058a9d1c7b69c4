"""Initial weights of generators and discriminators."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dmgan.models.discriminators import SpectralNormConv2d

_WITH_WEIGHTS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@torch.no_grad()
def initialise(network: nn.Module, weight_std: float | None = None) -> None:
    """Initialise as the released code does: orthogonal weights, batch-norm scales N(1, 0.02), linear biases 0.

    With `weight_std`, weights are drawn from N(0, weight_std) and all biases are 0, as in DCGAN. Layers with the
    attribute `keeps_initialisation` are left unchanged.
    """
    for module in network.modules():
        if getattr(module, "keeps_initialisation", False):
            continue
        if isinstance(module, SpectralNormConv2d):
            nn.init.orthogonal_(module.module.weight_bar)
        elif isinstance(module, _WITH_WEIGHTS):
            if weight_std is None:
                nn.init.orthogonal_(module.weight)
            else:
                module.weight.normal_(0.0, weight_std)
            if module.bias is not None and (isinstance(module, nn.Linear) or weight_std is not None):
                module.bias.zero_()
        elif isinstance(module, _BatchNorm):
            module.weight.normal_(1.0, 0.02)
            module.bias.zero_()
