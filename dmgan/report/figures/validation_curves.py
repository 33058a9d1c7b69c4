"""Curves of the metrics on validation images over the training steps, for all seeds of all models."""

import csv
import io
import math
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import facts_of
from dmgan.report.figures.canvas import Canvas
from dmgan.report.figures.charts import Chart, draw_charts, style_of
from dmgan.report.figures.records import Records
from dmgan.report.results import metric_of
from dmgan.storage.reading import read_object, read_text
from dmgan.training.snapshots import TABLE

_OPTIONS = {  # entries of options.json, as in dmgan.storage.reading.read_object
    "model": str, "seed": int, "selection": {"rule": str, "step?": int},
}  # fmt: skip
_ARROWS = {"up": "more is better", "down": "less is better"}


class Curves(NamedTuple):
    """The measurements of one run."""

    model: str
    seed: int
    images: int  # validation images
    steps: list[int]
    values: dict[str, list[float]]  # by METRIC(READER)
    selected: int | None  # step of the weights that the run kept; None: the last step, without a selection


def read_curves(run: Path) -> Curves:
    """Read options.json and validation.csv of a run folder; UserError if the run was not measured during training."""
    hint = "train it with --evaluate-every, or leave it out"
    options = read_object(run / "options.json", hint, _OPTIONS)
    selection = options["selection"]
    selected = selection.get("step") if selection["rule"] == "best" else None
    text = read_text(run / TABLE, hint)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        metrics = [name for name in rows[0] if name not in ("step", "seconds", "images")]
        values = {name: [float(row[name]) for row in rows] for name in metrics}
        steps, images = [int(row["step"]) for row in rows], int(rows[0]["images"])
        if not metrics or not all(map(math.isfinite, chain(*values.values()))) or selected not in (None, *steps):
            raise ValueError("a value is not finite, or the selected step is missing")
        for metric in metrics:
            facts_of(metric_of(metric))
        return Curves(options["model"], options["seed"], images, steps, values, selected)
    except (csv.Error, KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(f"{run / TABLE}: is not a table of validation metrics ({error}); {hint}") from error


def draw_validation(records: Records) -> Canvas:
    """Draw the curves of the runs that were measured during training."""
    return draw_curves([read_curves(run.folder) for run in records.runs if (run.folder / TABLE).exists()])


def draw_curves(curves: Sequence[Curves]) -> Canvas:
    """Draw one panel for each metric: one colour for each model, one thin line for each seed."""
    metrics = list(dict.fromkeys(name for each in curves for name in each.values))
    models = list(dict.fromkeys(each.model for each in curves))
    charts = [
        Chart(f"{metric}, {_ARROWS[facts_of(metric_of(metric)).better]}", "step", partial(_draw, curves, metric))
        for metric in metrics
    ]
    return draw_charts("Metrics on validation images during training", models, charts, _foot(curves))


def _draw(curves: Sequence[Curves], metric: str, axes: Axes) -> None:
    for each in curves:
        if metric not in each.values:
            continue
        values, style = each.values[metric], style_of(each.model)
        axes.plot(each.steps, values, **style._asdict(), linewidth=0.7, markersize=2)
        if each.selected is not None:
            axes.plot(
                each.selected, values[each.steps.index(each.selected)], "o", color=style.color, markersize=5, zorder=3
            )


def _foot(curves: Sequence[Curves]) -> str:
    images = " and ".join(f"{count:,}" for count in sorted({each.images for each in curves}))
    selected = " A large dot marks the selected weights." if any(each.selected is not None for each in curves) else ""
    return (
        f"One line a seed; {images} images of captions of held-out training images, the same captions and noises at "
        f"every step. Not comparable with numbers of the test images.{selected}"
    )
