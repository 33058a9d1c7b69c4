"""Distributed training: the processes that torchrun started together, or a single process."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from dmgan.errors import UserError
from dmgan.runtime.parent import end_with_parent

_TIMEOUT = timedelta(days=30)  # a process may wait long for the run folder's lock; torchrun detects dead processes


@dataclass(frozen=True)
class DistributedContext:
    """Rank of this process and number of processes in one training run."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """Return the consecutive rows of the batch that this process computes; the processes split the batch."""
        return slice(self.rank * batch_size // self.world_size, (self.rank + 1) * batch_size // self.world_size)

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def any(self, condition: bool) -> bool:
        """Return whether `condition` is true in at least one process; every process must call this method."""
        return bool(self.sum(torch.tensor(float(condition), device=_collective_device())).item())

    def barrier(self) -> None:
        """Wait until every process has called this method."""
        self.sum(torch.zeros(1, device=_collective_device())).item()  # .item() waits; NCCL only queues the reduction


SINGLE_PROCESS = DistributedContext()


def _collective_device() -> str:
    """Return the device type of tensors to reduce: NCCL reads GPU memory, gloo reads host memory."""
    return "cuda" if dist.is_initialized() and dist.get_backend() == "nccl" else "cpu"


def world_size() -> int:
    """Return the number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the rank of this process among all processes that torchrun started; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Return the rank of this process on its machine, which is also the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def process_group(device: torch.device):
    """Connect the processes of this training run (NCCL on GPUs, gloo on CPUs) and yield the DistributedContext.

    Raise UserError if the connection to another process is lost, because that process has ended.
    """
    if world_size() == 1:
        yield SINGLE_PROCESS
        return
    end_with_parent()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
        yield DistributedContext(dist.get_rank(), dist.get_world_size())
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo/transport" not in str(error):  # gloo has no class of its own
            raise
        raise UserError("another process of this training has ended; run the same command to resume") from error
    dist.destroy_process_group()  # skipped after an error, because it would wait for the other processes
