"""Facts of the runs behind a page: options, provenance, data set and jobs, read from the files beside the results."""

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.report.evaluations import Evaluation
from dmgan.report.tables.paper_tables import title_of
from dmgan.storage.reading import read_object, read_text

_HINT = "run the workflow again"
_OPTIONS = ("options.json", "run/options.json")  # beside metrics.json: of a trained, of an imported model


class RunRecord(NamedTuple):
    """An evaluation with what its files record of its making."""

    evaluation: Evaluation
    device: str
    provenance: dict[str, object]
    options: dict[str, object]  # of the training; empty for images of another program

    @property
    def title(self) -> str:
        """Title of the model, with its training seed."""
        title = title_of(self.evaluation.name)
        return title if self.evaluation.seed is None else f"{title}, seed {self.evaluation.seed}"


class Job(NamedTuple):
    """A finished job of the workflow, as Snakemake measured it."""

    rule: str
    name: str
    seconds: float
    max_rss: str  # MB


def read_records(evaluations: Iterable[Evaluation]) -> list[RunRecord]:
    """Return the records of the evaluations of models and external methods."""
    found = []
    for each in evaluations:
        content = read_object(each.file, _HINT, {"provenance?": dict}, check=False)
        options = next((path for name in _OPTIONS if (path := each.file.parent / name).exists()), None)
        found.append(
            RunRecord(
                each,
                str(content.get("device", "not recorded")),
                content.get("provenance", {}),
                {} if options is None or each.kind != "model" else read_object(options, _HINT, {}, check=False),
            )
        )
    return found


def read_dataset(folder: Path) -> dict[str, object]:
    """Return dataset.json of a prepared data set; empty if it is not there."""
    path = folder / "dataset.json"
    return read_object(path, _HINT, {}, check=False) if path.exists() else {}


def read_jobs(benchmarks: Path, dataset: str, others: Iterable[str]) -> list[Job]:
    """Return the jobs of a data set from Snakemake's benchmark files, RULE/DATASET-....tsv; longest first.

    others: names of further data sets, whose files may start with the same letters.
    """
    longer = tuple(name for name in others if name.startswith(f"{dataset}-"))
    found = []
    for path in sorted(benchmarks.glob("*/*.tsv")):
        name = path.stem
        if name != dataset and not name.startswith(f"{dataset}-"):
            continue
        if any(name == each or name.startswith(f"{each}-") for each in longer):
            continue
        found += _jobs_of(path)
    return sorted(found, key=lambda job: -job.seconds)


def _jobs_of(path: Path) -> list[Job]:
    text = read_text(path, "delete it")
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"))
        jobs = [Job(path.parent.name, path.stem, float(row["s"]), row["max_rss"]) for row in rows]
        if not all(math.isfinite(job.seconds) for job in jobs):
            raise ValueError("a time is not a finite number")
        return jobs
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: is not a benchmark file of Snakemake ({error!r}); delete it") from error
