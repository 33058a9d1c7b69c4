"""What Tables 1-3 of the paper hold: their rows, their columns, and the numbers that belong there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dmgan.models.registry import MODELS
from dmgan.report.measured import RELEASED, Measured, Summary, summarise
from dmgan.report.published import published

SOURCE = "003"
PUBLISHED_SETS = ("CUB", "COCO")
BETTER = {"IS": "up", "FID": "down", "R-precision": "up", "KID": "down"}
CONTROL_TITLES = {
    "real": "Real test images",
    "shuffled": "Real images with shuffled captions",
    "noise": "Noise",
}
_DECIMALS = {"IS": 2, "FID": 2, "R-precision": 2, "KID": 3}
_DISTANCES = ("FID", "KID")  # their scale is that of the feature network


class Method(NamedTuple):
    """A row of a table."""

    title: str  # as the paper prints it, or the registry's title of a model that is not in the paper
    model: str | None = None  # name in the registry; None where there is no model of it here


@dataclass(frozen=True)
class Layout:
    """One table of the paper."""

    name: str
    number: str
    metrics: tuple[str, ...]  # published
    own_metrics: tuple[str, ...]  # this run's
    methods: tuple[Method, ...]
    subject: str
    further_models: bool = True  # models that the paper does not know follow its own


_ABLATIONS = (
    Method("DM-GAN baseline", "dmgan-baseline"),
    Method("DM-GAN +M", "dmgan-m"),
    Method("DM-GAN +M+WG", "dmgan-m-wg"),
    Method("DM-GAN +M+WG+RG", "dmgan"),
)
_MAIN = (Method("AttnGAN", "attngan"), Method("DM-GAN", "dmgan"))
_EARLIER = (Method("GAN-INT-CLS", "gan-int-cls"), Method("GAWWN"), Method("StackGAN", "stackgan"), Method("PPGN"))
LAYOUTS = (
    Layout("table1", "Table 1", ("IS",), ("IS",), (*_EARLIER, *_MAIN), "Inception Score"),
    Layout(
        "table2", "Table 2", ("FID", "R-precision"), ("FID", "R-precision", "KID"), _MAIN,
        "FID, R-precision (percent) and KID",
    ),
    Layout(
        "table3", "Table 3", ("IS", "FID", "R-precision"), ("IS", "FID", "R-precision"), _ABLATIONS,
        "DM-GAN without and with dynamic memory (M), writing gate (WG) and response gate (RG)", further_models=False,
    ),
)  # fmt: skip


class Results:
    """The numbers of one table, published and measured."""

    def __init__(self, layout: Layout, measured: Measured):
        self.layout, self.measured = layout, measured
        self.published = published(SOURCE, layout.number)
        printed = {(dataset, metric) for _, dataset, metric in self.published}
        columns = [(dataset, metric) for dataset in PUBLISHED_SETS for metric in layout.metrics]
        self.published_columns = [column for column in columns if column in printed]
        self.methods = [*layout.methods, *self._further()]
        runs = {each.model: measured.models.get(each.model, []) for each in self.methods if each.model}
        self.models = {
            (name, metric): summarise(each, metric)
            for name, each in runs.items()
            if each
            for metric in layout.own_metrics
        }
        self.controls = {
            (name, metric): summarise([control], metric)
            for name, control in measured.controls.items()
            for metric in layout.own_metrics
        }

    def _further(self) -> Iterator[Method]:
        """Models that the paper does not know, and released weights of those that this table shows."""
        own = {each.model for each in self.layout.methods}
        known = own | {each.model for layout in LAYOUTS if not layout.further_models for each in layout.methods}
        for name in MODELS:
            if self.layout.further_models and name in self.measured.models and name not in known:
                yield Method(title_of(name), name)
            shown = name in own or (self.layout.further_models and name not in known)
            if shown and name + RELEASED in self.measured.models:
                yield Method(title_of(name + RELEASED), name + RELEASED)

    def model_values(self, metric: str) -> dict[str, float]:
        """Value by model name."""
        return {name: summary.value for (name, each), summary in self.models.items() if each == metric}

    def summaries(self) -> list[Summary]:
        """Every number of this run, models first."""
        return [each for each in (*self.models.values(), *self.controls.values()) if each is not None]

    def shown(self, metric: str, value: float) -> str:
        """A value in its column's decimals: as many as the paper has, more for the small distances of some networks."""
        decimals = _DECIMALS[metric]
        while metric in _DISTANCES and decimals < 6 and self._loses_digits(metric, decimals):
            decimals += 1
        return f"{value:.{decimals}f}"

    def _loses_digits(self, metric: str, decimals: int) -> bool:
        """Whether a model's value would show fewer than three digits."""
        return any(0 < abs(value) * 10**decimals < 100 for value in self.model_values(metric).values())


def title_of(name: str) -> str:
    """A model's title, for its name as `Measured.models` has it."""
    return MODELS[name.removesuffix(RELEASED)].title + (RELEASED if name.endswith(RELEASED) else "")


def is_better(metric: str, first: float, second: float) -> bool:
    """Whether `first` is strictly the better of two values of a metric."""
    return first > second if BETTER[metric] == "up" else first < second
