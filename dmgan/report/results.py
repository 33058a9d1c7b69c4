"""The evaluations of one data set, with checks that numbers of one column are comparable."""

import itertools
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import facts_of
from dmgan.options import CONTROLS
from dmgan.report.evaluations import EXTERNAL as EXTERNAL
from dmgan.report.evaluations import HINT, Evaluation, metric_of, read_evaluation, scorer_of
from dmgan.report.evaluations import RELEASED as RELEASED
from dmgan.report.evaluations import Measure as Measure

SEEDS = "seeds of training"  # ends the description of a spread over several runs
_MISSING = object()


@dataclass(frozen=True)
class Measured:
    """The evaluations of one data set."""

    dataset: str
    image_size: int | None  # of the data set; a model may generate smaller images; None: images of several sizes
    published_set: tuple[str, tuple[str, ...]] | None  # as in Evaluation
    models: dict[str, list[Evaluation]]  # by name in the registry (suffix RELEASED: imported), or EXTERNAL and its name
    controls: dict[str, Evaluation]

    @property
    def size(self) -> str:
        """The size of the images in words."""
        return "several sizes" if self.image_size is None else f"{self.image_size} × {self.image_size} px"

    @property
    def not_published(self) -> str:
        """How the data set differs from the papers' set of its source; "" if there is no such set or difference."""
        differences = self.published_set[1] if self.published_set else ()
        return f"{', '.join(differences)}: not the published set" if differences else ""

    def columns(self, metrics: Sequence[str]) -> list[str]:
        """Return every measured METRIC(SCORER), in the order of `metrics`; two scorers never share a column."""
        found = dict.fromkeys(key for each in self._all() for key in each.metrics)
        return [key for metric in metrics for key in found if metric_of(key) == metric]

    def shared_columns(self, metrics: Sequence[str]) -> list[str]:
        """Return the columns without those that are another column's, measured otherwise."""
        own = {key for runs in self.models.values() for each in runs for key in each.key_in_file}
        return [key for key in self.columns(metrics) if key not in own]

    def key(self, name: str, column: str) -> str:
        """Return the key of a model's number that stands in a shared column: its own if it was measured otherwise."""
        own = {shared: key for key, shared in self.models[name][0].key_in_file.items()}
        return own.get(column, column)

    def protocol(self, metric: str) -> dict[str, object] | None:
        """Return the protocol of a column: of its models, or of its controls if no model has the metric."""
        first = next(self._with(metric), None)
        return None if first is None else first.metrics[metric].protocol

    def network(self, metric: str) -> str:
        """Return the feature network of a column; "" if nothing was measured."""
        protocol = self.protocol(metric)
        return "" if protocol is None else str(protocol["feature_network"])

    def chance(self, metric: str) -> float | None:
        """Return the chance level of a metric; None if the metric has no chance level."""
        first = next(self._with(metric), None)
        return None if first is None else first.metrics[metric].chance

    def model_images(self, metric: str) -> int | None:
        """Return the number of images per model that a metric was measured on; None if no model has the metric."""
        counts = (each.metrics[metric].num_images for each in self._with(metric) if each.kind != "control")
        return next(counts, None)

    def _with(self, metric: str) -> Iterator[Evaluation]:
        """Return the evaluations that hold a metric, models first."""
        return (each for each in self._all() if each.metrics.get(metric) is not None)

    def _all(self) -> list[Evaluation]:
        """Return all evaluations, models first."""
        return [each for runs in self.models.values() for each in runs] + list(self.controls.values())

    def check(self) -> None:
        """Raise UserError naming two files and the differing field if numbers of one column are not comparable."""
        for metric in dict.fromkeys(key for each in self._all() for key in each.metrics):
            # with_own_columns has put external methods into columns of numbers that they compare with.
            column = [each for each in self._with(metric) if each.kind != "external"]
            for other in column[1:]:
                _check_pair(column[0], other, metric)


def _check_pair(first: Evaluation, other: Evaluation, metric: str) -> None:
    for field, (a, b) in differing_conditions(first, other, metric).items():
        raise UserError(
            f"{first.file} and {other.file}: {metric} was measured in two ways "
            f"({field}: {_shown(a)} against {_shown(b)}); evaluate both in the same way, or make a table of each"
        )


def differing_conditions(first: Evaluation, other: Evaluation, metric: str) -> dict[str, tuple[object, object]]:
    """Return the settings in which two numbers of a metric differ and may not, with both values."""
    left, right = first.conditions(metric), other.conditions(metric)
    facts, may_differ = facts_of(metric_of(metric)), ()
    if "external" not in (first.kind, other.kind):
        may_differ += ("image_size",)  # a fact of the model, which the caption of the table states
    if "control" in (first.kind, other.kind):  # table notes state how control and models differ
        may_differ += ("num_images", *facts.controls_may_differ)
    elif "external" in (first.kind, other.kind) and not facts.moves_with_images:  # a table note states the numbers
        may_differ += ("num_images",)
    pairs = {field: (left.get(field, _MISSING), right.get(field, _MISSING)) for field in dict.fromkeys([*left, *right])}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1] and field not in may_differ}


def _shown(value: object) -> str:
    return "not given" if value is _MISSING else json.dumps(value)


def read_measured(files: Sequence[Path], check: bool = True) -> Measured:
    """Read metrics.json files of one data set; raise UserError if the files do not belong together.

    check: as in `read_evaluation`.
    """
    evaluations = _with_own_images([read_evaluation(Path(file), check) for file in files])
    if not evaluations:
        raise UserError(f"no metrics.json given; {HINT}")
    models: dict[str, list[Evaluation]] = {}
    controls: dict[str, Evaluation] = {}
    seen: dict[tuple, Evaluation] = {}
    for each in evaluations:
        _check_belongs(each, evaluations[0], seen)
    ranked = {"model": 0, "control": 1, "external": 2}
    for each in with_own_columns(sorted(evaluations, key=lambda each: ranked[each.kind])):
        if each.kind == "control":
            controls[each.name] = each
        else:
            models.setdefault(each.name, []).append(each)
    for runs in models.values():
        runs.sort(key=lambda each: each.seed)
        _check_same_metrics(runs)
    controls = {name: controls[name] for name in CONTROLS if name in controls}  # notes do not depend on their order
    first = evaluations[0]
    measured = Measured(first.dataset, _image_size(evaluations), first.published_set, models, controls)
    measured.check()
    return measured


def _with_own_images(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations; metrics of images that were made for them (SOA) join the metrics of the same training.

    Raise UserError naming two files if they are of two trainings, or both have a metric.
    """
    joined = [each for each in evaluations if not each.made_for]
    for own in (each for each in evaluations if each.made_for):
        same = (place for place, each in enumerate(joined) if each[1:5] == own[1:5])  # kind, name, seed, data set
        place = next(same, None)
        if place is None:
            joined.append(own)
            continue
        main = joined[place]
        if main.inputs.get("generator_sha256") != own.inputs.get("generator_sha256"):
            raise UserError(f"{main.file} and {own.file}: are of two trainings of {_run_name(own)}; {HINT}")
        if twice := sorted(main.metrics.keys() & own.metrics):
            raise UserError(f"{main.file} and {own.file}: both have {twice[0]} of {_run_name(own)}; give one of them")
        joined[place] = main._replace(metrics=main.metrics | own.metrics)
    return joined


def _image_size(evaluations: Sequence[Evaluation]) -> int | None:
    """Return the side of the data set's images, or of external images if there are no others."""
    if sides := [each.image_size for each in evaluations if each.kind != "external"]:
        return max(sides)
    every = {each.image_size for each in evaluations}
    return every.pop() if len(every) == 1 else None


# Settings of a number -> words of the column that it has of its own.
_COLUMN_WORDS = {
    "num_images": lambda value: f"{value:,} images",
    "image_size": lambda value: "several sizes" if value is None else f"{value} px",
}


def with_own_columns(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations, external ones last; a number of one that was measured otherwise gets another key.

    The key, such as FID(species; 50 images), is that of a column of its own, which external methods that were measured
    alike share.
    """
    columns: dict[str, dict[str, list[Evaluation]]] = {}  # key in the file -> key of the column -> its evaluations
    found = []
    for each in evaluations:
        keys = {metric: _column(columns.setdefault(metric, {}), each, metric) for metric in each.metrics}
        metrics = {keys[metric]: measure for metric, measure in each.metrics.items()}
        renamed = {column: metric for metric, column in keys.items() if column != metric}
        found.append(each._replace(metrics=metrics, key_in_file=renamed))
    return found


def _column(columns: dict[str, list[Evaluation]], each: Evaluation, metric: str) -> str:
    """Return the key of the column that a number belongs to, and add the number to `columns`.

    Models of one column may generate images of several sizes; an external method has the size of one of them.
    """
    if each.metrics[metric] is None:
        return metric
    if each.kind != "external" or not columns:
        columns.setdefault(metric, []).append(each)
        return metric
    for column, others in columns.items():
        if any(not found for found in _differences(others, each, metric)):
            others.append(each)
            return column
    words = {}
    for field, (_, value) in min(_differences(columns[metric], each, metric), key=len).items():
        told = _COLUMN_WORDS.get(field)
        kind = field.partition(",")[0].removesuffix("_sha256").replace("_", " ")
        kind = "reference" if kind.startswith("reference") else kind
        words[f"other {kind}" if told is None or value is _MISSING else told(value)] = None
    key = f"{metric_of(metric)}({scorer_of(metric)}; {', '.join(words)}"
    number = next(number for number in itertools.count(1) if f"{key}{_nth(number)})" not in columns)
    columns[f"{key}{_nth(number)})"] = [each]
    return f"{key}{_nth(number)})"


def _differences(column: Sequence[Evaluation], each: Evaluation, metric: str) -> list[dict[str, tuple[object, object]]]:
    """Return the settings in which a number differs from each one of a column; from controls if it holds no others."""
    others = [other for other in column if other.kind != "control"] or column
    return [differing_conditions(other, each, metric) for other in others]


def _nth(number: int) -> str:
    return "" if number == 1 else f", {number}"


def _check_same_metrics(runs: Sequence[Evaluation]) -> None:
    """Raise UserError if a seed of a model lacks a metric of another seed, since their mean would be of fewer seeds."""
    for other in runs[1:]:
        differing = sorted(set(runs[0].metrics) ^ set(other.metrics))
        if differing:
            raise UserError(
                f"{runs[0].file} and {other.file}: only one of them has {differing[0]}; "
                "evaluate both by the same networks"
            )


def _check_belongs(each: Evaluation, first: Evaluation, seen: dict[tuple, Evaluation]) -> None:
    if each.dataset != first.dataset:
        hint = "make a table of each"
        if "external" in (each.kind, first.kind):
            hint += ", or evaluate the folder of images with the --data of the other"
        raise UserError(
            f"{first.file} and {each.file}: are of two data sets ({first.dataset} and {each.dataset}); {hint}"
        )
    key = (each.kind, each.name, each.seed)
    if key in seen:
        what = f"the control {each.name}" if each.kind == "control" else _run_name(each)
        hint = ", or evaluate one of them with another --name" if each.kind == "external" else ""
        raise UserError(f"{seen[key].file} and {each.file}: are both of {what}; give one of them{hint}")
    seen[key] = each


def _run_name(each: Evaluation) -> str:
    return each.name.removeprefix(EXTERNAL) if each.seed is None else f"{each.name}, seed {each.seed}"


class Summary(NamedTuple):
    """One metric of one table row: of one image set, or the mean over several training seeds."""

    value: float
    spread: float
    spread_over: str
    interval: tuple[float, float] | None
    interval_over: str
    num_images: int
    bootstrap: tuple[float, float, float] | None  # of one image set
    bootstrap_over: str
    files: tuple[Path, ...]

    def too_few(self, metric: str) -> str:
        """Return why the images are too few to tell; "" if they are enough."""
        return facts_of(metric_of(metric)).too_few(self.num_images)

    def clustered(self, metric: str) -> tuple[tuple[float, float] | None, str]:
        """Return the interval that a table prints, and its description: the bootstrap interval, if there is one.

        A bootstrap of another quantity than the value is not printed, such as the bootstrap of IS over all images.
        """
        if self.bootstrap is not None and facts_of(metric_of(metric)).bootstrap_is_of_value:
            return self.bootstrap[1:], f"bootstrap over {self.bootstrap_over}"
        return self.interval, self.interval_over


def summarise(runs: Sequence[Evaluation], metric: str) -> Summary | None:
    """Return the summary of a metric over seeds: mean, sample standard deviation and 95 % Student interval.

    A single seed keeps the spread and interval of its file.
    """
    measures = [run.metrics.get(metric) for run in runs]
    if None in measures:
        return None  # not measured, or not defined for this control
    files = tuple(measure.file for measure in measures)
    first = measures[0]
    if len(measures) == 1:
        return Summary(*first[:8], files)
    values = [measure.value for measure in measures]
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    over = f"{len(values)} {SEEDS}"
    interval, interval_over = facts_of(metric_of(metric)).clipped(_student_interval(mean, spread, len(values)), over)
    return Summary(mean, spread, over, interval, interval_over, first.num_images, None, "", files)


def _student_interval(mean: float, spread: float, count: int) -> tuple[float, float]:
    from scipy.stats import t

    half = float(t.ppf(0.975, count - 1)) * spread / math.sqrt(count)
    return mean - half, mean + half
