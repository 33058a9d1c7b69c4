"""Where half-precision passes go back to full precision."""

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Half-precision numbers as float32, others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
