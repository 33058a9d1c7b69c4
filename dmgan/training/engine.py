"""How a training is computed: checks of the engine's options, and their record in options.json."""

import os
import shutil
from dataclasses import asdict

import torch

from dmgan.errors import UserError
from dmgan.options import (
    EngineOptions,
    TrainingOptions,
)
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.runtime.progress import log


class EngineRecord:
    """How each stretch of a run was computed: a run that goes on may do so on other devices or in other precision."""

    def __init__(self, current: dict[str, object], distributed: DistributedContext = SINGLE_PROCESS):
        self.stretches: list[dict[str, object]] = []
        self._current, self._distributed = current, distributed

    def begin_step(self, step: int) -> None:
        """Called before step number `step` is made: where the engine is another one, a stretch begins."""
        last = {name: value for name, value in self.stretches[-1].items() if name != "from_step"} if step else None
        if last == self._current:
            return
        if step and self._distributed.is_main:
            changed = sorted(name for name in self._current if self._current[name] != last.get(name))
            log(f"from step {step} on with another engine ({', '.join(changed)}); options.json keeps both")
        self.stretches.append({"from_step": step, **self._current})

    def state_dict(self) -> dict[str, object]:
        return {"stretches": self.stretches}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.stretches = list(state["stretches"])


def describe_engine(
    engine: EngineOptions, options: TrainingOptions, device: torch.device, distributed: DistributedContext
) -> dict[str, object]:
    """What options.json says of the engine; UserError where the options and the machine do not agree."""
    parts = distributed.world_size * engine.accumulate
    if options.batch_size // parts < 2:
        raise UserError(
            f"batch_size {options.batch_size}: {distributed.world_size} processes with {engine.accumulate} parts each "
            "leave fewer than two images to a part; take fewer of either"
        )
    if engine.cuda_graphs and device.type != "cuda":
        raise UserError("cuda_graphs: needs a CUDA device; leave it out on the CPU")
    if engine.compile and not any(shutil.which(each) for each in (os.environ.get("CXX", "g++"), "g++", "clang++")):
        raise UserError("compile: needs a C++ compiler; install g++, or leave compile out")
    return {
        **asdict(engine),
        "device": device.type,
        **({"tf32": False} if device.type == "cuda" else {}),
        "processes": distributed.world_size,
        "effective_batch": options.batch_size,
        "largest_part": -(-options.batch_size // parts),
        "generator_lr": options.generator_lr,
        "discriminator_lr": options.discriminator_lr,
        "batch_norm": "the batch's statistics"
        if engine.accumulate == 1 and (distributed.world_size == 1 or device.type == "cuda")
        else "each part's own statistics",
    }
