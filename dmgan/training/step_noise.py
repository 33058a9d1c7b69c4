"""Noise of a training step."""

import numpy as np
import torch
from torch import Tensor

from dmgan.runtime.randomness import generator


def step_noise(seed: int, step: int, rows: int, noise_dim: int, purpose: str = "training noise") -> Tensor:
    """Return the noise (rows, noise_dim) of one step, a pure function of seed, step and purpose."""
    random = generator(seed, purpose, step)
    return torch.from_numpy(random.standard_normal((rows, noise_dim), dtype=np.float32))
