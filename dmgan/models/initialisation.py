"""Initial weights of generators and discriminators."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dmgan.models.discriminators import SpectralNormConv2d

_WITH_WEIGHTS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_STD = 0.02  # of normal weights and of batch-norm scales


@torch.no_grad()
def initialise(network: nn.Module, rule: str = "orthogonal") -> None:
    """Initialise the weights of a network by the rule that its model's released code has.

    "orthogonal" (AttnGAN, DM-GAN and most others): orthogonal weights, batch-norm scales N(1, 0.02), linear biases 0.
    "normal" (StackGAN, GAN-INT-CLS): the same, but weights from N(0, 0.02), as in DCGAN. "torch" (DF-GAN): as created.
    Layers with the attribute `keeps_initialisation` are left unchanged.
    """
    if rule == "torch":
        return
    for module in network.modules():
        if getattr(module, "keeps_initialisation", False):
            continue
        if isinstance(module, SpectralNormConv2d):
            nn.init.orthogonal_(module.module.weight_bar)
        elif isinstance(module, _WITH_WEIGHTS):
            if rule == "normal":
                module.weight.normal_(0.0, _STD)
            else:
                nn.init.orthogonal_(module.weight)
            if module.bias is not None and isinstance(module, nn.Linear):
                module.bias.zero_()
        elif isinstance(module, _BatchNorm):
            module.weight.normal_(1.0, _STD)
            module.bias.zero_()
