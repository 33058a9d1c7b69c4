"""Checkpoints that go on to the bit, and the loop that writes and reads them."""

import fcntl
import io
import math
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from dmgan import files
from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.progress import Progress, say
from dmgan.ranks import ALONE, Ranks
from dmgan.tracking import LabBook

CHECKPOINT = "checkpoint.pt"


FAILURE = "failure.json"


@contextmanager
def exclusive(run_folder: Path, ranks: Ranks = ALONE):
    """Hold the run folder alone: a second job on it waits until the first has ended. A job's first rank holds it."""
    if not ranks.first:
        ranks.wait()
        yield
        return
    run_folder.mkdir(parents=True, exist_ok=True)
    with open(run_folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{run_folder}: another job is at work on it; waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        ranks.wait()
        yield


class Checkpoint:
    """The undeclared file that an interrupted job goes on from."""

    def __init__(self, run_folder: Path, kind: str, fingerprint: str):
        """kind: what is trained, such as the model's name; fingerprint: hash of everything that shapes the run."""
        self.folder, self._path = run_folder, run_folder / CHECKPOINT
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

    def require_parts(self, wanted: Iterable[str], saved: Iterable[str]) -> None:
        """UserError unless the checkpoint holds the state of just the parts that are wanted."""
        if differing := sorted(set(wanted) ^ set(saved)):
            raise UserError(
                f"{self._path}: was made by another version of this program (it differs in {', '.join(differing)}); "
                "delete it to start anew"
            )

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
    describe: Callable[[int], dict[str, object]] = lambda step: {},
    ranks: Ranks = ALONE,
) -> list[dict[str, float]]:
    """Run steps 0 ... total_steps - 1, going on from the checkpoint where there is one.

    step_function(step) makes one step and returns its losses as 0-d tensors; it must draw everything
    random from its step's number. `stateful` are the objects with state_dict() and load_state_dict()
    that the steps change. Returns the history: one row of mean losses per `row_every` steps. A loss
    that is not finite is a UserError; the last checkpoint stays, and failure.json beside it holds the step,
    its losses and what describe(step) gives, until the run has passed that step. Losses are read at row
    ends alone, so that no step waits for the device; checkpoints fall on row ends. The losses of several
    ranks add up; the first rank writes.
    """
    saved = checkpoint.load()
    start, history = 0, []
    if saved is not None:
        start, history = saved["step"], saved["history"]
        checkpoint.require_parts(stateful, saved["state"])
        for name, each in stateful.items():
            each.load_state_dict(saved["state"][name])
        if ranks.first:
            say(f"going on from step {start} of {total_steps}")
    lab_book.curve(history)

    progress = Progress(total_steps, "steps", done=start) if ranks.first else None
    sums: dict[str, Tensor] = {}
    steps: list[dict[str, Tensor]] = []  # of the row that is not yet read
    last_saved, row_started = start, time.monotonic()
    for step in range(start, total_steps):
        steps.append({name: loss.detach() for name, loss in step_function(step).items()})
        for name, loss in steps[-1].items():
            sums[name] = sums.get(name, 0.0) + loss
        done = step + 1
        row_ends = done % row_every == 0 or done == total_steps
        if row_ends:
            count = done - (step // row_every) * row_every
            row = {"step": done, **{name: total / count for name, total in _read(sums, ranks).items()}}
            if not all(map(math.isfinite, row.values())):
                _refuse_non_finite([_read(each, ranks) for each in steps], done, describe, checkpoint.folder, ranks)
            history.append(row)
            lab_book.curve([row])
            sums, steps = {}, []
        if progress is not None:
            last_row = history[-1] if history else {}
            progress.step(note="  ".join(f"{name} {value:.3f}" for name, value in last_row.items() if name != "step"))
        if row_ends and (done - last_saved >= checkpoint_every or done == total_steps):
            if ranks.first:
                state = {name: each.state_dict() for name, each in stateful.items()}
                checkpoint.save({"step": done, "history": history, "state": state})
                _clear_failure(checkpoint.folder / FAILURE, done)
            last_saved = done
    if progress is not None:
        progress.close()
        (checkpoint.folder / FAILURE).unlink(missing_ok=True)
        say(f"{total_steps - start} steps in {time.monotonic() - row_started:.1f} s")
    return history


def describe_batch(batches: TrainingBatches, seed: int, step: int) -> dict[str, object]:
    """What failure.json says of a step's batch: the seed, the images by number, and their captions' token ids."""
    batch = batches[step]
    captions = [tokens[:length].tolist() for tokens, length in zip(batch.tokens, batch.lengths, strict=True)]
    return {"seed": seed, "images": batches.rows(step).tolist(), "captions": captions}


def _read(losses: dict[str, Tensor], ranks: Ranks) -> dict[str, float]:
    """Numbers of 0-d tensors, added up over the ranks; the host waits for the device once."""
    together = ranks.add_up(torch.stack([loss.double() for loss in losses.values()]))
    return dict(zip(losses, together.tolist(), strict=True))


def _clear_failure(path: Path, done: int) -> None:
    """Remove the record of a failure that the run, `done` steps long now, has passed."""
    if path.exists() and files.read_json(path, "delete it")["step"] <= done:
        path.unlink()


def _refuse_non_finite(
    steps: list[dict[str, float]], done: int, describe: Callable[[int], dict], folder: Path, ranks: Ranks
) -> None:
    """Save the data of the first bad step of those that end with step `done`, counted from 1, and stop."""
    first = next(i for i, losses in enumerate(steps) if not all(map(math.isfinite, losses.values())))
    number, losses = done - len(steps) + 1 + first, steps[first]
    if ranks.first:
        values = {name: value if math.isfinite(value) else str(value) for name, value in losses.items()}
        files.write_json(folder / FAILURE, {"step": number, "losses": values, **describe(number - 1)})
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    raise UserError(
        f"{folder}: step {number}: {', '.join(bad)} is not a finite number; the last good checkpoint is kept, "
        f"{FAILURE} holds the step's data. Lower the learning rates and run again"
    )
