"""The device of a process: choice, float32 precision, deterministic algorithms, copies from the host."""

import os

import torch
from torch import Tensor

from dmgan.errors import UserError
from dmgan.options import AUTOMATIC
from dmgan.runtime.distributed import local_rank, world_size

MOST_WORKERS = 16  # automatic number of processes that feed a GPU or write its images


def set_up_device(name: str, threads: int) -> torch.device:
    """Set the CPU threads of this process, and return the device called `name` (find_device).

    threads: CPU threads of all processes that torchrun started together.
    """
    torch.set_num_threads(max(1, threads // world_size()))
    return find_device(name)


def find_device(name: str) -> torch.device:
    """Return the device called `name`: "auto", "cpu" or "cuda[:N]"; UserError if it does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and world_size() > 1:
        name = f"cuda:{local_rank()}"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {name}: no CUDA device is available; use --device cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: is not a known device; use auto, cpu or cuda[:N]") from error


def to_float32(x: Tensor) -> Tensor:
    """Return bfloat16 and float16 tensors as float32, other tensors unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def disable_tf32() -> None:
    """Turn off TF32 on GPUs, which cuDNN's convolutions use by default for float32 operations."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def set_deterministic(device: torch.device, deterministic: bool) -> None:
    """Choose bit-exact or the fastest algorithms on a GPU; algorithms on the CPU are always bit-exact."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    # torch.use_deterministic_algorithms, which also configures the compiler, would import it, which takes seconds
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic


def worker_count(asked: int, device: torch.device, on_cpu: int) -> int:
    """Return the number of worker processes; `asked` AUTOMATIC: `on_cpu`, or, beside a GPU, by the CPU threads.

    Beside a GPU all CPU threads of this process (`--threads`) but one are workers, 1 to MOST_WORKERS: the remaining
    thread launches the GPU's work.
    """
    if asked != AUTOMATIC:
        return asked
    return on_cpu if device.type == "cpu" else min(max(torch.get_num_threads() - 1, 1), MOST_WORKERS)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to `device`; copies to a GPU are asynchronous, through pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
