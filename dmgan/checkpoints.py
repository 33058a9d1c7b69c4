"""Checkpoints that go on to the bit, and the loop that writes and reads them."""

import fcntl
import io
import math
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from dmgan import files
from dmgan.errors import UserError
from dmgan.progress import Progress, say
from dmgan.tracking import LabBook

CHECKPOINT = "checkpoint.pt"


@contextmanager
def exclusive(run_folder: Path):
    """Hold the run folder alone: a second job on it waits until the first has ended."""
    run_folder.mkdir(parents=True, exist_ok=True)
    with open(run_folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{run_folder}: another job is at work on it; waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Checkpoint:
    """The undeclared file that an interrupted job goes on from."""

    def __init__(self, run_folder: Path, kind: str, fingerprint: str):
        """kind: what is trained, such as the model's name; fingerprint: hash of everything that shapes the run."""
        self._path = run_folder / CHECKPOINT
        self._kind, self._fingerprint = kind, fingerprint

    def load(self) -> dict | None:
        """The saved content, or None where there is nothing to go on from.

        A checkpoint of the same model under other options is left aside with a line that says so; one of
        another model, or a damaged one, is a UserError.
        """
        if not self._path.exists():
            return None
        try:
            saved = torch.load(self._path, map_location="cpu", weights_only=True)
            kind, fingerprint = saved["kind"], saved["fingerprint"]
        except Exception as error:  # torch.load raises many kinds for a file that is no checkpoint
            raise UserError(f"{self._path}: is not a readable checkpoint ({error}); delete it to start anew") from error
        if kind != self._kind:
            raise UserError(
                f"{self._path}: is a checkpoint of {kind}, not of {self._kind}; delete it or give another run folder"
            )
        if fingerprint != self._fingerprint:
            say(f"{self._path}: was made under other options or inputs; starting from the first step")
            return None
        return saved

    def save(self, content: dict) -> None:
        """Write the checkpoint, whole or not at all."""
        buffer = io.BytesIO()
        torch.save({"kind": self._kind, "fingerprint": self._fingerprint, **content}, buffer)
        files.write_bytes(self._path, buffer.getbuffer())


def run_steps(
    step_function: Callable[[int], dict[str, Tensor]],
    stateful: dict[str, object],
    total_steps: int,
    row_every: int,
    checkpoint: Checkpoint,
    checkpoint_every: int,
    lab_book: LabBook,
) -> list[dict[str, float]]:
    """Run steps 0 ... total_steps - 1, going on from the checkpoint where there is one.

    step_function(step) makes one step and returns its losses as 0-d tensors; it must draw everything
    random from its step's number. `stateful` are the objects with state_dict() and load_state_dict()
    that the steps change. Returns the history: one row of mean losses per `row_every` steps. A loss
    that is not finite is a UserError, and the last checkpoint stays. Checkpoints fall on row ends.
    """
    saved = checkpoint.load()
    start, history = 0, []
    if saved is not None:
        start, history = saved["step"], saved["history"]
        for name, each in stateful.items():
            each.load_state_dict(saved["state"][name])
        say(f"going on from step {start} of {total_steps}")
    lab_book.curve(history)

    progress = Progress(total_steps, "steps", done=start)
    sums: dict[str, Tensor] = {}
    last_saved, row_started = start, time.monotonic()
    for step in range(start, total_steps):
        for name, loss in step_function(step).items():
            sums[name] = sums.get(name, 0.0) + loss.detach()
        done = step + 1
        row_ends = done % row_every == 0 or done == total_steps
        if row_ends:
            count = done - (step // row_every) * row_every
            row = {"step": done, **{name: float(total) / count for name, total in sums.items()}}
            _refuse_non_finite(row)
            history.append(row)
            lab_book.curve([row])
            sums = {}
        note = ""
        if history:
            note = "  ".join(f"{name} {value:.3f}" for name, value in history[-1].items() if name != "step")
        progress.step(note=note)
        if row_ends and (done - last_saved >= checkpoint_every or done == total_steps):
            state = {name: each.state_dict() for name, each in stateful.items()}
            checkpoint.save({"step": done, "history": history, "state": state})
            last_saved = done
    progress.close()
    say(f"{total_steps - start} steps in {time.monotonic() - row_started:.1f} s")
    return history


def _refuse_non_finite(row: dict[str, float]) -> None:
    bad = [name for name, value in row.items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"step {row['step']}: {', '.join(bad)} is not a finite number; the last good checkpoint is kept. "
            "Lower the learning rates and run again"
        )
