"""Records of trainings that the charts read: history, options, metrics and cost of the runs of all seeds."""

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.models.registry import find
from dmgan.report.results import Evaluation, read_measured
from dmgan.storage.reading import read_object, read_text
from dmgan.training.run_folder import HISTORY, OPTIONS

_HINT = "give the folder of a finished training, such as results/synthbirds/dmgan/seed0"


class Run(NamedTuple):
    """The record of one training."""

    folder: Path
    model: str
    seed: int
    options: Mapping[str, object]  # options.json
    history: Mapping[str, Sequence[float]]  # column of history.csv -> its values
    metrics: Evaluation | None = None  # of its images; None: not given
    seconds: float | None = None  # wall time of the training job; None: not recorded


class Records(NamedTuple):
    """Input of every chart: the runs of all seeds of all models of one data set."""

    runs: Sequence[Run]

    @property
    def models(self) -> list[str]:
        """The names of the models, in the order of the runs."""
        return list(dict.fromkeys(run.model for run in self.runs))

    def of(self, model: str) -> list[Run]:
        """Return the runs of a model."""
        return [run for run in self.runs if run.model == model]


def read_records(runs: Sequence[Path], metrics: Sequence[Path] = (), benchmarks: Sequence[Path] = ()) -> Records:
    """Read run folders, and optionally the metrics.json and Snakemake benchmark of every run.

    metrics: files of images of these runs, in any order; metrics of other runs are left out. benchmarks: one for each
    run, in the same order; runs whose file is missing have no seconds. UserError if a file cannot be read, or the
    numbers of runs and benchmarks differ.
    """
    if not runs:
        raise UserError(f"no run given; {_HINT}")
    if benchmarks and len(benchmarks) != len(runs):
        raise UserError(
            f"--benchmarks: {len(benchmarks)} files for {len(runs)} runs; give one for each run, in the same order"
        )
    records = [_read_run(Path(folder)) for folder in runs]
    if metrics:
        measured = {
            (each.name, each.seed): each
            for evaluations in read_measured(metrics).models.values()
            for each in evaluations
        }
        records = [run._replace(metrics=measured.get((run.model, run.seed))) for run in records]
    if benchmarks:
        seconds = [_read_seconds(Path(path)) for path in benchmarks]
        records = [run._replace(seconds=each) for run, each in zip(records, seconds, strict=True)]
    return Records(records)


def _read_run(folder: Path) -> Run:
    options = read_object(folder / OPTIONS, _HINT, {"model": str, "seed": (int, None)})
    find(options["model"])
    text = read_text(folder / HISTORY, _HINT)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        history = {name: [float(row[name]) for row in rows] for name in rows[0]}
        history["step"]  # every history has it
        if not all(map(math.isfinite, itertools.chain(*history.values()))):
            raise ValueError("a value is not a finite number")
        return Run(folder, options["model"], options["seed"], options, history)
    except (KeyError, ValueError, TypeError, IndexError, csv.Error) as error:
        raise UserError(f"{folder}: has no history of a training ({error}); {_HINT}") from error


def _read_seconds(path: Path) -> float | None:
    """Return the wall time of a job from the file that Snakemake's `benchmark:` wrote; None if it is missing."""
    if not path.exists():
        return None
    text = read_text(path, "leave --benchmarks out")
    try:
        seconds = float(next(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))["s"])
        if not math.isfinite(seconds):
            raise ValueError("the time is not a finite number")
        return seconds
    except (StopIteration, KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: is not a benchmark of Snakemake ({error}); leave --benchmarks out") from error
