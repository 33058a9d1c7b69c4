"""Extractor `torchvision-released`: the FID of DM-GAN's repository.

Levels in [0, 1] go through a transform that is meant for another range, so that the network sees about [-0.19, 0.43].
This is kept unchanged, to compare with published numbers.
"""

import torch
from torch import Tensor

from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor, Weights, channels_first
from dmgan.evaluation.networks.inception_2015 import POOL, pil_bilinear
from dmgan.evaluation.networks.inception_torchvision import (
    build_torchvision_inception,
    read_torchvision_weights,
    torchvision_protocol,
)


class ReleasedTorchvisionInception(FeatureExtractor):
    """torchvision's ImageNet weights as DM-GAN's repository feeds them; not channels-last, for bit-exact values."""

    name = "torchvision-released"
    prepare = staticmethod(pil_bilinear)
    packages = ("torch", "pillow", "torchvision")
    code = ("dmgan.evaluation.networks.inception_2015", "dmgan.evaluation.networks.inception_torchvision")
    batch = 50  # images; an incomplete last batch is dropped

    def __init__(self, weights: Weights, device: torch.device):
        self._network = build_torchvision_inception(weights, device, torch.contiguous_format)
        protocol = torchvision_protocol(weights, "[0, 1] put through transform_input, as released")
        protocol["dropped"] = f"images behind the last whole batch of {self.batch}, on both sides, as released"
        super().__init__({"features": POOL}, protocol)

    @classmethod
    def read(cls, inputs: ExtractorInputs) -> "ReleasedTorchvisionInception":
        return cls(inputs.once(read_torchvision_weights), inputs.device)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"features": self._network(channels_first(batch).div_(255).contiguous())}
