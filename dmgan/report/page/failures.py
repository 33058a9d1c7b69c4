"""What failed: jobs and trainings, collapsed models, and metrics by which a control leads or nothing can be told."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dmgan.errors import one_line
from dmgan.evaluation.metrics.table import facts_of
from dmgan.report.evaluations import metric_of
from dmgan.report.page.content import Block, Items, Paragraph
from dmgan.report.results import Measured, summarise
from dmgan.report.tables.marks import MEANINGS
from dmgan.report.tables.paper_tables import title_of
from dmgan.report.tables.structure import Note
from dmgan.storage.reading import read_object
from dmgan.training.checkpoints import CHECKPOINT

_ERROR = re.compile(r"(dmgan [\w-]+|gpu_lease): ")  # how the last line of a failed job's log starts
_LAST_BYTES = 4096  # of a log


def failures(measured: Measured, notes: Sequence[Note], results: Path, logs: Path) -> Iterator[Block]:
    """Yield the failures of a data set; notes: of the table of all metrics and controls."""
    sections = (
        ("Failed and unfinished jobs", [*_failed_jobs(logs, results.name), *_failed_trainings(results)]),
        ("Collapsed models", list(_collapsed(measured))),
        ("Metrics that are no evidence", [f"{note.mark} {note.text}" for note in notes if note.mark in MEANINGS]),
    )
    for title, found in sections:
        yield Paragraph(f"{title}: {'none' if not found else len(found)}.", warning=bool(found))
        if found:
            yield Items(tuple(found))


def _failed_jobs(logs: Path, dataset: str) -> Iterator[str]:
    """Yield the error of every job of a data set whose log ends with one."""
    for path in sorted(logs.glob("*/*.log")):
        if path.stem != dataset and not path.stem.startswith(f"{dataset}-"):
            continue
        if not path.is_file():  # reading a pipe would wait for ever
            continue
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_BYTES))
            lines = file.read(_LAST_BYTES).decode(errors="replace").strip().splitlines()
        if lines and _ERROR.match(lines[-1]):
            yield one_line(f"{path.parent.name} {path.stem}: {lines[-1]}")


def _failed_trainings(results: Path) -> Iterator[str]:
    for path in sorted(results.glob("*/seed*/failure.json")):
        step = read_object(path, "train the model again", {"step": int})["step"]
        yield f"{path.parent.relative_to(results)}: a loss was not finite in step {step} ({path.name})"
    for path in sorted(results.glob(f"*/seed*/{CHECKPOINT}")):
        if not (path.parent / "options.json").exists():
            yield f"{path.parent.relative_to(results)}: the training has a checkpoint and is not finished"


def _collapsed(measured: Measured) -> Iterator[str]:
    """Yield the models whose images are nearly all alike, by a metric that states a limit."""
    for name, runs in measured.models.items():
        for metric in dict.fromkeys(key for run in runs for key in run.metrics):
            limit, summary = facts_of(metric_of(metric)).collapsed_below, summarise(runs, metric)
            if limit is not None and summary is not None and summary.value < limit:
                yield f"{title_of(name)}: {metric} is {summary.value:.3g}, below {limit:g} of real images' diversity"
