"""Extractor `efficientnet-lite0`: pooled features of an ImageNet network that is installed with the project.

For photographs where no Inception weights can be downloaded. Its distances are on another scale than Inception's.
"""

import torch
from torch import Tensor

from dmgan.evaluation.networks.base import CODEC, ExtractorInputs, FeatureExtractor, signed
from dmgan.evaluation.networks.linear_probe import FittedProbe
from dmgan.text.efficientnet_lite import CHANNELS, NAME, SHA256, SIDE, EfficientNetLite0, load_imagenet_weights, pooled
from dmgan.text.folded_encoder import folded_encoder


class EfficientNetLite0Features(FeatureExtractor):
    """Features of EfficientNet-lite0, averaged over its 7x7 map."""

    name = NAME
    packages = ("torch", "timm")
    code = (
        "dmgan.evaluation.networks.linear_probe",
        "dmgan.text.efficientnet_lite",
        "dmgan.text.folded_encoder",
        "dmgan.text.resizing",
    )

    def __init__(self, device: torch.device, probe: FittedProbe | None = None):
        """probe: gives class logits; None: the extractor has features alone."""
        network = EfficientNetLite0()
        load_imagenet_weights(network)
        self._network = folded_encoder(network.to(device).eval().requires_grad_(False))
        protocol = {
            "feature_network": "EfficientNet-lite0 (ImageNet), which is not Inception",
            "feature_network_sha256": SHA256,
            "resize": f"to {SIDE} px, bilinear with antialiasing, where the side differs",
            "input_range": "mean 127, sd 128 grey levels",
            "codec": CODEC,
        }
        self._probe = probe
        super().__init__({"features": CHANNELS}, protocol)
        if probe is not None:
            self.widths["logits"] = probe.network.linear.out_features
            self.protocol_of_logits = {
                "feature_network": "linear probe of EfficientNet-lite0 (ImageNet)",
                "probe_sha256": probe.sha256,
                "feature_network_accuracy": probe.accuracy,
            }

    @classmethod
    def read(cls, inputs: ExtractorInputs) -> "EfficientNetLite0Features":
        return cls(inputs.device, None if inputs.probe is None else FittedProbe.read(inputs.probe, inputs.device))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        features = pooled(self._network(signed(batch)))
        return {"features": features} if self._probe is None else {
            "features": features, "logits": self._probe.network(features)
        }  # fmt: skip
