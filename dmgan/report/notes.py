"""What is said around a table: its caption, the marks of its cells and the lines under it."""

from collections.abc import Callable, Iterator, Sequence

from dmgan.report.layouts import CONTROL_TITLES, MANIFOLDS, PUBLISHED_SETS, Results, better, is_better, title_of
from dmgan.report.markup import Note
from dmgan.report.measured import CONTROLS, SEEDS, Measured, Summary, judge_of, metric_of
from dmgan.report.published import AUTHORS, PAPERS, Published

DAGGER, DOUBLE_DAGGER, SECTION = "†", "‡", "§"
MEANINGS = {
    DAGGER: "a control that should lose ranks before it",
    DOUBLE_DAGGER: "ranks before real test images",
    SECTION: "the nearest training images rank before it",
}
# Shuffled images are real ones: their captions alone are wrong, so only what reads captions should see it.
_READS_CAPTIONS = ("R-precision", "attribute accuracy", "SOA-C", "SOA-I")
_WORSE_WITH_FEWER = ("IS", "FID")  # fewer images, on either side, make the number worse
_MOVED_BY_NUMBERS = (*_WORSE_WITH_FEWER, *MANIFOLDS)
_COLLAPSED = 0.1  # of real images' diversity: below it a model makes one image, or few
_FOLD = 3000  # images of a fold, as the papers have it
_PUBLISHED_SPREAD = {"R-precision": "ten folds of one image set"}  # section 4; of the Inception Score it says nothing


def should_lose(control: str, metric: str) -> bool:
    """Whether a sound metric ranks a control behind every model that has learnt something."""
    return control in ("noise", "adversarial") or (control == "shuffled" and metric_of(metric) in _READS_CAPTIONS)


def may_rank(measured: Measured, control: str, metric: str, control_leads: bool) -> bool:
    """Whether it says anything that a control ranks before (`control_leads`) or behind a model.

    Not where the metric moves with the number of images and the two have other numbers, unless the one that leads does
    so although it has fewer of them.
    """
    measure = measured.controls[control].metrics[metric]
    here = (measure.num_images, measure.protocol.get("reference_num_images", 0))
    there = (measured.model_images(metric), (measured.protocol(metric) or {}).get("reference_num_images", 0))
    if metric_of(metric) not in _MOVED_BY_NUMBERS or here == there:
        return True
    fewer = here[0] <= there[0] and here[1] <= there[1]
    return control_leads and fewer and metric_of(metric) in _WORSE_WITH_FEWER


def published_spread(metric: str) -> str:
    """What the paper's "±" of a metric is over."""
    return _PUBLISHED_SPREAD.get(metric, "not said in the paper")


def table_caption(results: Results) -> str:
    """What the table shows, of which data sets, and why the columns do not rank against each other."""
    layout, measured = results.layout, results.measured
    sets = [dataset for dataset in PUBLISHED_SETS if any(dataset == column[0] for column in results.published_columns)]
    counts = {measured.model_images(metric) for metric in results.columns} - {None}
    images = " and ".join(f"{count:,}" for count in sorted(counts))
    size = f"{measured.image_size} × {measured.image_size} px"
    own = f"{images} images of {size} per model" if counts else "no model was run"
    if not sets:
        return f"{layout.subject}. {measured.dataset}: this run, {own}."
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
        """Marks of a model's cell: letter of its "±", then what controls say of it."""
        yield from self.of_control(summary)
        yield from self._of_value(metric, summary.value)

    def _of_value(self, metric: str, value: float) -> Iterator[str]:
        leading = self.leading(metric)
        losers = [control.value for name, control in leading.items() if should_lose(name, metric)]
        if any(is_better(metric, loser, value) for loser in losers):
            yield DAGGER
        real = self.trailing(metric).get("real")
        if real is not None and is_better(metric, value, real.value):
            yield DOUBLE_DAGGER
        if "nearest" in leading and is_better(metric, leading["nearest"].value, value):
            yield SECTION

    def of_column(self, metric: str) -> tuple[str, ...]:
        """Marks of a metric itself: all that its models' cells carry."""
        values = self.results.model_values(metric).values()
        carried = {mark for value in values for mark in self._of_value(metric, value)}
        return tuple(mark for mark in MEANINGS if mark in carried)

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

    def leading(self, metric: str) -> dict[str, Summary]:
        """The controls of which it says something that they rank before a model."""
        return self._ranking(metric, control_leads=True)

    def trailing(self, metric: str) -> dict[str, Summary]:
        """The controls of which it says something that they rank behind a model."""
        return self._ranking(metric, control_leads=False)

    def _ranking(self, metric: str, control_leads: bool) -> dict[str, Summary]:
        if not self.results.model_values(metric):
            return {}
        controls, measured = self.controls(metric), self.results.measured
        return {name: each for name, each in controls.items() if may_rank(measured, name, metric, control_leads)}


def table_notes(results: Results, marks: Marks) -> list[Note]:
    """The lines under a table."""
    return [
        *_network_notes(results),
        *_spread_notes(results, marks),
        *_impossible_spread_notes(results),
        *_fooled_notes(results, marks),
        *_exceeded_notes(results, marks),
        *_nearest_notes(results, marks),
        *_unmarked_notes(results, marks),
        *_ceiling_notes(results, marks),
        *_adversarial_notes(results),
        *_chance_notes(results),
        *_collapse_notes(results),
        *_count_notes(results),
        Note(
            "",
            "Bold: the best model of a column. Whether its lead is more than chance is said by the paired comparisons, "
            "never by ±.",
        ),
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
    for metric in results.columns:
        networks.setdefault(results.measured.network(metric), []).append(metric)
    told = [f"{network}, for {_listed(metrics)}" for network, metrics in networks.items() if network]
    if told:
        yield Note("", f"Judges of this run: {'; '.join(told)}.")


def _spread_notes(results: Results, marks: Marks) -> Iterator[Note]:
    with_std = {each.metric for each in results.published.values() if each.std}
    over = "; ".join(f"{metric}, {published_spread(metric)}" for metric in results.layout.metrics if metric in with_std)
    if over:
        yield Note("", f"± of published numbers is over: {over}.")
    for spread in marks.spreads:
        what = "mean and sample standard deviation" if spread.endswith(SEEDS) else "standard deviation"
        yield Note(marks.letter(spread), f"± of this run: {what} over {spread}.")
    over: dict[str, dict[str, None]] = {}
    for metric in results.columns:
        for (_, each), summary in (*results.models.items(), *results.controls.items()):
            interval, said = (None, "") if summary is None or each != metric else summary.clustered(metric)
            if interval:
                over.setdefault(said, {})[metric] = None
    if over:
        told = "; ".join(f"{_listed(list(metrics))}, {said}" for said, metrics in over.items())
        yield Note("", f"[ ] of this run: 95 % intervals. {told}.")


def _impossible_spread_notes(results: Results) -> Iterator[Note]:
    """Published ± that folds of 3,000 images cannot have: hits scatter by sqrt(p (1 - p) / n)."""
    told = []
    for (method, dataset, metric), cell in results.published.items():
        if metric != "R-precision" or not cell.value or not cell.std:
            continue
        share, spread = float(cell.value) / 100, float(cell.std) / 100
        expected, implied = (share * (1 - share) / _FOLD) ** 0.5, share * (1 - share) / spread**2
        if spread > 3 * expected:
            told.append(
                f"{method} on {dataset}, ± {cell.std} where folds of {_FOLD:,} images scatter by {100 * expected:.2f}: "
                f"it is that of about {implied:.0f} images a fold"
            )
    if told:
        beside = "It says nothing beside a ± over folds of another size."
        what = "Published ± of R-precision that cannot be over ten folds of 30,000 images"
        yield Note("", f"{what}: {'; '.join(told)}. {beside}")


def _fooled_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Controls that should lose and win."""
    found = []
    for metric in results.columns:
        for name, control in marks.leading(metric).items():
            beaten = results.behind(metric, control.value)
            if should_lose(name, metric) and beaten:
                side = "above" if better(metric) == "up" else "below"
                value = results.shown(metric, control.value)
                found.append(f"{CONTROL_TITLES[name]} ({metric} {value}) {side} {_models(results, metric, beaten)}")
    if found:
        lost = "There the metric is no evidence for the model."
        yield Note(DAGGER, f"A control that should lose ranks before a model: {'; '.join(found)}. {lost}")


def _ranked(
    results: Results,
    controls: Callable[[str], dict[str, Summary]],
    control: str,
    rank: Callable[[str, float], list[str]],
) -> str:
    """Models that stand on one side of a control, metric by metric; "" where none does."""
    found = []
    for metric in results.columns:
        summary = controls(metric).get(control)
        models = [] if summary is None else rank(metric, summary.value)
        if models:
            found.append(f"{_models(results, metric, models)} on {metric}")
    return "; ".join(found)


def _exceeded_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Models that a metric ranks before real images."""
    if found := _ranked(results, marks.trailing, "real", results.ahead):
        why = "A metric that real images lose can be over-optimised."
        yield Note(DOUBLE_DAGGER, f"Ranks before real test images: {found}. {why}")


def _nearest_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Models that a metric ranks behind copies of the training set."""
    if found := _ranked(results, marks.leading, "nearest", results.behind):
        why = "By that metric, copying the training image with the nearest caption would have done better."
        yield Note(SECTION, f"Ranks behind the nearest training images: {found}. {why}")


def _unmarked_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Ranks that would have been marked, had control and models the same numbers of images."""
    told = []
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
            told.append(f"{CONTROL_TITLES[name]} {'behind' if mark else 'before'} a model on {_listed(metrics)}")
    if told:
        yield Note(
            "",
            f"Not marked: {'; '.join(told)}. These metrics move with the number of images, and control and models have "
            "other numbers.",
        )


def _ceiling_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Where real images lead, as they should."""
    led = []
    for metric in results.columns:
        real, values = marks.leading(metric).get("real"), results.model_values(metric)
        if real is not None and values and len(results.behind(metric, real.value)) == len(values):
            led.append(metric)
    if led:
        yield Note("", f"Real test images rank before every model on {_listed(led)}, as they should.")


def _adversarial_notes(results: Results) -> Iterator[Note]:
    """What each judge of captions says of images that were made for one of them."""
    told = {
        metric: results.shown(metric, summary.value)
        for (name, metric), summary in results.controls.items()
        if name == "adversarial" and summary is not None and metric_of(metric) in _READS_CAPTIONS
    }
    if told:
        values = _listed([f"{value} on {metric}" for metric, value in told.items()])
        made = "noise that was moved by gradient until the DAMSM of the generators finds its caption, no picture"
        yield Note(
            "",
            f"Adversarial images are {made}: {values}. A lead by that DAMSM alone is no better evidence than theirs.",
        )


def _chance_notes(results: Results) -> Iterator[Note]:
    """What guessing gets, and how good a judge the attribute classifier is."""
    chances = {metric: results.measured.chance(metric) for metric in results.columns}
    told = [f"{results.shown(metric, value)} on {metric}" for metric, value in chances.items() if value is not None]
    if told:
        yield Note("", f"Guessing gets {_listed(told)} (percent).")
    accuracies: dict[str, float] = {}  # of each judge, however many metrics it gives
    for metric in results.columns:
        accuracy = (results.measured.protocol(metric) or {}).get("accuracy_on_real_test_images")
        if accuracy is not None:
            accuracies[judge_of(metric)] = accuracy
    for judge, accuracy in accuracies.items():
        yield Note(
            "",
            f"The {judge} itself is right on {100 * accuracy:.2f} % of the attributes that captions of real test "
            "images name, of species it has not seen: a value above that says more of the judge than of the images.",
        )


def _collapse_notes(results: Results) -> Iterator[Note]:
    """Models whose images are nearly all alike; diversity does not rank, but it tells that."""
    for metric in results.columns:
        if metric_of(metric) != "diversity" or not results.model_values(metric):
            continue
        collapsed = [
            f"{title_of(name)} ({results.shown(metric, value)})"
            for name, value in results.model_values(metric).items()
            if value < _COLLAPSED
        ]
        yield Note(
            "",
            f"More diversity is not better, and {metric} does not rank. Collapsed, below {_COLLAPSED:g} of the "
            f"diversity of real images: {_listed(collapsed) if collapsed else 'none'}.",
        )


def _count_notes(results: Results) -> Iterator[Note]:
    """Controls that were measured on other images or another reference than the models; equal cases on one line."""
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
        which = "; ".join(f"{CONTROL_TITLES[name]} ({_listed(metrics)})" for name, metrics in controls.items())
        yield Note("", f"{which}: measured on {difference}.")


def _measured_on(images: int, protocol: dict[str, object]) -> str:
    if "reference_num_images" not in protocol:
        return f"{images:,} images"
    return f"{images:,} images against {protocol['reference_num_images']:,} ({protocol['reference']})"


def _models(results: Results, metric: str, names: Sequence[str]) -> str:
    """Titles of some models; "every model" for all of three or more."""
    if len(names) > 2 and len(names) == len(results.model_values(metric)):
        return "every model"
    return _listed([title_of(name) for name in names])


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
