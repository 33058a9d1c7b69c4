"""Extractor `birds-released`: the Inception Score of CUB in the papers, by the Inception that was tuned on birds."""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dmgan.evaluation.networks.base import CODEC, ExtractorInputs, FeatureExtractor, signed
from dmgan.evaluation.networks.bird_inception import CLASSES, BirdInception
from dmgan.evaluation.networks.inception_2015 import PIL_BILINEAR, pil_bilinear
from dmgan.storage import downloads, files
from dmgan.storage.weights import load_weights

ASSET, WEIGHTS = "cub-inception", "bird_inception.safetensors"


class BirdLogits(FeatureExtractor):
    """Logits of CUB's 50 test classes, without the background class."""

    name = "birds-released"
    prepare = staticmethod(pil_bilinear)
    packages = ("torch", "pillow", "torch-fidelity")
    code = ("dmgan.evaluation.networks.bird_inception", "dmgan.evaluation.networks.inception_2015")
    batch = 64  # images; the score leaves out an incomplete last batch, as released

    def __init__(self, network: BirdInception, sha256: str, device: torch.device):
        for block in network.modules():
            if isinstance(getattr(block, "conv", None), nn.Conv2d):  # batch norm is a constant scale: fold it in
                block.conv, block.bn = fuse_conv_bn_eval(block.conv.eval(), block.bn.eval()), nn.Identity()
        self._network = network.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)
        protocol = {
            "feature_network": "Inception-v3 tuned on CUB's test classes (StackGAN's, averaged weights)",
            "feature_network_sha256": sha256,
            "resize": PIL_BILINEAR,
            "input_range": "x / 127.5 - 1",
            "codec": CODEC,
        }
        super().__init__({"logits": CLASSES}, protocol)

    @classmethod
    def read(cls, inputs: ExtractorInputs) -> "BirdLogits":
        """Read the weights that `bird-inception` wrote; raise UserError naming the original file if there are none."""
        path, asset = inputs.weights / WEIGHTS, downloads.find(ASSET)
        hint = (
            f"make it: python -m dmgan bird-inception --checkpoint {asset.file} --out {path}, from the checkpoint of "
            f"{asset.page} ({asset.if_dead})"
        )
        network = BirdInception()
        load_weights(network, path, hint)
        return cls(network, files.file_sha256(path), inputs.device)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"logits": self._network(signed(batch))}
