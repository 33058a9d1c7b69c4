"""Inception-v3 of 2015 as torch-fidelity has it ("inception-v3-compat"), the network of several extractors.

The extractors `inception-tf`, `clean` and `openai-released` are this network with three resizes. Two extractors never
share a column of a table: the same images have an FID of 14 or 24, depending on the extractor.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dmgan.errors import UserError
from dmgan.evaluation.networks.base import CODEC, ExtractorInputs, Weights, find_weights

SIZE = 299  # side of the input, px
POOL, CLASSES = 2048, 1008  # widths of the last pool and of the logits
_NAME = "Inception-v3 of 2015 (TensorFlow weights, torch-fidelity's inception-v3-compat)"


class Inception2015(nn.Module):
    """torch-fidelity's Inception-v3 of 2015 from its first convolution on."""

    def __init__(self, weights: Weights, device: torch.device):
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

        # torch-fidelity unpickles the weights file: pass a copy of the safely read state dict instead.
        copy = io.BytesIO()
        torch.save(weights.state, copy)
        copy.seek(0)
        try:
            whole = FeatureExtractorInceptionV3("tf", ["2048"], feature_extractor_weights_path=copy)
        except RuntimeError as error:
            raise UserError(
                f"{weights.source}: holds the weights of another network ({str(error).splitlines()[0]})"
            ) from error
        for block in whole.modules():
            if isinstance(block, BasicConv2d):  # its batch norm is a constant scale: fold it into the weights
                block.conv, block.bn = fuse_conv_bn_eval(block.conv.eval(), block.bn.eval()), nn.Identity()
        children = dict(whole.named_children())
        self.fc = children.pop("fc")
        self.trunk = nn.Sequential(*children.values())
        self.sha256 = weights.sha256
        # Folded and channels-last, oneDNN's and cuDNN's convolutions take half the time; features agree to 1e-5.
        self.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return pool features (B, 2048) and logits without bias (B, 1008) of levels 0 ... 255 (B, 3, 299, 299)."""
        features = self.trunk((images - 128) / 128).flatten(1)
        return {"features": features, "logits": features @ self.fc.weight.t()}

    def protocol(self, resize: str) -> dict[str, object]:
        """Return the protocol of an extractor whose resize is described by `resize`."""
        return {
            "feature_network": _NAME,
            "feature_network_sha256": self.sha256,
            "resize": resize,
            "input_range": "(x - 128) / 128",
            "codec": CODEC,
        }


def read_inception_2015(inputs: ExtractorInputs) -> Inception2015:
    """Read the network; raise UserError if its weights cannot be fetched."""
    return Inception2015(find_weights("inception-2015", inputs.weights), inputs.device)


def pil_bilinear(pixels: np.ndarray) -> np.ndarray:
    """Resize 8-bit pixels to 299 px by Pillow's bilinear filter, rounded to 8 bits, as the released evaluations do."""
    return np.asarray(Image.fromarray(pixels).resize((SIZE, SIZE), Image.BILINEAR))


PIL_BILINEAR = "to 299 px, Pillow bilinear, rounded to 8 bits"
