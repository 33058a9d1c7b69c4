"""Curves of the metrics on validation images over the training steps, for all seeds of all models."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import facts_of
from dmgan.models.registry import find
from dmgan.report.figures.canvas import GREY, INK, MARGIN, MEDIUM, SMALL, Canvas, line_height, text_width, wrap
from dmgan.report.results import metric_of
from dmgan.storage import files
from dmgan.training.snapshots import TABLE

NAME = "validation"  # file name of the figure
_COLUMNS = 2  # panels in a row
_PANEL, _HEIGHT, _LEFT, _BELOW = 2.6, 1.6, 0.55, 0.5  # inches: of the axes, and of their labels
_WIDTH = 2 * MARGIN + _COLUMNS * (_LEFT + _PANEL)
_ARROWS = {"up": "more is better", "down": "less is better"}
_LINE = 0.25  # length of a line of the legend, inches


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
    options = files.read_json(run / "options.json", hint)
    try:
        with open(run / TABLE, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        metrics = [name for name in rows[0] if name not in ("step", "seconds", "images")]
        values = {name: [float(row[name]) for row in rows] for name in metrics}
        steps, selection = [int(row["step"]) for row in rows], options["selection"]
        selected = selection["step"] if selection["rule"] == "best" else None
        return Curves(options["model"], options["seed"], int(rows[0]["images"]), steps, values, selected)
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(f"{run / TABLE}: is not a table of validation metrics ({error}); {hint}") from error


def write_validation_figure(runs: Sequence[Path], out: Path) -> None:
    """Write validation.png and validation.pdf into the folder `out` from run folders of one data set."""
    draw_curves([read_curves(Path(run)) for run in runs]).write(Path(out) / NAME)


def draw_curves(curves: Sequence[Curves]) -> Canvas:
    """Draw one panel for each metric: one colour for each model, one thin line for each seed."""
    metrics = list(dict.fromkeys(name for each in curves for name in each.values))
    models = list(dict.fromkeys(each.model for each in curves))
    palette = matplotlib.colormaps["tab10" if len(models) <= 10 else "tab20"].colors
    colours = {model: palette[number % len(palette)] for number, model in enumerate(models)}
    foot = wrap(_foot(curves), _WIDTH - 2 * MARGIN, SMALL)
    legend = _legend_places(models)
    head = MARGIN + line_height(MEDIUM) + 0.08
    first = head + (legend[-1][1] + 1) * line_height(MEDIUM) + 0.12
    row_height = line_height(MEDIUM) + 0.04 + _HEIGHT + _BELOW
    height = first + -(-len(metrics) // _COLUMNS) * row_height + len(foot) * line_height(SMALL) + MARGIN
    canvas = Canvas(_WIDTH, height)
    canvas.lines(MARGIN, MARGIN, ["Metrics on validation images during training"], MEDIUM)
    for model, (left, line) in zip(models, legend, strict=True):
        top = head + line * line_height(MEDIUM)
        key = canvas.axes(left, top, _LINE, line_height(MEDIUM))
        key.plot([0, 1], [0.5, 0.5], color=colours[model], linewidth=1.5)
        key.set(xlim=(0, 1), ylim=(0, 1))
        key.set_axis_off()
        canvas.lines(left + _LINE + 0.05, top, [find(model).title], MEDIUM)
    for number, metric in enumerate(metrics):
        left = MARGIN + number % _COLUMNS * (_LEFT + _PANEL)
        top = first + number // _COLUMNS * row_height
        canvas.lines(left, top, [f"{metric}, {_ARROWS[facts_of(metric_of(metric)).better]}"], MEDIUM)
        axes = canvas.axes(left + _LEFT, top + line_height(MEDIUM) + 0.04, _PANEL - 0.1, _HEIGHT)
        _draw_panel(axes, curves, metric, colours)
    canvas.lines(MARGIN, canvas.height - MARGIN - len(foot) * line_height(SMALL), foot, SMALL, GREY)
    return canvas


def _draw_panel(axes: Axes, curves: Sequence[Curves], metric: str, colours: dict[str, tuple]) -> None:
    for each in curves:
        if metric not in each.values:
            continue
        values, colour = each.values[metric], colours[each.model]
        axes.plot(each.steps, values, color=colour, linewidth=0.7, marker=".", markersize=2)
        if each.selected is not None:
            axes.plot(each.selected, values[each.steps.index(each.selected)], "o", color=colour, markersize=4, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=SMALL, colors=INK, width=0.5, length=2)
    axes.set_xlabel("step", size=SMALL, color=INK, labelpad=1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)


def _legend_places(models: Sequence[str]) -> list[tuple[float, int]]:
    """Return left edge in inches and line of each model's entry of the legend."""
    places, left, line = [], MARGIN, 0
    for model in models:
        width = _LINE + 0.05 + text_width(find(model).title, MEDIUM) + 0.2
        if left > MARGIN and left + width > _WIDTH - MARGIN:
            left, line = MARGIN, line + 1
        places.append((left, line))
        left += width
    return places


def _foot(curves: Sequence[Curves]) -> str:
    images = " and ".join(f"{count:,}" for count in sorted({each.images for each in curves}))
    selected = " A dot marks the selected weights." if any(each.selected is not None for each in curves) else ""
    return (
        f"One line a seed; {images} images of captions of held-out training images, the same captions and noises at "
        f"every step. Not comparable with numbers of the test images.{selected}"
    )
