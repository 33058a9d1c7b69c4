"""Engine settings of a training run: checks, and their record in options.json."""

import os
import shutil
from dataclasses import asdict, replace

import torch

from dmgan.errors import UserError
from dmgan.options import EngineOptions, TrainingOptions
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.runtime.progress import log


class EngineRecord:
    """Engine settings per segment of a run; a resumed run may use another device or precision."""

    def __init__(self, current: dict[str, object], distributed: DistributedContext = SINGLE_PROCESS):
        self.segments: list[dict[str, object]] = []
        self._current, self._distributed = current, distributed

    def begin_step(self, step: int) -> None:
        """Begin a new segment if the engine settings differ from those of the last segment."""
        last = {name: value for name, value in self.segments[-1].items() if name != "from_step"} if step else None
        if last == self._current:
            return
        if step and self._distributed.is_main:
            changed = sorted(name for name in self._current if self._current[name] != last.get(name))
            log(f"engine settings changed at step {step} ({', '.join(changed)}); options.json records both")
        self.segments.append({"from_step": step, **self._current})

    def without_graphs(self, reason: str) -> None:
        """Record that this segment's steps run without a CUDA graph, because their capture failed."""
        self._current |= {"cuda_graphs": False, "cuda_graphs_reason": reason}
        self.segments[-1] |= self._current
        log(
            f"cuda_graphs: the step cannot be captured ({reason}); its kernels are launched one by one, which is slower"
        )

    def state_dict(self) -> dict[str, object]:
        return {"segments": self.segments}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.segments = list(state["segments"])


def graph_obstacle(
    engine: EngineOptions, device: torch.device, distributed: DistributedContext = SINGLE_PROCESS
) -> str | None:
    """Return why training steps are not run as one CUDA graph; None: they are, if the model allows it."""
    if device.type != "cuda":
        return "needs a CUDA device"
    if distributed.world_size > 1:
        return "needs a single process; processes exchange gradients outside of a graph"
    return "turned off" if engine.cuda_graphs is False else None


def resolve_graphs(
    engine: EngineOptions, device: torch.device, distributed: DistributedContext = SINGLE_PROCESS
) -> EngineOptions:
    """Return the options with cuda_graphs true or false; UserError if CUDA graphs are asked for but impossible."""
    obstacle = graph_obstacle(engine, device, distributed)
    if engine.cuda_graphs and obstacle:
        raise UserError(f"cuda_graphs: {obstacle}; leave cuda_graphs out")
    return replace(engine, cuda_graphs=obstacle is None)


def describe_engine(
    engine: EngineOptions, options: TrainingOptions, device: torch.device, distributed: DistributedContext
) -> dict[str, object]:
    """Return the engine settings for options.json; UserError if options and machine are incompatible."""
    micro_batches = distributed.world_size * engine.accumulate
    if options.batch_size // micro_batches < 2:
        raise UserError(
            f"batch_size {options.batch_size}: {distributed.world_size} processes with {engine.accumulate} "
            "micro-batches each leave fewer than two images per micro-batch; use fewer processes or micro-batches"
        )
    if engine.compile and not any(shutil.which(each) for each in (os.environ.get("CXX", "g++"), "g++", "clang++")):
        raise UserError("compile: needs a C++ compiler; install g++, or leave compile out")
    obstacle = graph_obstacle(engine, device, distributed)
    whole = engine.accumulate == 1 and (distributed.world_size == 1 or device.type == "cuda")
    return {
        **asdict(engine),
        "device": device.type,
        **({"tf32": False} if device.type == "cuda" else {}),
        **({"cuda_graphs_reason": obstacle} if obstacle and device.type == "cuda" else {}),
        "processes": distributed.world_size,
        "effective_batch": options.batch_size,
        "largest_micro_batch": -(-options.batch_size // micro_batches),
        "generator_lr": options.generator_lr,
        "discriminator_lr": options.discriminator_lr,
        "batch_norm": "statistics of the whole batch" if whole else "statistics of each micro-batch",
    }
