"""Reading of metrics.json files: every field is checked, because the files may come from other machines and people."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dmgan.data.names import is_table_name
from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import facts_of, metrics
from dmgan.options import CONTROLS
from dmgan.storage.files import read_json

SCHEMA = 2
RELEASED = " (released weights)"  # suffix of the name and title of an imported model
EXTERNAL = "external/"  # prefix of the name of a method whose images were made by another program
HINT = "evaluate again: python -m dmgan evaluate"
_LONGEST = 60  # characters of a wrong value in an error message


def metric_of(key: str) -> str:
    """Return the metric of a key, such as FID of FID(species)."""
    return key.partition("(")[0]


def scorer_of(key: str) -> str:
    """Return the feature extractor or scorer of a key, such as species of FID(species)."""
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
    chance: float | None  # chance level
    protocol: dict[str, object]
    file: Path  # metrics.json of the value


class Evaluation(NamedTuple):
    """Content of one metrics.json."""

    file: Path
    kind: str  # model, control or external
    name: str
    seed: int | None
    dataset: str
    num_images: int
    image_size: int | None  # None: images of several sizes
    metrics: dict[str, Measure | None]  # by METRIC(SCORER); None: not defined for this control
    published_set: tuple[str, tuple[str, ...]] | None  # the papers' data set, and the differences from it
    data: dict[str, str]  # SHA-256 of the prepared data set's files
    inputs: dict[str, object]
    made_for: str = ""  # the metric that the images were made for, such as SOA; "": images of the test captions
    selection: dict[str, object] | None = None  # rule and step by which training chose the weights; None: not known
    key_in_file: dict[str, str] = {}  # key of a column of its own -> key in metrics.json

    def otherwise(self, columns: Sequence[str]) -> str:
        """Return how the numbers in columns were measured that do not compare with others; "" if all numbers do."""
        own = [(own, key) for own, key in self.key_in_file.items() if key in columns]
        return ", ".join(dict.fromkeys(word for own, key in own for word in own[len(key) + 1 : -1].split(", ")))

    def conditions(self, metric: str) -> dict[str, object]:
        """Return all settings that must agree between two numbers of one column."""
        measure = self.metrics[metric]
        data = {f"prepared data, {name}": sha256 for name, sha256 in self.data.items()}
        return {"image_size": self.image_size, "num_images": measure.num_images, **data, **measure.protocol}


def read_evaluation(file: Path, check: bool = True) -> Evaluation:
    """Read one metrics.json; raise UserError if the file is missing, damaged, or of another version.

    UserError also if it was altered after it was written, unless check=False.
    """
    file = Path(file)
    content = read_json(file, HINT, check)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UserError(f"{file}: is not a metrics.json of this version (schema {SCHEMA}); {HINT}")
    top = _Fields(content, file, "")
    subject, inputs = top.fields("subject"), top.fields("inputs")
    kind = subject.text("kind")
    measured = top.fields("metrics")
    evaluation = Evaluation(
        file=file,
        kind=kind,
        name=_name(subject, kind),
        seed=subject.optional("seed", subject.count),
        dataset=subject.name("dataset"),
        num_images=subject.count("num_images"),
        image_size=subject.optional("image_size", subject.count),
        metrics={key: _measure(key, measured) for key in measured.content},
        published_set=_published_set(subject),
        data=_texts(inputs.fields("data")),
        inputs=_checked_inputs(inputs, kind),
        made_for=subject.text("made_for") if "made_for" in subject.content else "",
        selection=_selection(subject),
    )
    _check_subject(evaluation)
    return evaluation


class _Fields:
    """Fields of a JSON object; a field that is missing or of another type raises UserError."""

    def __init__(self, content: dict[str, object], file: Path, path: str):
        self.content, self.file, self._path = content, file, path

    def damaged(self, what: str) -> UserError:
        """Return the error of a damaged file."""
        return UserError(f"{self.file}: is damaged ({what}); {HINT}")

    def _get(self, key: str, is_valid: Callable[[object], bool], expected: str) -> object:
        within = f" in {self._path}" if self._path else ""
        if key not in self.content:
            raise self.damaged(f"no {key!r}{within}")
        value = self.content[key]
        if not is_valid(value):
            shown = repr(value)
            shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
            raise self.damaged(f"{key!r}{within} is {shown} instead of {expected}")
        return value

    def optional(self, key: str, read: Callable[[str], object]) -> object:
        """Return read(key), or None for a null."""
        return None if self.content.get(key, "") is None else read(key)

    def text(self, key: str) -> str:
        """Return printable text."""
        return self._get(key, lambda value: isinstance(value, str) and value.isprintable(), "printable text")

    def name(self, key: str) -> str:
        """Return a name, which stands in tables."""
        return self._get(
            key,
            lambda value: isinstance(value, str) and is_table_name(value),
            "a name of printable characters that does not begin with = + - @",
        )

    def number(self, key: str) -> float:
        """Return a finite number."""
        return self._get(key, _is_finite, "a finite number")

    def spread(self, key: str) -> float:
        """Return a standard deviation."""
        return self._get(key, lambda value: _is_finite(value) and value >= 0, "a standard deviation, 0 or more")

    def count(self, key: str) -> int:
        """Return a whole number from 0 on."""
        return self._get(key, lambda value: type(value) is int and value >= 0, "a whole number, 0 or more")

    def interval(self, key: str) -> tuple[float, float]:
        """Return the two ends of an interval."""
        ends = self._get(
            key,
            lambda value: (
                isinstance(value, list) and len(value) == 2 and all(map(_is_finite, value)) and value[0] <= value[1]
            ),
            "two finite numbers, the lower first",
        )
        return ends[0], ends[1]

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of printable texts."""
        return tuple(
            self._get(
                key,
                lambda value: (
                    isinstance(value, list) and all(isinstance(each, str) and each.isprintable() for each in value)
                ),
                "a list of printable texts",
            )
        )

    def fields(self, key: str) -> "_Fields":
        """Return the fields of an object."""
        value = self._get(key, lambda value: isinstance(value, dict), "an object")
        return _Fields(value, self.file, f"{self._path}.{key}".lstrip("."))


def _is_finite(value: object) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _texts(fields: _Fields) -> dict[str, str]:
    return {name: fields.text(name) for name in fields.content}


def _name(subject: _Fields, kind: str) -> str:
    """Return the name under which an image set is listed."""
    name = subject.name("name")
    if kind == "external":
        return EXTERNAL + name
    return name + (RELEASED if subject.content.get("imported", False) else "")


def _published_set(subject: _Fields) -> tuple[str, tuple[str, ...]] | None:
    if "published_set" not in subject.content:
        return None
    return subject.text("published_set"), subject.texts("differences")


def _selection(subject: _Fields) -> dict[str, object] | None:
    """Return the rule and step by which training chose the weights; None if they are not known."""
    if subject.content.get("selection") is None:
        return None
    selection = subject.fields("selection")
    if selection.text("rule") != "last":
        selection.count("step"), selection.count("snapshots"), selection.text("metric")
    return selection.content


def _checked_inputs(inputs: _Fields, kind: str) -> dict[str, object]:
    """Return the inputs, of which those that tables show are of their types."""
    if "hyperparameters" in inputs.content:
        inputs.fields("hyperparameters")
    if "retrieval" in inputs.content:
        retrieval = inputs.fields("retrieval")
        retrieval.text("method"), retrieval.count("entries"), retrieval.text("feature_network")
    if kind == "external":
        inputs.text("sizes"), inputs.text("captions")
    return dict(inputs.content)


def _check_subject(evaluation: Evaluation) -> None:
    file, name = evaluation.file, evaluation.name
    nameless = [metric for metric in evaluation.metrics if not scorer_of(metric)]
    if nameless or not evaluation.metrics:
        what = f"{nameless[0]} names no scorer" if nameless else "it holds no metric"
        raise UserError(f"{file}: is damaged ({what}); {HINT}")
    if evaluation.kind == "control" and name in CONTROLS:
        return
    if evaluation.kind not in ("model", "external"):
        raise UserError(
            f"{file}: its subject, {evaluation.kind} {name!r}, is neither a model nor a known control; {HINT}"
        )
    if evaluation.kind == "model" and evaluation.seed is None and not name.endswith(RELEASED):
        raise UserError(f"{file}: has no training seed of {name}; {HINT}")
    missing = [metric for metric, measure in evaluation.metrics.items() if measure is None]
    if missing:
        raise UserError(f"{file}: has no {missing[0]}, which every model has; {HINT}")


def _measure(key: str, measured: _Fields) -> Measure | None:
    """Return a metric of the file, with intervals clipped to the possible values of the metric."""
    if measured.content[key] is None:
        return None
    if not key.isprintable() or metric_of(key) not in metrics():
        raise measured.damaged(f"{key!r} is no metric; known metrics are {', '.join(metrics())}")
    fields, facts = measured.fields(key), facts_of(metric_of(key))
    interval, over = fields.optional("interval", fields.interval), fields.text("interval_over")
    if interval is not None:
        interval, over = facts.clipped(interval, over)
    bootstrap, bootstrap_over = None, ""
    if fields.content.get("bootstrap") is not None:
        resampled = fields.fields("bootstrap")
        within, _ = facts.clipped(resampled.interval("interval"), "")
        bootstrap, bootstrap_over = (resampled.number("value"), *within), resampled.text("over")
    if "interval_centre" in fields.content:  # read by comparisons
        fields.number("interval_centre")
    protocol = fields.fields("protocol")
    protocol.text("feature_network")
    return Measure(
        value=fields.number("value"),
        spread=fields.spread("spread"),
        spread_over=fields.text("spread_over"),
        interval=interval,
        interval_over=over,
        num_images=fields.count("num_images"),
        bootstrap=bootstrap,
        bootstrap_over=bootstrap_over,
        chance=fields.number("chance") if fields.content.get("chance") is not None else None,
        protocol=protocol.content,
        file=fields.file,
    )
