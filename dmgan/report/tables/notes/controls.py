"""Notes on control rows: what they show of a metric, and how they were measured."""

from collections.abc import Callable, Iterator

from dmgan.evaluation.metrics.table import facts_of
from dmgan.options import CONTROLS
from dmgan.report.evaluations import metric_of
from dmgan.report.results import Summary
from dmgan.report.tables.marks import DAGGER, DOUBLE_DAGGER, PILCROW, SECTION, Marks, should_lose
from dmgan.report.tables.paper_tables import CONTROL_TITLES, Results, better
from dmgan.report.tables.phrases import listed, listed_models
from dmgan.report.tables.structure import Note


def control_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the notes on control rows."""
    yield from _unable_notes(results, marks)
    yield from _wrong_control_notes(results, marks)
    yield from _exceeded_notes(results, marks)
    yield from _nearest_notes(results, marks)
    yield from _unmarked_notes(results, marks)
    yield from _ceiling_notes(results, marks)
    yield from _adversarial_notes(results)
    yield from _count_notes(results)


def _unable_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the note on metrics whose scorer cannot tell whether a caption is an image's own."""
    entries = []
    for metric in filter(marks.unable, results.columns):
        real, shuffled = (
            f"{results.shown(metric, each.value)} [{', '.join(results.shown(metric, end) for end in interval)}]"
            for each in (marks.controls(metric)[name] for name in ("real", "shuffled"))
            for interval in [each.clustered(metric)[0]]
        )
        entries.append(f"{metric}, real images {real}, shuffled captions {shuffled}")
    if entries:
        yield Note(
            PILCROW,
            f"Unable to tell: real images with their own captions score no better than with shuffled captions, by "
            f"their intervals ({'; '.join(entries)}). By this column no models can be compared.",
        )


def _wrong_control_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the note on controls that should lose but rank before a model."""
    found = []
    for metric in results.columns:
        for name, control in marks.leading(metric).items():
            beaten = results.behind(metric, control.value)
            if should_lose(name, metric) and beaten:
                side = "above" if better(metric) == "up" else "below"
                value, models = results.shown(metric, control.value), listed_models(results, metric, beaten)
                found.append(f"{CONTROL_TITLES[name]} ({metric} {value}) {side} {models}")
    if found:
        lost = "In these cases the metric is no evidence for the model."
        yield Note(DAGGER, f"A control that should lose ranks before a model: {'; '.join(found)}. {lost}")


def _ranked(
    results: Results,
    controls: Callable[[str], dict[str, Summary]],
    control: str,
    rank: Callable[[str, float], list[str]],
) -> str:
    """Return the models that `rank` finds before or behind a control, metric by metric; "" if there are none."""
    found = []
    for metric in results.columns:
        summary = controls(metric).get(control)
        models = [] if summary is None else rank(metric, summary.value)
        if models:
            found.append(f"{listed_models(results, metric, models)} on {metric}")
    return "; ".join(found)


def _exceeded_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the note on models that a metric ranks before real images."""
    if found := _ranked(results, marks.trailing, "real", results.ahead):
        why = "A metric by which real images lose can be over-optimised."
        yield Note(DOUBLE_DAGGER, f"Ranks before real test images: {found}. {why}")


def _nearest_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the note on models that a metric ranks behind copies of the training set."""
    if found := _ranked(results, marks.leading, "nearest", results.behind):
        why = "By this metric, a copy of the training image with the nearest caption scores better."
        yield Note(SECTION, f"Ranks behind the nearest training images: {found}. {why}")


def _unmarked_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the note on ranks that are not marked because control and models have different numbers of images."""
    entries = []
    for name, mark in (("real", DOUBLE_DAGGER), *((control, "") for control in CONTROLS if control != "real")):
        metrics = []
        for metric in results.columns:
            control = marks.controls(metric).get(name)
            if control is None:
                continue
            counted = marks.trailing(metric) if mark else marks.leading(metric)
            expected = mark or name == "nearest" or should_lose(name, metric)
            side = results.ahead if mark else results.behind
            if expected and name not in counted and side(metric, control.value):
                metrics.append(metric)
        if metrics:
            entries.append(f"{CONTROL_TITLES[name]} {'behind' if mark else 'before'} a model on {listed(metrics)}")
    if entries:
        yield Note(
            "",
            f"Not marked: {'; '.join(entries)}. These metrics depend on the number of images, which differs between "
            "control and models.",
        )


def _ceiling_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the note on metrics by which real images lead, as they should."""
    led = []
    for metric in results.columns:
        real, values = marks.leading(metric).get("real"), results.model_values(metric)
        if real is not None and values and len(results.behind(metric, real.value)) == len(values):
            led.append(metric)
    if led:
        yield Note("", f"Real test images rank before every model on {listed(led)}, as they should.")


def _adversarial_notes(results: Results) -> Iterator[Note]:
    """Yield the note on the scores of adversarial images by all metrics that read captions."""
    entries = {
        metric: results.shown(metric, summary.value)
        for (name, metric), summary in results.controls.items()
        if name == "adversarial" and summary is not None and facts_of(metric_of(metric)).reads_captions
    }
    if entries:
        values = listed([f"{value} on {metric}" for metric, value in entries.items()])
        made = "noise that was optimised by gradient until the generators' DAMSM retrieves its caption"
        yield Note(
            "",
            f"Adversarial images are {made}; they show nothing that the caption describes: {values}. A model that "
            "leads by this DAMSM alone has no better evidence than adversarial images.",
        )


def _count_notes(results: Results) -> Iterator[Note]:
    """Yield the notes on controls with other numbers of images or references than the models, grouped by difference."""
    cases: dict[str, dict[str, list[str]]] = {}  # what differs -> control -> metrics
    for metric in results.columns:
        models = results.measured.model_images(metric)
        for name, control in results.measured.controls.items():
            measure = control.metrics.get(metric)
            if measure is None or models is None:
                continue
            here = _measured_on(measure.num_images, measure.protocol)
            there = _measured_on(models, results.measured.protocol(metric))
            if here != there:
                cases.setdefault(f"{here}; the models on {there}", {}).setdefault(name, []).append(metric)
    for difference, controls in cases.items():
        which = "; ".join(f"{CONTROL_TITLES[name]} ({listed(metrics)})" for name, metrics in controls.items())
        yield Note("", f"{which}: measured on {difference}.")


def _measured_on(images: int, protocol: dict[str, object]) -> str:
    if "reference_num_images" not in protocol:
        return f"{images:,} images"
    return f"{images:,} images against {protocol['reference_num_images']:,} ({protocol['reference']})"
