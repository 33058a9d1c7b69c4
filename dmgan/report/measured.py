"""What metrics.json files say, and whether their numbers may stand in one column."""

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.storage.files import read_json

SCHEMA = 2
RELEASED = " (released weights)"  # behind the name and the title of a model that was imported, not trained here
SEEDS = "seeds of training"  # what a spread over several runs is over
CONTROLS = ("real", "shuffled", "nearest", "noise", "adversarial")
# What a control may have otherwise than the models, as real images compared with real ones must; a note then says so.
_CONTROLS_OWN = ("num_images", "reference", "reference_num_images", "subset_size")
_HINT = "evaluate again: python -m dmgan evaluate"
_MISSING = object()


def metric_of(key: str) -> str:
    """FID of FID(species)."""
    return key.partition("(")[0]


def judge_of(key: str) -> str:
    """species of FID(species)."""
    return key.partition("(")[2].removesuffix(")")


class Measure(NamedTuple):
    """One metric of one image set."""

    value: float
    spread: float
    spread_over: str
    interval: tuple[float, float] | None
    interval_over: str
    num_images: int
    bootstrap: tuple[float, float, float] | None  # of all images at once: value, low and high end of the interval
    bootstrap_over: str
    chance: float | None  # what guessing would get
    protocol: dict[str, object]


class Evaluation(NamedTuple):
    """One metrics.json."""

    file: Path
    kind: str  # model or control
    name: str
    seed: int | None
    dataset: str
    image_size: int
    metrics: dict[str, Measure | None]  # by METRIC(JUDGE); None: has no meaning for this control
    data: dict[str, str]  # SHA-256 of the prepared data set's files

    def conditions(self, metric: str) -> dict[str, object]:
        """Everything that must agree between two numbers of one column."""
        measure = self.metrics[metric]
        data = {f"prepared data, {name}": sha256 for name, sha256 in self.data.items()}
        return {"image_size": self.image_size, "num_images": measure.num_images, **data, **measure.protocol}


@dataclass(frozen=True)
class Measured:
    """The evaluations of one data set."""

    dataset: str
    image_size: int
    models: dict[str, list[Evaluation]]  # by name in the registry, RELEASED behind it if imported; ascending seeds
    controls: dict[str, Evaluation]

    def columns(self, metrics: Sequence[str]) -> list[str]:
        """Every METRIC(JUDGE) that was measured, in the order of `metrics`: two judges never share a column."""
        found = dict.fromkeys(key for each in self._every() for key in each.metrics)
        return [key for metric in metrics for key in found if metric_of(key) == metric]

    def protocol(self, metric: str) -> dict[str, object] | None:
        """The protocol of a column: its models', or its controls' where no model has the metric."""
        first = next(self._with(metric), None)
        return None if first is None else first.metrics[metric].protocol

    def network(self, metric: str) -> str:
        """The feature network of a column, "" where nothing was measured."""
        protocol = self.protocol(metric)
        return "" if protocol is None else str(protocol["feature_network"])

    def chance(self, metric: str) -> float | None:
        """What guessing would get, None where that means nothing."""
        first = next(self._with(metric), None)
        return None if first is None else first.metrics[metric].chance

    def model_images(self, metric: str) -> int | None:
        """Number of images per model that a metric was measured on; None where no model has it."""
        counts = (each.metrics[metric].num_images for each in self._with(metric) if each.kind == "model")
        return next(counts, None)

    def _with(self, metric: str) -> Iterator[Evaluation]:
        """The evaluations that hold a metric, models first."""
        return (each for each in self._every() if each.metrics.get(metric) is not None)

    def _every(self) -> list[Evaluation]:
        """All evaluations, models first."""
        return [each for runs in self.models.values() for each in runs] + list(self.controls.values())

    def check(self) -> None:
        """UserError naming two files and the field where two numbers of one column were measured in two ways."""
        for metric in dict.fromkeys(key for each in self._every() for key in each.metrics):
            column = list(self._with(metric))
            for other in column[1:]:
                _check_pair(column[0], other, metric)


def _check_pair(first: Evaluation, other: Evaluation, metric: str) -> None:
    left, right = first.conditions(metric), other.conditions(metric)
    excused = _CONTROLS_OWN if "control" in (first.kind, other.kind) else ()
    for field in dict.fromkeys([*left, *right]):
        a, b = left.get(field, _MISSING), right.get(field, _MISSING)
        if a != b and field not in excused:
            raise UserError(
                f"{first.file} and {other.file}: {metric} was measured in two ways "
                f"({field}: {_shown(a)} against {_shown(b)}); evaluate both in the same way, or make a table of each"
            )


def _shown(value: object) -> str:
    return "not given" if value is _MISSING else json.dumps(value)


def read_measured(files: Sequence[Path]) -> Measured:
    """Read metrics.json files of one data set; UserError where they do not belong together."""
    evaluations = [_read(Path(file)) for file in files]
    if not evaluations:
        raise UserError(f"no metrics.json given; {_HINT}")
    models: dict[str, list[Evaluation]] = {}
    controls: dict[str, Evaluation] = {}
    seen: dict[tuple, Evaluation] = {}
    for each in evaluations:
        _check_belongs(each, evaluations[0], seen)
        if each.kind == "model":
            models.setdefault(each.name, []).append(each)
        else:
            controls[each.name] = each
    for runs in models.values():
        runs.sort(key=lambda each: each.seed)
        _check_same_metrics(runs)
    measured = Measured(evaluations[0].dataset, evaluations[0].image_size, models, controls)
    measured.check()
    return measured


def _check_same_metrics(runs: Sequence[Evaluation]) -> None:
    """UserError where one seed of a model has a metric that another has not: their mean would be of fewer."""
    for other in runs[1:]:
        differing = sorted(set(runs[0].metrics) ^ set(other.metrics))
        if differing:
            raise UserError(
                f"{runs[0].file} and {other.file}: only one of them has {differing[0]}; "
                "evaluate both by the same judges"
            )


def _check_belongs(each: Evaluation, first: Evaluation, seen: dict[tuple, Evaluation]) -> None:
    if each.dataset != first.dataset:
        raise UserError(
            f"{first.file} and {each.file}: are of two data sets ({first.dataset} and {each.dataset}); "
            "make a table of each"
        )
    key = (each.kind, each.name, each.seed)
    if key in seen:
        what = f"the control {each.name}" if each.kind == "control" else _run_name(each)
        raise UserError(f"{seen[key].file} and {each.file}: are both of {what}; give one of them")
    seen[key] = each


def _run_name(each: Evaluation) -> str:
    return each.name if each.seed is None else f"{each.name}, seed {each.seed}"


def _read(file: Path) -> Evaluation:
    content = read_json(file, _HINT)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UserError(f"{file}: is not a metrics.json of this version (schema {SCHEMA}); {_HINT}")
    try:
        subject = content["subject"]
        evaluation = Evaluation(
            file=file,
            kind=subject["kind"],
            name=subject["name"] + (RELEASED if subject.get("imported", False) else ""),
            seed=subject["seed"],
            dataset=subject["dataset"],
            image_size=subject["image_size"],
            metrics={metric: _measure(measure) for metric, measure in content["metrics"].items()},
            data=dict(content["inputs"]["data"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: is damaged (no {error}); {_HINT}") from error
    _check_subject(evaluation)
    return evaluation


def _check_subject(evaluation: Evaluation) -> None:
    file, name = evaluation.file, evaluation.name
    nameless = [metric for metric in evaluation.metrics if not judge_of(metric)]
    if nameless or not evaluation.metrics:
        what = f"{nameless[0]} names no judge" if nameless else "it holds no metric"
        raise UserError(f"{file}: is damaged ({what}); {_HINT}")
    if evaluation.kind == "control" and name in CONTROLS:
        return
    if evaluation.kind != "model":
        raise UserError(f"{file}: its subject, {evaluation.kind} {name!r}, is no model and no known control; {_HINT}")
    if not isinstance(evaluation.seed, int) and not name.endswith(RELEASED):
        raise UserError(f"{file}: does not say the training seed of {name}; {_HINT}")
    missing = [metric for metric, measure in evaluation.metrics.items() if measure is None]
    if missing:
        raise UserError(f"{file}: has no {missing[0]}, which every model has; {_HINT}")


def _measure(content: dict | None) -> Measure | None:
    if content is None:
        return None
    interval, bootstrap = content["interval"], content.get("bootstrap")
    return Measure(
        value=content["value"],
        spread=content["spread"],
        spread_over=content["spread_over"],
        interval=None if interval is None else (interval[0], interval[1]),
        interval_over=content["interval_over"],
        num_images=content["num_images"],
        bootstrap=None if bootstrap is None else (bootstrap["value"], *bootstrap["interval"]),
        bootstrap_over="" if bootstrap is None else bootstrap["over"],
        chance=content.get("chance"),
        protocol=content["protocol"],
    )


class Summary(NamedTuple):
    """One metric of one row: of one image set, or the mean over several seeds of training."""

    value: float
    spread: float
    spread_over: str
    interval: tuple[float, float] | None
    interval_over: str
    num_images: int
    bootstrap: tuple[float, float, float] | None  # of one image set
    bootstrap_over: str
    files: tuple[Path, ...]

    def clustered(self, metric: str) -> tuple[tuple[float, float] | None, str]:
        """The interval that a table prints and what it is over: the bootstrap's where there is one.

        That of IS is of all images at once, another estimate than the mean of the papers' ten splits: not printed.
        """
        if self.bootstrap is not None and metric_of(metric) != "IS":
            return self.bootstrap[1:], f"bootstrap over {self.bootstrap_over}"
        return self.interval, self.interval_over


def summarise(runs: Sequence[Evaluation], metric: str) -> Summary | None:
    """One seed: as its file says. Several: mean, sample standard deviation and 95 % Student interval over the seeds."""
    measures = [run.metrics.get(metric) for run in runs]
    files = tuple(run.file for run in runs)
    if None in measures:
        return None  # not measured by this judge, or a control that it has no meaning for
    first = measures[0]
    if len(measures) == 1:
        return Summary(*first[:8], files)
    values = [measure.value for measure in measures]
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    over = f"{len(values)} {SEEDS}"
    interval = _student_interval(mean, spread, len(values))
    return Summary(mean, spread, over, interval, over, first.num_images, None, "", files)


def _student_interval(mean: float, spread: float, count: int) -> tuple[float, float]:
    from scipy.stats import t

    half = float(t.ppf(0.975, count - 1)) * spread / math.sqrt(count)
    return mean - half, mean + half
