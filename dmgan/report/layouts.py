"""What the papers' tables hold: their rows, their columns, and the numbers that belong there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dmgan.models.registry import MODELS
from dmgan.report.measured import RELEASED, Measured, Summary, metric_of, summarise
from dmgan.report.published import published

PUBLISHED_SETS = ("CUB", "COCO")
_DOWN = ("FID", "KID")
_UNRANKED = ("diversity",)  # more is not better: noise can have it
MANIFOLDS = ("precision", "recall", "density", "coverage")
CONTROL_TITLES = {
    "real": "Real test images",
    "shuffled": "Real images with shuffled captions",
    "nearest": "Nearest training images",
    "noise": "Noise",
    "adversarial": "Adversarial images",
}
_DECIMALS = {"KID": 3, **dict.fromkeys((*MANIFOLDS, "diversity"), 3)}  # otherwise 2
_DISTANCES = ("FID", "KID")  # their scale is that of the feature network


class Method(NamedTuple):
    """A row of a table."""

    title: str  # as the paper prints it, or the registry's title of a model that is not in the paper
    model: str | None = None  # name in the registry; None where there is no model of it here: published numbers alone
    printed: str | None = None  # the paper's name of the row, where the title says more

    @property
    def published_as(self) -> str:
        """The row's name in published.csv."""
        return self.printed or self.title


@dataclass(frozen=True)
class Layout:
    """One table of one paper."""

    name: str  # of its files
    source: str  # paper, as published.csv has it
    number: str
    metrics: tuple[str, ...]  # published
    own_metrics: tuple[str, ...]  # this run's
    methods: tuple[Method, ...]
    subject: str
    further_models: bool = False  # models that the paper does not know follow its own
    real_images: str | None = None  # the paper's name of a row of real images
    unranked: tuple[str, ...] = ()  # published metrics whose cells do not rank, so that none is the best
    remarks: tuple[str, ...] = ()  # what a reader of the published columns must know


_ABLATIONS = (
    Method("DM-GAN baseline", "dmgan-baseline"),
    Method("DM-GAN +M", "dmgan-m"),
    Method("DM-GAN +M+WG", "dmgan-m-wg"),
    Method("DM-GAN +M+WG+RG", "dmgan"),
)
_ATTNGAN, _DMGAN = Method("AttnGAN", "attngan"), Method("DM-GAN", "dmgan")
_MAIN = (_ATTNGAN, _DMGAN)
_EARLIER = (Method("GAN-INT-CLS", "gan-int-cls"), Method("GAWWN"), Method("StackGAN", "stackgan"), Method("PPGN"))
_KVMGAN = (Method("KVM-GAN", "kvmgan"), Method("KVM-GAN as printed", "kvmgan-literal"))
_MEMORY_DRIVEN = (
    _ATTNGAN, Method("ControlGAN", "controlgan"), Method("MirrorGAN", "mirrorgan"), _DMGAN, Method("DF-GAN", "dfgan"),
    Method("XMC-GAN"), Method("LAFITE"), Method("DALL-E"), Method("GLIDE"), Method("CP-GAN"), Method("Obj-GAN"),
    Method("OP-GAN"), Method("Memory-driven, MDSP", "mdsp", printed="Memory-driven (Ours)"),
)  # fmt: skip
_REPRODUCTION = (
    Method("DM-GAN", "dmgan", printed="DM-GAN (paper)"),
    Method("DM-GAN, batch 2", "dmgan-004", printed="DM-GAN (reproduced, batch 2)"),
    Method("DM-GAN, batch 2, two words", "dmgan-004-two-words"),
)
_SAME_NUMBERS = (
    "Every KVM-GAN cell is DM-GAN's in the paper of Zhu et al. (CVPR 2019), of which the draft is an earlier account."
)
LAYOUTS = (
    Layout(
        "table1", "003", "Table 1", ("IS",), ("IS",), (*_EARLIER, *_MAIN), "Inception Score", further_models=True,
    ),
    Layout(
        "table2", "003", "Table 2", ("FID", "R-precision"), ("FID", "R-precision", "attribute accuracy", "KID"), _MAIN,
        "FID, R-precision (percent) and KID", further_models=True,
    ),
    Layout(
        "table3", "003", "Table 3", ("IS", "FID", "R-precision"), ("IS", "FID", "R-precision"), _ABLATIONS,
        "DM-GAN without and with dynamic memory (M), writing gate (WG) and response gate (RG)",
    ),
    Layout(
        "measures", "003", "Measures", (), (*MANIFOLDS, "diversity"), _MAIN,
        "Further measures, which no paper here prints", further_models=True,
    ),
    Layout(
        "kvmgan-table1", "001", "Table 1", ("IS",), ("IS",), (*_EARLIER, _ATTNGAN, *_KVMGAN), "Inception Score",
        remarks=(_SAME_NUMBERS,),
    ),
    Layout(
        "kvmgan-table2", "001", "Table 2", ("FID", "R-precision"), ("FID", "R-precision"), (_ATTNGAN, *_KVMGAN),
        "FID and R-precision (percent)",
        remarks=(_SAME_NUMBERS, "The draft heads the column of KVM-GAN MemoryGAN."),
    ),
    Layout(
        "mdsp-table1", "002", "Table 1", ("IS", "FID", "R-precision", "SOA-C", "SOA-I"),
        ("IS", "FID", "R-precision", "SOA-C", "SOA-I"), _MEMORY_DRIVEN,
        "IS, FID, R-precision, SOA-C and SOA-I (the last three in percent)", real_images="Real Images",
        unranked=("FID",),
        remarks=(
            "Published SOA was read by a YOLOv3 detector: no number of another detector stands in its column.",
            "Published FID of this table was taken over from several papers, which may have read it from different "
            "networks: two cells rank against each other only where their papers agree, and none is bold.",
            "The paper compares 30,000 images with 30,000 real test images; CUB has 2,933 of them.",
        ),
    ),
    Layout(
        "reproduction-table1", "004", "Table 1", ("FID", "IS"), ("FID", "IS"), _REPRODUCTION, "FID and Inception Score",
        remarks=(
            "The report prints the two columns under each other's heading (FID 4.75 and 4.53, IS 16.09 and 17.76); "
            "they are put right here.",
        ),
    ),
)  # fmt: skip


class Results:
    """The numbers of one table, published and measured."""

    def __init__(self, layout: Layout, measured: Measured):
        self.layout, self.measured = layout, measured
        self.published = published(layout.source, layout.number)
        printed = {(dataset, metric) for _, dataset, metric in self.published}
        columns = [(dataset, metric) for dataset in PUBLISHED_SETS for metric in layout.metrics]
        self.published_columns = [column for column in columns if column in printed]
        self.columns = measured.columns(layout.own_metrics)  # METRIC(JUDGE)
        self.methods = [*layout.methods, *self._further()]
        runs = {each.model: measured.models.get(each.model, []) for each in self.methods if each.model}
        self.models = {
            (name, metric): summarise(each, metric) for name, each in runs.items() if each for metric in self.columns
        }
        self.controls = {
            (name, metric): summarise([control], metric)
            for name, control in measured.controls.items()
            for metric in self.columns
        }

    def _further(self) -> Iterator[Method]:
        """Models that the paper does not know, and released weights of those that this table shows."""
        own = {each.model for each in self.layout.methods}
        elsewhere = [each for each in LAYOUTS if each.source == self.layout.source and not each.further_models]
        # What no paper prints has no other table: there the paper's ablations follow too.
        known = own | {each.model for layout in elsewhere if self.layout.metrics for each in layout.methods}
        for name in MODELS:
            if self.layout.further_models and name in self.measured.models and name not in known:
                yield Method(title_of(name), name)
            shown = name in own or (self.layout.further_models and name not in known)
            if shown and name + RELEASED in self.measured.models:
                yield Method(title_of(name + RELEASED), name + RELEASED)

    def remarks(self) -> list[str]:
        """The remarks on published cells of this table, in its order."""
        rows = [each.published_as for each in self.methods] + [self.layout.real_images]
        cells = (self.published.get((row, *column)) for row in rows for column in self.published_columns)
        return list(dict.fromkeys(each.remark for each in cells if each is not None and each.remark))

    def model_values(self, metric: str) -> dict[str, float]:
        """Value by model name."""
        measured = {name: summary for (name, each), summary in self.models.items() if each == metric}
        return {name: summary.value for name, summary in measured.items() if summary is not None}

    def behind(self, metric: str, value: float) -> list[str]:
        """Models that a value ranks before."""
        return [name for name, own in self.model_values(metric).items() if is_better(metric, value, own)]

    def ahead(self, metric: str, value: float) -> list[str]:
        """Models that rank before a value."""
        return [name for name, own in self.model_values(metric).items() if is_better(metric, own, value)]

    def summaries(self) -> list[Summary]:
        """Every number of this run, models first."""
        return [each for each in (*self.models.values(), *self.controls.values()) if each is not None]

    def shown(self, metric: str, value: float) -> str:
        """A value in its column's decimals: as many as the paper has, more for the small distances of some networks."""
        decimals = _DECIMALS.get(metric_of(metric), 2)
        while metric_of(metric) in _DISTANCES and decimals < 6 and self._loses_digits(metric, decimals):
            decimals += 1
        return f"{value:.{decimals}f}"

    def _loses_digits(self, metric: str, decimals: int) -> bool:
        """Whether a model's value would show fewer than three digits."""
        return any(0 < abs(value) * 10**decimals < 100 for value in self.model_values(metric).values())


def title_of(name: str) -> str:
    """A model's title, for its name as `Measured.models` has it."""
    return MODELS[name.removesuffix(RELEASED)].title + (RELEASED if name.endswith(RELEASED) else "")


def better(metric: str) -> str:
    """The better direction of a metric, by whatever judge: "up", "down", or "" where neither is better."""
    if metric_of(metric) in _UNRANKED:
        return ""
    return "down" if metric_of(metric) in _DOWN else "up"


def is_better(metric: str, first: float, second: float) -> bool:
    """Whether `first` is strictly the better of two values of a metric."""
    return {"up": first > second, "down": first < second, "": False}[better(metric)]
