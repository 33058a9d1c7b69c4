"""What float32 means, and where half-precision passes go back to it."""

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Half-precision numbers as float32, others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def without_tf32() -> None:
    """Let a GPU compute in float32 what is float32, as the CPU does: convolutions round to TF32 by default."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
