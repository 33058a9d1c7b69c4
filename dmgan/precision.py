"""What float32 means, where half-precision passes go back to it, and what repeats its bits."""

import os

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Half-precision numbers as float32, others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def without_tf32() -> None:
    """Let a GPU compute in float32 what is float32, as the CPU does: convolutions round to TF32 by default."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def repeat_bits(device: torch.device, wanted: bool) -> None:
    """Choose between algorithms that repeat their bits on a GPU and the fastest ones."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not wanted
