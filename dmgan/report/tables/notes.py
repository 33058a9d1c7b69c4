"""The caption of a table, the marks of its cells and the notes under it."""

from collections.abc import Callable, Iterator, Sequence

from dmgan.evaluation.metrics.table import facts_of
from dmgan.options import CONTROLS
from dmgan.report.hyperparameters import hyperparameter_notes
from dmgan.report.published import AUTHORS, PAPERS, Published
from dmgan.report.results import SEEDS, Measured, Summary, metric_of, scorer_of
from dmgan.report.tables.markup import Note
from dmgan.report.tables.paper_tables import (
    CONTROL_TITLES,
    PUBLISHED_SETS,
    Results,
    better,
    is_better,
    title_of,
)

DAGGER, DOUBLE_DAGGER, SECTION, PILCROW = "†", "‡", "§", "¶"
MEANINGS = {
    DAGGER: "a control that should lose ranks before the model",
    DOUBLE_DAGGER: "ranks before real test images",
    SECTION: "the nearest training images rank before the model",
    PILCROW: "the metric cannot tell real images from real images with shuffled captions",
}
_FOLD = 3000  # images per fold in the papers
_PUBLISHED_SPREAD = {"R-precision": "ten folds of one image set"}  # DM-GAN, section 4; not stated for IS


def should_lose(control: str, metric: str) -> bool:
    """Return whether a sound metric ranks this control behind every trained model."""
    # Shuffled images are real; only a metric that reads captions can see that their captions are wrong.
    return control in ("noise", "adversarial") or (control == "shuffled" and facts_of(metric_of(metric)).reads_captions)


def may_rank(measured: Measured, control: str, metric: str, control_leads: bool) -> bool:
    """Return whether control and models are comparable on `metric`; `control_leads`: the control has the better value.

    Not comparable if the metric moves with the number of images and the numbers differ, unless the control leads
    although it has fewer images.
    """
    measure = measured.controls[control].metrics[metric]
    here = (measure.num_images, measure.protocol.get("reference_num_images", 0))
    there = (measured.model_images(metric), (measured.protocol(metric) or {}).get("reference_num_images", 0))
    facts = facts_of(metric_of(metric))
    if not facts.moves_with_images or here == there:
        return True
    fewer = here[0] <= there[0] and here[1] <= there[1]
    return control_leads and fewer and facts.worse_with_fewer


def published_spread(metric: str) -> str:
    """Return what the paper's "±" of a metric is computed over."""
    return _PUBLISHED_SPREAD.get(metric, "not stated in the paper")


def table_caption(results: Results) -> str:
    """Return the caption: what the table shows, the data sets, and why published and own numbers do not rank."""
    layout, measured = results.layout, results.measured
    sets = [dataset for dataset in PUBLISHED_SETS if any(dataset == column[0] for column in results.published_columns)]
    counts = {measured.model_images(metric) for metric in results.columns} - {None}
    images = " and ".join(f"{count:,}" for count in sorted(counts))
    own = f"{images} images of {measured.size} per model{_smaller(results)}" if counts else "no model was run"
    if not sets:
        return f"{layout.subject}. {measured.dataset}: this run, {own}."
    title, differences = measured.published_set or ("", ())
    if title in sets and differences:
        apart = f"Its data set is {measured.not_published}"
    elif title in sets:
        apart = "Its feature network, reference images and number of images may differ from the paper's"
    else:
        apart = "Data set and feature network differ from those of the published columns"
    return (
        f"{layout.subject}. {_listed(sets)}: as published ({AUTHORS[layout.source]}, {PAPERS[layout.source]}, "
        f"{layout.number}). "
        f"{measured.dataset}: this run, {own}. {apart}, so numbers of this run do not rank against published numbers."
    )


def _smaller(results: Results) -> str:
    """Return the models of the table whose images are smaller than the data set's, in parentheses; "" for none."""
    measured = results.measured
    models = {each.title: measured.models[each.model][0] for each in results.methods if each.model in measured.models}
    sides = {title: each.image_size for title, each in models.items() if each.kind == "model"}
    smaller = [f"{title}: {side} × {side} px" for title, side in sides.items() if side != measured.image_size]
    return f" ({', '.join(smaller)})" if smaller else ""


class Marks:
    """Marks of the cells of this run."""

    def __init__(self, results: Results):
        self.results = results
        self.remarks = results.remarks()
        self.spreads = list(dict.fromkeys(each.spread_over for each in results.summaries()))

    def of_model(self, metric: str, summary: Summary) -> Iterator[str]:
        """Yield the marks of a model's cell: the letter of its "±", then the marks of controls."""
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
        """Return the marks of a column: all marks of its models' cells, and PILCROW if the metric cannot tell."""
        values = self.results.model_values(metric).values()
        carried = {mark for value in values for mark in self._of_value(metric, value)}
        if self.unable(metric):
            carried.add(PILCROW)
        return tuple(mark for mark in MEANINGS if mark in carried)

    def unable(self, metric: str) -> bool:
        """Return whether a metric that reads captions cannot tell real images with their own from shuffled captions.

        It cannot if real images do not score better by more than their intervals: the intervals overlap, or shuffled
        captions score better.
        """
        controls = self.controls(metric)
        if not facts_of(metric_of(metric)).reads_captions or not {"real", "shuffled"} <= controls.keys():
            return False
        real, _ = controls["real"].clustered(metric)
        shuffled, _ = controls["shuffled"].clustered(metric)
        if real is None or shuffled is None:
            return False
        return not (real[0] > shuffled[1] if better(metric) == "up" else real[1] < shuffled[0])

    def of_published(self, found: Published) -> Iterator[str]:
        """Yield the number of the remark on a published cell."""
        if found.remark:
            yield self.number(found.remark)

    def number(self, remark: str) -> str:
        """Return the number of a remark, [1], [2], ... in the order of the table."""
        return f"[{self.remarks.index(remark) + 1}]"

    def of_control(self, summary: Summary) -> Iterator[str]:
        """Yield the letter of the note on a "±", if the table has several kinds of "±"."""
        if len(self.spreads) > 1:
            yield self.letter(summary.spread_over)

    def letter(self, spread_over: str) -> str:
        """Return the letter of a kind of "±", a, b, ... in the order of the table; "" if there is only one kind."""
        return chr(ord("a") + self.spreads.index(spread_over)) if len(self.spreads) > 1 else ""

    def controls(self, metric: str) -> dict[str, Summary]:
        """Return the controls that have a metric, by name."""
        found = {name: self.results.controls.get((name, metric)) for name in CONTROLS}
        return {name: summary for name, summary in found.items() if summary is not None}

    def leading(self, metric: str) -> dict[str, Summary]:
        """Return the controls that are comparable with a model if they score better."""
        return self._ranking(metric, control_leads=True)

    def trailing(self, metric: str) -> dict[str, Summary]:
        """Return the controls that are comparable with a model if they score worse."""
        return self._ranking(metric, control_leads=False)

    def _ranking(self, metric: str, control_leads: bool) -> dict[str, Summary]:
        if not self.results.model_values(metric):
            return {}
        controls, measured = self.controls(metric), self.results.measured
        return {name: each for name, each in controls.items() if may_rank(measured, name, metric, control_leads)}


def table_notes(results: Results, marks: Marks) -> list[Note]:
    """Return the notes under a table."""
    return [
        *_network_notes(results),
        *_spread_notes(results, marks),
        *_impossible_spread_notes(results),
        *_unable_notes(results, marks),
        *_wrong_control_notes(results, marks),
        *_exceeded_notes(results, marks),
        *_nearest_notes(results, marks),
        *_unmarked_notes(results, marks),
        *_ceiling_notes(results, marks),
        *_adversarial_notes(results),
        *_chance_notes(results),
        *_collapse_notes(results),
        *_count_notes(results),
        *_class_notes(results),
        *(Note("", line) for line in hyperparameter_notes(results.shown_models(), title_of)),
        Note(
            "",
            "Bold: the best model of a column. Paired comparisons test whether its lead is significant; ± does not.",
        ),
        *(Note("", remark) for remark in results.layout.remarks),
        *(Note(marks.number(remark), remark) for remark in marks.remarks),
        *_published_only_notes(results),
    ]


def _published_only_notes(results: Results) -> Iterator[Note]:
    """Yield the note on models with published numbers but no implementation."""
    titles = [each.title for each in results.methods if each.model is None]
    if titles:
        yield Note("", f"Published numbers only, not implemented here: {_listed(titles)}.")


def _network_notes(results: Results) -> Iterator[Note]:
    networks: dict[str, list[str]] = {}
    for metric in results.columns:
        networks.setdefault(results.measured.network(metric), []).append(metric)
    entries = [f"{network}, for {_listed(metrics)}" for network, metrics in networks.items() if network]
    if entries:
        yield Note("", f"Scored in this run by: {'; '.join(entries)}.")


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
        entries = "; ".join(f"{_listed(list(metrics))}, {said}" for said, metrics in over.items())
        yield Note("", f"[ ] of this run: 95 % intervals. {entries}.")


def _impossible_spread_notes(results: Results) -> Iterator[Note]:
    """Yield the note on published ± that folds of 3,000 images cannot have: the sd of hits is sqrt(p (1 - p) / n)."""
    entries = []
    for (method, dataset, metric), cell in results.published.items():
        if facts_of(metric).unit != "%" or not cell.value or not cell.std:
            continue
        share, spread = float(cell.value) / 100, float(cell.std) / 100
        expected, implied = (share * (1 - share) / _FOLD) ** 0.5, share * (1 - share) / spread**2
        if spread > 3 * expected:
            entries.append(
                f"{method} on {dataset}, ± {cell.std} although folds of {_FOLD:,} images give ± {100 * expected:.2f}; "
                f"the published ± fits folds of about {implied:.0f} images"
            )
    if entries:
        beside = "Do not compare it with a ± over folds of another size."
        what = "Published ± of R-precision that cannot be over ten folds of 30,000 images"
        yield Note("", f"{what}: {'; '.join(entries)}. {beside}")


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
                value = results.shown(metric, control.value)
                found.append(f"{CONTROL_TITLES[name]} ({metric} {value}) {side} {_models(results, metric, beaten)}")
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
            found.append(f"{_models(results, metric, models)} on {metric}")
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
            entries.append(f"{CONTROL_TITLES[name]} {'behind' if mark else 'before'} a model on {_listed(metrics)}")
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
        yield Note("", f"Real test images rank before every model on {_listed(led)}, as they should.")


def _adversarial_notes(results: Results) -> Iterator[Note]:
    """Yield the note on the scores of adversarial images by all metrics that read captions."""
    entries = {
        metric: results.shown(metric, summary.value)
        for (name, metric), summary in results.controls.items()
        if name == "adversarial" and summary is not None and facts_of(metric_of(metric)).reads_captions
    }
    if entries:
        values = _listed([f"{value} on {metric}" for metric, value in entries.items()])
        made = "noise that was optimised by gradient until the generators' DAMSM retrieves its caption"
        yield Note(
            "",
            f"Adversarial images are {made}; they show nothing that the caption describes: {values}. A model that "
            "leads by this DAMSM alone has no better evidence than adversarial images.",
        )


def _chance_notes(results: Results) -> Iterator[Note]:
    """Yield the notes on chance levels and on the accuracy of the classifiers."""
    chances = {metric: results.measured.chance(metric) for metric in results.columns}
    entries = [f"{results.shown(metric, value)} on {metric}" for metric, value in chances.items() if value is not None]
    if entries:
        yield Note("", f"Chance level: {_listed(entries)} (percent).")
    accuracies: dict[str, float] = {}  # by scorer
    for metric in results.columns:
        accuracy = (results.measured.protocol(metric) or {}).get("accuracy_on_real_test_images")
        if accuracy is not None:
            accuracies[scorer_of(metric)] = accuracy
    for scorer, accuracy in accuracies.items():
        yield Note(
            "",
            f"The {scorer} is correct on {100 * accuracy:.2f} % of the caption attributes of real test images, of "
            f"species not seen in training; a model's value above this reflects the {scorer}, not the images.",
        )
    yield from _classifier_notes(results)


def _classifier_notes(results: Results) -> Iterator[Note]:
    """Yield the note on the accuracy of the classifier whose features the columns read."""
    columns: dict[tuple[str, float], list[str]] = {}
    for metric in results.columns:
        protocol = results.measured.protocol(metric) or {}
        if protocol.get("feature_network_accuracy") is not None:
            key = (str(protocol["feature_network"]), float(protocol["feature_network_accuracy"]))
            columns.setdefault(key, []).append(metric)
    for (network, accuracy), metrics in columns.items():
        yield Note(
            "",
            f"{_listed(metrics)}: the {network} names the class of {100 * accuracy:.1f} % of real images of its "
            "classes that it was not trained on.",
        )


def _collapse_notes(results: Results) -> Iterator[Note]:
    """Yield the note on models whose images are nearly all alike, by a metric that does not rank."""
    for metric in results.columns:
        threshold = facts_of(metric_of(metric)).collapsed_below
        if threshold is None or not results.model_values(metric):
            continue
        collapsed = [
            f"{title_of(name)} ({results.shown(metric, value)})"
            for name, value in results.model_values(metric).items()
            if value < threshold
        ]
        yield Note(
            "",
            f"More diversity is not better, and {metric} does not rank. Collapsed, below {threshold:g} of the "
            f"diversity of real images: {_listed(collapsed) if collapsed else 'none'}.",
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
        which = "; ".join(f"{CONTROL_TITLES[name]} ({_listed(metrics)})" for name, metrics in controls.items())
        yield Note("", f"{which}: measured on {difference}.")


def _class_notes(results: Results) -> Iterator[Note]:
    """Yield the note on models' means over classes that are not means over all classes."""
    cases: dict[str, list[str]] = {}
    for metric in results.columns:
        protocol = results.measured.protocol(metric) or {}
        named, every = protocol.get("classes_with_images"), protocol.get("classes")
        if named is not None and named != every and results.model_values(metric):
            cases.setdefault(f"{named} of {every}", []).append(metric)
    for counts, metrics in cases.items():
        yield Note(
            "",
            f"{_listed(metrics)}: over {counts} classes, those that captions of the models' images name; control rows "
            "are over the classes of their own captions.",
        )


def _measured_on(images: int, protocol: dict[str, object]) -> str:
    if "reference_num_images" not in protocol:
        return f"{images:,} images"
    return f"{images:,} images against {protocol['reference_num_images']:,} ({protocol['reference']})"


def _models(results: Results, metric: str, names: Sequence[str]) -> str:
    """Return the titles of models; "every model" if `names` are all models, three or more."""
    if len(names) > 2 and len(names) == len(results.model_values(metric)):
        return "every model"
    return _listed([title_of(name) for name in names])


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
