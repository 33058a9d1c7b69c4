"""FID against the cost of training, a mark for each seed of every model."""

from functools import partial

from matplotlib.axes import Axes

from dmgan.evaluation.metrics.fid import FrechetInceptionDistance
from dmgan.report.figures.canvas import Canvas
from dmgan.report.figures.charts import Chart, draw_charts, style_of
from dmgan.report.figures.records import Records, Run
from dmgan.report.figures.scene import title
from dmgan.report.results import metric_of

_FOOT = (
    "One mark a seed; left and down is better. Images seen: steps times images in a batch, over all processes. "
    "Seconds: wall time of the training job as Snakemake measured it, with start and validation; a job that resumed a "
    "run counts its own part, and other programs on the machine lengthen it."
)


def draw_costs(records: Records) -> Canvas:
    """Draw, for every FID, one panel over the images seen in training and one over the seconds of training."""
    measured = [run for run in records.runs if run.metrics is not None]
    name = FrechetInceptionDistance.facts.name
    keys = dict.fromkeys(key for run in measured for key in run.metrics.metrics if metric_of(key) == name)
    charts = []
    for key in keys:
        charts.append(Chart(key, "images seen in training", partial(_draw, measured, key, images_seen)))
        if any(run.seconds is not None for run in measured):
            charts.append(Chart(key, "seconds of training", partial(_draw, measured, key, lambda run: run.seconds)))
    models = [model for model in records.models if any(run.model == model for run in measured)]
    foot = f"{_FOOT} {_devices(measured)}{_not_recorded(measured)}"
    return draw_charts("FID against the cost of training", models, charts, foot)


def images_seen(run: Run) -> int:
    """Return the number of real images that a training read."""
    ends = [segment["from_step"] for segment in run.options["engine"][1:]] + [int(run.history["step"][-1])]
    return sum(
        (end - segment["from_step"]) * segment["effective_batch"]
        for segment, end in zip(run.options["engine"], ends, strict=True)
    )


def _draw(runs: list[Run], key: str, cost, axes: Axes) -> None:
    for run in runs:
        measure, spent = run.metrics.metrics.get(key), cost(run)
        if measure is not None and spent is not None:
            style = style_of(run.model)
            axes.plot(spent, measure.value, color=style.color, marker=style.marker, markersize=4, linestyle="none")
    axes.set_xlim(left=0)


def _not_recorded(runs: list[Run]) -> str:
    """Return a sentence that names the runs without seconds; "" if there are none."""
    names = ", ".join(f"{title(run.model)} seed {run.seed}" for run in runs if run.seconds is None)
    return f" Seconds not recorded: {names}." if names else ""


def _devices(runs: list[Run]) -> str:
    devices = sorted({str(segment["device"]) for run in runs for segment in run.options["engine"]})
    return f"Devices: {', '.join(devices)}."
