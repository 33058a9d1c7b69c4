"""Snapshots of the averaged weights during training, their measurements on validation images, and their selection."""

import re
import time
from pathlib import Path
from typing import Protocol

from dmgan.runtime.progress import log
from dmgan.storage import files
from dmgan.storage.weights import non_finite, save_state
from dmgan.training.run_folder import RunFolder
from dmgan.training.trainer import Trainer

FOLDER, TABLE = "snapshots", "validation.csv"


def snapshots_of(run: Path) -> dict[int, Path]:
    """Return the snapshots that a run folder holds, step -> safetensors file; none without evaluate_every."""
    found = (re.fullmatch(r"step(\d+)\.safetensors", path.name) for path in (Path(run) / FOLDER).glob("*"))
    return {int(match[1]): Path(run) / FOLDER / match[0] for match in found if match}


class Validator(Protocol):
    """Measures weights on held-out training images; a pure function of the weights."""

    criterion: str  # the metric by which weights are selected; less is better
    num_images: int  # held-out images
    protocol: dict[str, object]  # images and networks of the measurements, as plain values

    def measure(self, weights: Path) -> dict[str, float]:
        """Return the metrics, by name, of the generator whose weights are in a safetensors file."""


class Snapshots:
    """Snapshots of a training run; their measurements are part of its checkpoint.

    A snapshot is what generator.safetensors would be if the training ended at its step. The rows of validation.csv are
    those of the checkpoint, so that a resumed run measures later steps again.
    """

    def __init__(self, folder: RunFolder, trainer: Trainer, validator: Validator | None, steps: int):
        """validator: None in the processes that do not measure; steps: of the whole run."""
        self._run, self._trainer, self._validator, self._steps = folder, trainer, validator, steps
        self._every, self._networks = trainer.options.evaluate_every, None
        self.rows: list[dict[str, float]] = []

    def path(self, step: int) -> Path:
        """Return the path of the snapshot of a step."""
        return self._run.folder / FOLDER / f"step{step}.safetensors"

    def cost(self, training_images: int) -> str:
        """Return what the validation costs: images that are not trained on, measurements, and disk space."""
        count = -(-self._steps // self._every)
        size = sum(each.numel() * each.element_size() for each in self._trainer.averaged_state().values())
        return (
            f"{self._validator.num_images} of {training_images} training images are held out for validation; {count} "
            f"measurements, {count * size / 1e6:,.1f} MB of snapshots"
        )

    def after_step(self, done: int) -> None:
        """Keep and measure the averaged weights after `done` steps, if they are due."""
        if self._validator is None or not self._due(done):
            return
        state = self._trainer.averaged_state()
        if non_finite(state):  # the loop stops the run at the end of the row, and writes failure.json
            return
        save_state(state, self.path(done))
        self._append(done)

    def finish(self) -> dict[str, object]:
        """Write validation.csv, and return its protocol and cost for options.json."""
        self._write()
        self._run.mlflow_run.log_file(self._run.folder / TABLE)
        log(f"{len(self.rows)} measurements on validation images took {sum(row['seconds'] for row in self.rows):.1f} s")
        return {**self._validator.protocol, "snapshots": [row["step"] for row in self.rows]}

    def best(self) -> dict[str, object]:
        """Return step, metric and value of the snapshot with the lowest criterion; of equal snapshots the earliest."""
        criterion = self._validator.criterion
        row = min(self.rows, key=lambda row: (row[criterion], row["step"]))
        return {"step": row["step"], "metric": criterion, "value": row[criterion], "snapshots": len(self.rows)}

    def state_dict(self) -> dict[str, object]:
        networks = self._networks if self._validator is None else self._validator.protocol
        return {"rows": self.rows, "measured_by": networks}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore the rows; measure the kept snapshots again if the images or networks of the validation changed."""
        rows = [row for row in state["rows"] if self._due(row["step"])]  # a shorter run measured its last step too
        self._networks = state["measured_by"]
        if self._validator is None or self._networks == self._validator.protocol:
            self.rows = rows
            return
        log(f"{self._run.folder / FOLDER}: the validation networks changed; measuring {len(rows)} snapshots again")
        self.rows = []
        for row in rows:
            self._append(row["step"])

    def _due(self, done: int) -> bool:
        return done % self._every == 0 or done == self._steps

    def _append(self, step: int) -> None:
        """Measure the snapshot of a step, and add its row to validation.csv and MLflow."""
        started = time.monotonic()
        values = self._validator.measure(self.path(step))
        seconds = time.monotonic() - started
        self.rows.append({"step": step, "seconds": round(seconds, 3), "images": self._validator.num_images, **values})
        self._write()
        self._run.mlflow_run.log_validation(step, values)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        log(f"step {step}: on {self._validator.num_images} validation images {shown}  ({seconds:.1f} s)")

    def _write(self) -> None:
        """Write validation.csv, and delete the snapshots of steps that it does not list."""
        files.write_csv(self._run.folder / TABLE, self.rows)
        kept = {self.path(row["step"]) for row in self.rows}
        for path in (self._run.folder / FOLDER).glob("step*.safetensors"):
            if path not in kept:
                path.unlink()
