"""Curves of the losses over the steps of training: mean and range over seeds."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from dmgan.report.figures.canvas import Canvas
from dmgan.report.figures.charts import Chart, draw_charts, style_of
from dmgan.report.figures.records import Records, Run

_POINTS = 200  # of a curve at most: longer histories are averaged in intervals
_FOOT = (
    "One line a model: the mean over its seeds; the band is from the least to the greatest seed. Losses with a number, "
    "such as those of the discriminators of the stages, are summed. Losses of different models are not comparable: "
    "their terms and weights differ."
)


def draw_losses(records: Records) -> Canvas:
    """Draw a panel for each loss, with a line and a band for each model."""
    names = list(dict.fromkeys(name for run in records.runs for name in losses_of(run)))
    charts = [Chart(name.replace("_", " "), "step", partial(_draw, records, name)) for name in names]
    return draw_charts("Losses during training", records.models, charts, f"{_FOOT} {_seeds(records)}")


def losses_of(run: Run) -> dict[str, np.ndarray]:
    """Return the columns of a history by name; columns that differ only in a final number are summed."""
    losses: dict[str, np.ndarray] = {}
    for column, values in run.history.items():
        if column != "step":
            name = column.rstrip("0123456789")
            losses[name] = losses.get(name, 0.0) + np.asarray(values)
    return losses


def mean_and_range(runs: Sequence[Run], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return steps, mean, least and greatest value of a loss over seeds, at the steps that all seeds have."""
    curves = [_averaged(run, name) for run in runs if name in losses_of(run)]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = np.array([[curve[step] for step in steps] for curve in curves])
    return np.array(steps), values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def _averaged(run: Run, name: str) -> dict[float, float]:
    """Return step -> loss; of more than _POINTS rows, the mean of every interval at its last step."""
    steps, values = np.asarray(run.history["step"]), losses_of(run)[name]
    size = -(-len(steps) // _POINTS)
    starts = np.arange(0, len(steps), size)
    ends = np.minimum(starts + size, len(steps))
    return {float(steps[end - 1]): float(values[start:end].mean()) for start, end in zip(starts, ends, strict=True)}


def _draw(records: Records, name: str, axes: Axes) -> None:
    for model in records.models:
        runs = [run for run in records.of(model) if name in losses_of(run)]
        if not runs:
            continue
        style = style_of(model)
        steps, mean, least, greatest = mean_and_range(runs, name)
        marked = max(1, len(steps) // 6)
        axes.plot(steps, mean, **style._asdict(), linewidth=0.9, markersize=2.5, markevery=(marked // 2, marked))
        axes.fill_between(steps, least, greatest, color=style.color, alpha=0.2, linewidth=0)


def _seeds(records: Records) -> str:
    counts = {len(records.of(model)) for model in records.models}
    return f"Seeds of a model: {' or '.join(map(str, sorted(counts)))}."
