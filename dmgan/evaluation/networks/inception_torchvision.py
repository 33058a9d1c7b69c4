"""Extractor `torchvision`: torchvision's Inception with the input range of its training."""

import torch
from torch import Tensor, nn

from dmgan.evaluation.networks.base import (
    CODEC,
    ExtractorInputs,
    FeatureExtractor,
    Weights,
    channels_first,
    find_weights,
)
from dmgan.evaluation.networks.inception_2015 import PIL_BILINEAR, POOL, pil_bilinear
from dmgan.storage.weights import load_state

_IMAGENET_MEAN, _IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_torchvision_inception(
    weights: Weights, device: torch.device, memory_format: torch.memory_format
) -> nn.Module:
    """Return torchvision's inception_v3 from its input transform to the average pool."""
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, aux_logits=True, transform_input=True, init_weights=False)
    load_state(network, weights.state, weights.source, "fetch torchvision's inception_v3 again")
    network.fc, network.dropout, network.AuxLogits = nn.Identity(), nn.Identity(), None
    return network.to(device=device, memory_format=memory_format).eval().requires_grad_(False)


def read_torchvision_weights(inputs: ExtractorInputs) -> Weights:
    """Read torchvision's weights; raise UserError if they cannot be fetched."""
    return find_weights("inception", inputs.weights)


def torchvision_protocol(weights: Weights, input_range: str) -> dict[str, object]:
    """Return the protocol of an extractor that feeds torchvision's network images in `input_range`."""
    return {
        "feature_network": "Inception-v3 of torchvision (IMAGENET1K_V1)",
        "feature_network_sha256": weights.sha256,
        "resize": PIL_BILINEAR,
        "input_range": input_range,
        "codec": CODEC,
    }


class TorchvisionInception(FeatureExtractor):
    """torchvision's ImageNet weights with the input range of their training."""

    name = "torchvision"
    prepare = staticmethod(pil_bilinear)
    packages = ("torch", "pillow", "torchvision")
    code = ("dmgan.evaluation.networks.inception_2015",)  # for the resize

    def __init__(self, weights: Weights, device: torch.device):
        self._network = build_torchvision_inception(weights, device, torch.channels_last)
        self._mean = torch.tensor(_IMAGENET_MEAN, device=device)[:, None, None]
        self._sd = torch.tensor(_IMAGENET_SD, device=device)[:, None, None]
        super().__init__({"features": POOL}, torchvision_protocol(weights, "ImageNet mean 0, sd 1: [-1, 1]"))

    @classmethod
    def read(cls, inputs: ExtractorInputs) -> "TorchvisionInception":
        return cls(inputs.once(read_torchvision_weights), inputs.device)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"features": self._network((channels_first(batch).div_(255) - self._mean) / self._sd)}
