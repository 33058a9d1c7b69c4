"""Random Inception weights, for machines without the trained weights; the architectures are the real ones.

Parity and speed do not depend on trained weights; the scores are meaningless.
"""

import numpy as np
import torch
from torch import Tensor, nn

_CALIBRATION = 8  # images that the batch normalisations' statistics are computed from


def drawn_images(count: int, side: int, seed: int) -> np.ndarray:
    """Return random images (count, side, side, 3) uint8 with coarse and fine structure."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.random((count, 3, 4, 4), dtype=np.float32))
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").numpy().transpose(0, 2, 3, 1)
    fine = random.random((count, side, side, 3), dtype=np.float32)
    return (255 * (0.8 * smooth + 0.2 * fine).clip(0, 1)).astype(np.uint8)


def torchvision_state(seed: int = 0) -> dict[str, Tensor]:
    """Return a state dict of torchvision's inception_v3: He initialisation, normalised on noise, distinct features."""
    from torchvision.models import inception_v3

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = inception_v3(weights=None, aux_logits=True, transform_input=True, init_weights=False)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # cumulative average, here over a single batch
        images = torch.from_numpy(drawn_images(_CALIBRATION, 64, seed)).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            network.train()(nn.functional.interpolate(images, size=(299, 299), mode="bilinear"))
    return network.eval().state_dict()


def inception_2015_state(torchvision: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of torch-fidelity's Inception: torchvision's layer names, but 1008 classes."""
    state = {key: value for key, value in torchvision.items() if not key.startswith(("AuxLogits", "fc"))}
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(1008, 2048, generator=random) / 45
    return {**state, "fc.weight": weight, "fc.bias": torch.zeros(1008)}


_LAST_LAYERS = ("branch1x1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool")
_TOO_LARGE = 256


def with_pool_of_trained_size(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a random state dict with pool features of about 0.5, as in a trained network, instead of 140.

    With features of 140 the softmax saturates, so that the Inception Score is nan, and clean-fid rejects the
    imaginary parts that rounding leaves.
    """
    last = {f"Mixed_7c.{layer}.bn.{parameter}" for layer in _LAST_LAYERS for parameter in ("weight", "bias")}
    return {key: value / _TOO_LARGE if key in last else value for key, value in state.items()}
