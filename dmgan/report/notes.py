"""What is said around a table: its caption, the marks of its cells and the lines under it."""

from collections.abc import Iterator, Sequence

from dmgan.report.layouts import BETTER, CONTROL_TITLES, PUBLISHED_SETS, Results, is_better, title_of
from dmgan.report.markup import Note
from dmgan.report.measured import CONTROLS, METRICS, SEEDS, Summary
from dmgan.report.published import AUTHORS, PAPERS, Published

DAGGER = "†"
DOUBLE_DAGGER = "‡"
MEANINGS = {DAGGER: "a control that should lose ranks before it", DOUBLE_DAGGER: "ranks before real test images"}
# Shuffled images are real ones: their captions alone are wrong, so only R-precision should see it.
_SHOULD_LOSE = {("shuffled", "R-precision"), *(("noise", metric) for metric in METRICS)}
_PUBLISHED_SPREAD = {"R-precision": "ten folds of one image set"}  # section 4; of the Inception Score it says nothing


def published_spread(metric: str) -> str:
    """What the paper's "±" of a metric is over."""
    return _PUBLISHED_SPREAD.get(metric, "not said in the paper")


def table_caption(results: Results) -> str:
    """What the table shows, of which data sets, and why the columns do not rank against each other."""
    layout, measured = results.layout, results.measured
    sets = [dataset for dataset in PUBLISHED_SETS if any(dataset == column[0] for column in results.published_columns)]
    counts = {measured.model_images(metric) for metric in layout.own_metrics} - {None}
    images = " and ".join(f"{count:,}" for count in sorted(counts))
    size = f"{measured.image_size} × {measured.image_size} px"
    own = f"{images} images of {size} per model" if counts else "no model was run"
    if measured.dataset.lower() in [dataset.lower() for dataset in sets]:
        apart = "Its feature network, reference images and number of images may differ from the paper's"
    else:
        apart = "It is another data set and another feature network than the published columns'"
    return (
        f"{layout.subject}. {_listed(sets)}: as published ({AUTHORS[layout.source]}, {PAPERS[layout.source]}, "
        f"{layout.number}). "
        f"{measured.dataset}: this run, {own}. {apart}, so a number of this run does not rank against a published one."
    )


class Marks:
    """Which marks the cells of this run carry."""

    def __init__(self, results: Results):
        self.results = results
        self.remarks = results.remarks()
        self.spreads = list(dict.fromkeys(each.spread_over for each in results.summaries()))

    def of_model(self, metric: str, summary: Summary) -> Iterator[str]:
        """Marks of a model's cell: letter of its "±", dagger and double dagger."""
        yield from self.of_control(summary)
        controls = self.controls(metric)
        losers = [control.value for name, control in controls.items() if (name, metric) in _SHOULD_LOSE]
        if any(is_better(metric, value, summary.value) for value in losers):
            yield DAGGER
        if "real" in controls and is_better(metric, summary.value, controls["real"].value):
            yield DOUBLE_DAGGER

    def of_published(self, found: Published) -> Iterator[str]:
        """The number of the remark on a published cell."""
        if found.remark:
            yield self.number(found.remark)

    def number(self, remark: str) -> str:
        """[1], [2], ... in the order of the table."""
        return f"[{self.remarks.index(remark) + 1}]"

    def of_control(self, summary: Summary) -> Iterator[str]:
        """The letter that says over what a "±" is, where the table holds more than one kind."""
        if len(self.spreads) > 1:
            yield self.letter(summary.spread_over)

    def letter(self, spread_over: str) -> str:
        """a, b, ... in the order of the table; "" where all are of one kind."""
        return chr(ord("a") + self.spreads.index(spread_over)) if len(self.spreads) > 1 else ""

    def controls(self, metric: str) -> dict[str, Summary]:
        """The controls that have a metric, by name."""
        found = {name: self.results.controls.get((name, metric)) for name in CONTROLS}
        return {name: summary for name, summary in found.items() if summary is not None}


def table_notes(results: Results, marks: Marks) -> list[Note]:
    """The lines under a table."""
    return [
        *_network_notes(results),
        *_spread_notes(results, marks),
        *_fooled_notes(results, marks),
        *_exceeded_notes(results, marks),
        *_ceiling_notes(results, marks),
        *_count_notes(results),
        Note("", "Bold: the best model of a column; ± tells whether its lead may be chance."),
        *(Note("", remark) for remark in results.layout.remarks),
        *(Note(marks.number(remark), remark) for remark in marks.remarks),
        *_published_only_notes(results),
    ]


def _published_only_notes(results: Results) -> Iterator[Note]:
    """Models that there are numbers of and nothing to run."""
    titles = [each.title for each in results.methods if each.model is None]
    if titles:
        yield Note("", f"Published only, there is no model of it here: {_listed(titles)}.")


def _network_notes(results: Results) -> Iterator[Note]:
    networks: dict[str, list[str]] = {}
    for metric in results.layout.own_metrics:
        networks.setdefault(results.measured.network(metric), []).append(metric)
    told = [f"{network}, for {_listed(metrics)}" for network, metrics in networks.items() if network]
    if told:
        yield Note("", f"Feature network of this run: {'; '.join(told)}.")


def _spread_notes(results: Results, marks: Marks) -> Iterator[Note]:
    with_std = {each.metric for each in results.published.values() if each.std}
    over = "; ".join(f"{metric}, {published_spread(metric)}" for metric in results.layout.metrics if metric in with_std)
    if over:
        yield Note("", f"± of published numbers is over: {over}.")
    for spread in marks.spreads:
        what = "mean and sample standard deviation" if spread.endswith(SEEDS) else "standard deviation"
        yield Note(marks.letter(spread), f"± of this run: {what} over {spread}.")


def _fooled_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Controls that should lose and win."""
    found = []
    for metric in results.layout.own_metrics:
        for name, control in marks.controls(metric).items():
            beaten = [m for m, value in results.model_values(metric).items() if is_better(metric, control.value, value)]
            if (name, metric) in _SHOULD_LOSE and beaten:
                side = "above" if BETTER[metric] == "up" else "below"
                value = results.shown(metric, control.value)
                found.append(f"{CONTROL_TITLES[name]} ({metric} {value}) {side} {_titles(beaten)}")
    if found:
        lost = "There the metric is no evidence for the model."
        yield Note(DAGGER, f"A control that should lose ranks before a model: {'; '.join(found)}. {lost}")


def _exceeded_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Models that a metric ranks before real images."""
    found = []
    for metric in results.layout.own_metrics:
        real = marks.controls(metric).get("real")
        if real is not None:
            ahead = [m for m, value in results.model_values(metric).items() if is_better(metric, value, real.value)]
            if ahead:
                found.append(f"{_titles(ahead)} on {metric}")
    if found:
        why = "A metric that real images lose can be over-optimised."
        yield Note(DOUBLE_DAGGER, f"Ranks before real test images: {'; '.join(found)}. {why}")


def _ceiling_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Where real images lead, as they should."""
    led = []
    for metric in results.layout.own_metrics:
        real, values = marks.controls(metric).get("real"), results.model_values(metric).values()
        if real is not None and values and all(is_better(metric, real.value, value) for value in values):
            led.append(metric)
    if led:
        yield Note("", f"Real test images rank before every model on {_listed(led)}, as they should.")


def _count_notes(results: Results) -> Iterator[Note]:
    """Controls that were measured on other images or another reference than the models; equal cases on one line."""
    cases: dict[str, dict[str, list[str]]] = {}  # what differs -> control -> metrics
    for metric in results.layout.own_metrics:
        models = results.measured.model_images(metric)
        for name, control in results.measured.controls.items():
            measure = control.metrics[metric]
            if measure is None or models is None:
                continue
            here = _measured_on(measure.num_images, measure.protocol)
            there = _measured_on(models, results.measured.protocol(metric))
            if here != there:
                cases.setdefault(f"{here}; the models on {there}", {}).setdefault(name, []).append(metric)
    for difference, controls in cases.items():
        which = "; ".join(f"{CONTROL_TITLES[name]} ({_listed(metrics)})" for name, metrics in controls.items())
        yield Note("", f"{which}: measured on {difference}.")


def _measured_on(images: int, protocol: dict[str, object]) -> str:
    if "reference_num_images" not in protocol:
        return f"{images:,} images"
    return f"{images:,} images against {protocol['reference_num_images']:,} ({protocol['reference']})"


def _titles(names: Sequence[str]) -> str:
    return _listed([title_of(name) for name in names])


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
