"""The training loop: steps, history rows, checkpoints, and checks for non-finite values."""

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
from dmgan.storage.reading import read_object
from dmgan.storage.weights import non_finite, shortened
from dmgan.training.checkpoints import Checkpoint
from dmgan.training.mlflow_run import MlflowRun

ROW_EVERY = 20  # steps per row of history.csv
FAILURE = "failure.json"


def run_steps(
    step_function: Callable[[int], dict[str, Tensor]],
    stateful: dict[str, object],
    total_steps: int,
    checkpoint: Checkpoint,
    checkpoint_every: int,
    mlflow_run: MlflowRun,
    describe: Callable[[int], dict[str, object]] = lambda step: {},
    distributed: DistributedContext = SINGLE_PROCESS,
) -> list[dict[str, float]]:
    """Run steps 0 ... total_steps - 1, or resume from a matching checkpoint; return the history.

    step_function(step) runs one step and returns its losses as 0-d tensors; it must derive all random numbers from the
    step's number. stateful: the objects with state_dict() and load_state_dict() that the steps change. The history has
    one row of mean losses per ROW_EVERY steps. Losses are read and checkpoints are written only at the end of a row, so
    that the other steps do not wait for the device. Losses of several processes are summed; only the main process
    writes files.

    UserError if a loss, or a state to be saved, is not finite: the last checkpoint is kept, and failure.json records
    the step, its losses and the result of describe(step), until a resumed run has passed the step.
    """

    def stop(number: int, reason: str, found: dict[str, object]) -> NoReturn:
        """Write failure.json for step `number`, counted from 1, and raise UserError(reason)."""
        mlflow_run.flush()
        if distributed.is_main:
            losses = {name: value if math.isfinite(value) else str(value) for name, value in found["losses"].items()}
            data = {"step": number, **found, "losses": losses, **describe(number - 1)}
            files.write_json(checkpoint.folder / FAILURE, data)
        raise UserError(
            f"{checkpoint.folder}: step {number}: {reason}; the last good checkpoint is kept, "
            f"and {FAILURE} records the step. Lower the learning rates and run again"
        )

    if distributed.is_main:
        checkpoint.recover()
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
            complete = f"all {total_steps} steps are finished already; nothing is trained"
            log(f"resuming from step {start} of {total_steps}" if start < total_steps else complete)
    mlflow_run.log_history(history)

    unread: list[dict[str, Tensor]] = []  # losses of the row's steps, still on the device
    last_saved, started_at = start, time.monotonic()
    with Progress(total_steps, "steps", done=start, shown=distributed.is_main) as progress:
        for step in range(start, total_steps):
            unread.append({name: loss.detach() for name, loss in step_function(step).items()})
            done = step + 1
            row_ends = done % ROW_EVERY == 0 or done == total_steps
            if row_ends:
                losses, unread = _read_losses(unread, distributed), []
                for number, each in enumerate(losses, start=done - len(losses) + 1):
                    if bad := [name for name, value in each.items() if not math.isfinite(value)]:
                        stop(number, f"{', '.join(bad)} is not a finite number", {"losses": each})
                means = {name: sum(each[name] for each in losses) / len(losses) for name in losses[0]}
                history.append({"step": done, **means})
                mlflow_run.log_history(history[-1:])
            last_row = history[-1] if history else {}
            progress.step(note="  ".join(f"{name} {value:.3f}" for name, value in last_row.items() if name != "step"))
            if row_ends and (done - last_saved >= checkpoint_every or done == total_steps):
                state = {name: each.state_dict() for name, each in stateful.items()}
                bad = non_finite(state)  # possible with finite losses, which were computed before the last update
                if distributed.any(bool(bad)):
                    reason = f"after the update, {shortened(bad) or 'the state of another process'} is not finite"
                    stop(done, reason, {"losses": losses[-1], "not_finite": bad})
                if distributed.is_main:
                    kept = {"step": done, "history": history, "state": state, "seconds": checkpoint.seconds}
                    checkpoint.save(kept)
                    _clear_failure(checkpoint.folder / FAILURE, done)
                last_saved = done
            progress.kept = f"the checkpoint of step {last_saved} is kept" if last_saved else ""
    if distributed.is_main:
        (checkpoint.folder / FAILURE).unlink(missing_ok=True)
        if start < total_steps:
            log(f"{total_steps - start} steps in {time.monotonic() - started_at:.1f} s")
    return history


def describe_batch(batches: TrainingBatches, seed: int, step: int) -> dict[str, object]:
    """Return seed, image indices and the captions' token ids of a step's batch, for failure.json."""
    batch = batches[step]
    captions = [tokens[:length].tolist() for tokens, length in zip(batch.tokens, batch.lengths, strict=True)]
    return {"seed": seed, "images": batches.rows(step).tolist(), "captions": captions}


def _read_losses(steps: list[dict[str, Tensor]], distributed: DistributedContext) -> list[dict[str, float]]:
    """Sum the 0-d losses of several steps over the processes and copy them to the host in one transfer."""
    flat = torch.stack([loss for losses in steps for loss in losses.values()]).double()
    values = iter(distributed.sum(flat).tolist())
    return [{name: next(values) for name in losses} for losses in steps]


def _clear_failure(path: Path, done: int) -> None:
    """Delete failure.json if its step is among the first `done` steps, which the run has finished."""
    if path.exists() and read_object(path, "delete it", {"step": int})["step"] <= done:
        path.unlink()
