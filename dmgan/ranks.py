"""The processes of one training: one alone, or several that torchrun started together, a rank each."""

import ctypes
import os
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

_PR_SET_PDEATHSIG = 1  # sys/prctl.h
_PATIENCE = timedelta(days=30)  # a rank may wait for another job on the run folder; torchrun notices a rank that died


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """This rank's consecutive rows of a batch: all ranks' make up the batch that one process would see."""
        return slice(self.rank * batch_size // self.count, (self.rank + 1) * batch_size // self.count)

    def add_up(self, values: Tensor) -> Tensor:
        """`values` summed over the ranks, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def any(self, here: bool) -> bool:
        """Whether it is so `here` or on another rank; every rank must ask."""
        return bool(self.add_up(torch.tensor(float(here), device=_collective_device())).item())

    def wait(self) -> None:
        """Go on when every rank has come here."""
        self.add_up(torch.zeros(1, device=_collective_device())).item()  # NCCL only queues the exchange: read it


ALONE = Ranks()


def _collective_device() -> str:
    """Where tensors that the ranks exchange must be: NCCL wants them on the GPU, gloo on the CPU."""
    joined = distributed.is_initialized() and distributed.get_backend() == "nccl"
    return "cuda" if joined else "cpu"


def started_together() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """This process's number on its machine, and that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def joined(device: torch.device):
    """Yield the ranks of this job, connected: by NCCL on GPUs, by gloo on CPUs."""
    if started_together() == 1:
        yield ALONE
        return
    _end_with_parent()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    yield Ranks(distributed.get_rank(), distributed.get_world_size())
    distributed.destroy_process_group()  # not after an error: the others would be waited for


def _end_with_parent() -> None:
    """Be killed when torchrun is: it leaves its ranks running otherwise, and they hold run folder and GPU."""
    if sys.platform.startswith("linux"):
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended in between
            os.kill(os.getpid(), signal.SIGKILL)
