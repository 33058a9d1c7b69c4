"""The loop of every training: steps, history rows, checkpoints, NaN checks."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.runtime.progress import Progress, log
from dmgan.storage import files
from dmgan.storage.weights import non_finite, shortened
from dmgan.training.checkpoints import Checkpoint
from dmgan.training.mlflow_run import LabBook

FAILURE = "failure.json"


def run_steps(
    step_function: Callable[[int], dict[str, Tensor]],
    stateful: dict[str, object],
    total_steps: int,
    row_every: int,
    checkpoint: Checkpoint,
    checkpoint_every: int,
    lab_book: LabBook,
    describe: Callable[[int], dict[str, object]] = lambda step: {},
    distributed: DistributedContext = SINGLE_PROCESS,
) -> list[dict[str, float]]:
    """Run steps 0 ... total_steps - 1, going on from the checkpoint where there is one that fits.

    step_function(step) makes one step and returns its losses as 0-d tensors; it must draw everything
    random from its step's number. `stateful` are the objects with state_dict() and load_state_dict()
    that the steps change. Returns the history: one row of mean losses per `row_every` steps. A loss that is
    not finite is a UserError, and so is a state that would be saved; the last checkpoint stays, and failure.json
    beside it holds the step, its losses and what describe(step) gives, until the run has passed that step.
    Losses are read at row ends alone, so that no step waits for the device; checkpoints fall on row ends. The
    losses of several ranks add up; the first rank writes.
    """

    def stop(number: int, what: str, found: dict[str, object]) -> NoReturn:
        """Leave what was found in step `number`, counted from 1, with the step's data, and say `what`."""
        lab_book.send()
        if distributed.is_main:
            losses = {name: value if math.isfinite(value) else str(value) for name, value in found["losses"].items()}
            data = {"step": number, **found, "losses": losses, **describe(number - 1)}
            files.write_json(checkpoint.folder / FAILURE, data)
        raise UserError(
            f"{checkpoint.folder}: step {number}: {what}; the last good checkpoint is kept, "
            f"{FAILURE} holds the step's data. Lower the learning rates and run again"
        )

    if distributed.is_main:
        checkpoint.set_aside(total_steps)
    distributed.barrier()
    saved = checkpoint.load()
    start, history = 0, []
    if saved is not None:
        start, history = saved["step"], saved["history"]
        checkpoint.require(stateful, saved["state"])
        for name, each in stateful.items():
            each.load_state_dict(saved["state"][name])
        if distributed.is_main:
            made = f"all {total_steps} steps are made already; the run stays as it is"
            log(f"going on from step {start} of {total_steps}" if start < total_steps else made)
    lab_book.curve(history)

    progress = Progress(total_steps, "steps", done=start) if distributed.is_main else None
    waiting: list[dict[str, Tensor]] = []  # losses of the row's steps, which nobody has read yet
    last_saved, row_started = start, time.monotonic()
    for step in range(start, total_steps):
        waiting.append({name: loss.detach() for name, loss in step_function(step).items()})
        done = step + 1
        row_ends = done % row_every == 0 or done == total_steps
        if row_ends:
            losses, waiting = _read(waiting, distributed), []
            for number, each in enumerate(losses, start=done - len(losses) + 1):
                if bad := [name for name, value in each.items() if not math.isfinite(value)]:
                    what = f"{', '.join(bad)} is not a finite number"
                    stop(number, what, {"losses": each})
            means = {name: sum(each[name] for each in losses) / len(losses) for name in losses[0]}
            history.append({"step": done, **means})
            lab_book.curve(history[-1:])
        if progress is not None:
            last_row = history[-1] if history else {}
            progress.step(note="  ".join(f"{name} {value:.3f}" for name, value in last_row.items() if name != "step"))
        if row_ends and (done - last_saved >= checkpoint_every or done == total_steps):
            state = {name: each.state_dict() for name, each in stateful.items()}
            bad = non_finite(state)  # the losses, which are finite, were computed before the last update
            if distributed.any(bool(bad)):
                what = f"its update left {shortened(bad) or 'the state of another process'} not finite"
                stop(done, what, {"losses": losses[-1], "not_finite": bad})
            if distributed.is_main:
                checkpoint.save({"step": done, "history": history, "state": state})
                _clear_failure(checkpoint.folder / FAILURE, done)
            last_saved = done
    if progress is not None:
        progress.close()
        (checkpoint.folder / FAILURE).unlink(missing_ok=True)
        if start < total_steps:
            log(f"{total_steps - start} steps in {time.monotonic() - row_started:.1f} s")
    return history


def describe_batch(batches: TrainingBatches, seed: int, step: int) -> dict[str, object]:
    """What failure.json says of a step's batch: the seed, the images by number, and their captions' token ids."""
    batch = batches[step]
    captions = [tokens[:length].tolist() for tokens, length in zip(batch.tokens, batch.lengths, strict=True)]
    return {"seed": seed, "images": batches.rows(step).tolist(), "captions": captions}


def _read(steps: list[dict[str, Tensor]], distributed: DistributedContext) -> list[dict[str, float]]:
    """Numbers of steps' 0-d tensors, added up over the ranks; the host waits for the device once."""
    flat = torch.stack([loss for losses in steps for loss in losses.values()]).double()
    values = iter(distributed.sum(flat).tolist())
    return [{name: next(values) for name in losses} for losses in steps]


def _clear_failure(path: Path, done: int) -> None:
    """Remove the record of a failure that the run, `done` steps long now, has passed."""
    if path.exists() and files.read_json(path, "delete it")["step"] <= done:
        path.unlink()
