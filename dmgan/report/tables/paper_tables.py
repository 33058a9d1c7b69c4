"""Layouts of the papers' tables: rows, columns, and published and measured numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from dmgan.evaluation.metrics.table import facts_of, metrics
from dmgan.models.registry import MODELS
from dmgan.report.evaluations import EXTERNAL, RELEASED, Evaluation, metric_of
from dmgan.report.literature.published import published
from dmgan.report.results import Measured, Summary, summarise

PUBLISHED_SETS = ("CUB", "COCO")
CONTROL_TITLES = {
    "real": "Real test images",
    "shuffled": "Real images with shuffled captions",
    "nearest": "Nearest training images",
    "noise": "Noise",
    "adversarial": "Adversarial images",
}


class Method(NamedTuple):
    """A row of a table."""

    title: str  # as the paper prints it, or the registry's title of a model that is not in the paper
    model: str | None = None  # name in the registry; None if not implemented: published numbers only
    printed: str | None = None  # the paper's name of the row, if it differs from the title
    variant: str | None = None  # model of another data set's released script, whose row this is if only it was run

    @property
    def published_as(self) -> str:
        """The row's name in published.csv."""
        return self.printed or self.title


@dataclass(frozen=True)
class Layout:
    """One table of one paper."""

    name: str  # file name
    source: str  # number of the paper in published.csv
    number: str
    metrics: tuple[str, ...]  # published metrics
    own_metrics: tuple[str, ...]  # metrics of this run
    methods: tuple[Method, ...]
    subject: str
    further_models: bool = False  # add rows of models that are not in the paper
    external: bool = False  # add rows of methods whose images were made by another program
    real_images: str | None = None  # the paper's name of a row of real images
    unranked: tuple[str, ...] = ()  # published metrics that are not ranked, so no cell is bold
    remarks: tuple[str, ...] = ()  # notes on the published columns and on the rows


_ABLATIONS = (
    Method("DM-GAN baseline", "dmgan-baseline"),
    Method("DM-GAN +M", "dmgan-m"),
    Method("DM-GAN +M+WG", "dmgan-m-wg"),
    Method("DM-GAN +M+WG+RG", "dmgan"),
)
_ATTNGAN, _DMGAN = Method("AttnGAN", "attngan"), Method("DM-GAN", "dmgan")
_MAIN = (_ATTNGAN, _DMGAN)
_EARLIER = (
    Method("GAN-INT-CLS", "gan-int-cls", variant="gan-cls"),
    Method("GAWWN"),
    Method("StackGAN", "stackgan"),
    Method("PPGN"),
)
_KVMGAN = (Method("KVM-GAN", "kvmgan"), Method("KVM-GAN as printed", "kvmgan-literal"))
_MEMORY_DRIVEN = (
    _ATTNGAN, Method("ControlGAN", "controlgan"), Method("MirrorGAN", "mirrorgan"), _DMGAN, Method("DF-GAN", "dfgan"),
    Method("XMC-GAN"), Method("LAFITE"), Method("DALL-E"), Method("GLIDE"), Method("CP-GAN"), Method("Obj-GAN"),
    Method("OP-GAN"), Method("Memory-driven, MDSP", "mdsp", printed="Memory-driven (Ours)"),
)  # fmt: skip
_GRID = (
    *(Method(MODELS[f"mdsp-a{number}"].title, f"mdsp-a{number}") for number in range(4)),
    Method("MDSP (A4)", "mdsp"),
    *(Method(MODELS[f"mdsp-a{number}"].title, f"mdsp-a{number}") for number in range(5, 9)),
)
_REPRODUCTION = (
    Method("DM-GAN", "dmgan", printed="DM-GAN (paper)"),
    Method("DM-GAN, batch 2", "dmgan-004", printed="DM-GAN (reproduced, batch 2)"),
    Method("DM-GAN, batch 2, two words", "dmgan-004-two-words"),
)
_SAME_NUMBERS = (
    "All published KVM-GAN numbers are those of DM-GAN in Zhu et al. (CVPR 2019); the draft is an earlier version of "
    "that paper."
)
_PAPER_TABLES = (
    Layout(
        "table1", "003", "Table 1", ("IS",), ("IS",), (*_EARLIER, *_MAIN), "Inception Score", further_models=True,
        external=True,
    ),
    Layout(
        "table2", "003", "Table 2", ("FID", "R-precision"), ("FID", "R-precision", "attribute accuracy", "KID"), _MAIN,
        "FID, R-precision (percent) and KID", further_models=True, external=True,
    ),
    Layout(
        "table3", "003", "Table 3", ("IS", "FID", "R-precision"), ("IS", "FID", "R-precision"), _ABLATIONS,
        "DM-GAN without and with dynamic memory (M), writing gate (WG) and response gate (RG)",
    ),
    Layout(
        "kvmgan-table1", "001", "Table 1", ("IS",), ("IS",), (*_EARLIER, _ATTNGAN, *_KVMGAN), "Inception Score",
        remarks=(_SAME_NUMBERS,),
    ),
    Layout(
        "kvmgan-table2", "001", "Table 2", ("FID", "R-precision"), ("FID", "R-precision"), (_ATTNGAN, *_KVMGAN),
        "FID and R-precision (percent)",
        remarks=(_SAME_NUMBERS, "The draft labels KVM-GAN as MemoryGAN."),
    ),
    Layout(
        "mdsp-table1", "002", "Table 1", ("IS", "FID", "R-precision", "SOA-C", "SOA-I"),
        ("IS", "FID", "R-precision", "SOA-C", "SOA-I"), _MEMORY_DRIVEN,
        "IS, FID, R-precision, SOA-C and SOA-I (the last three in percent)", external=True, real_images="Real Images",
        unranked=("FID",),
        remarks=(
            "Published SOA was measured with a YOLOv3 detector; values of other detectors are in separate columns.",
            "Published FID of this table was copied from several papers, which may have used different networks; two "
            "values are comparable only if their papers used the same network, so none is bold.",
            "The paper compares 30,000 images with 30,000 real test images; CUB has 2,933 of them.",
        ),
    ),
    Layout(
        "mdsp-grid", "002", "Grid A0-A8", (), ("IS", "FID", "R-precision", "SOA-C", "SOA-I"), _GRID,
        "MDSP without and with its parts: IS, FID, R-precision, SOA-C and SOA-I (the last three in percent)",
        remarks=(
            "The paper announces these comparisons in section 5.2; no published numbers of them are known.",
            "A4 is A3 with content features in the discriminators; A5 to A8 differ from A4 in the named part.",
        ),
    ),
    Layout(
        "reproduction-table1", "004", "Table 1", ("FID", "IS"), ("FID", "IS"), _REPRODUCTION, "FID and Inception Score",
        remarks=(
            "The report swaps the headings of the two columns (FID 4.75 and 4.53, IS 16.09 and 17.76); this table "
            "corrects the headings.",
        ),
    ),
)  # fmt: skip


def _further_measures() -> Layout:
    """Return the layout of the table of metrics that no paper's table has."""
    in_papers = {metric for table in _PAPER_TABLES for metric in table.own_metrics}
    own = tuple(name for name in metrics() if name not in in_papers)
    subject = "Further metrics, which none of these papers reports"
    return Layout("measures", "003", "Measures", (), own, _MAIN, subject, further_models=True, external=True)


LAYOUTS = (*_PAPER_TABLES[:3], _further_measures(), *_PAPER_TABLES[3:])
_TITLES = {*CONTROL_TITLES.values(), *(each.title for layout in LAYOUTS for each in layout.methods)}


class Results:
    """The numbers of one table, published and measured."""

    def __init__(self, layout: Layout, measured: Measured):
        self.layout, self.measured = layout, measured
        self.published = published(layout.source, layout.number)
        printed = {(dataset, metric) for _, dataset, metric in self.published}
        columns = [(dataset, metric) for dataset in PUBLISHED_SETS for metric in layout.metrics]
        self.published_columns = [column for column in columns if column in printed]
        self.columns = measured.shared_columns(layout.own_metrics)  # METRIC(SCORER)
        own = [each._replace(model=self._run(each)) for each in layout.methods]
        with_numbers = list(filter(self._has_number, own))
        self.omitted = [each.title for each in own if each not in with_numbers]  # rows without any number
        self.methods = [*with_numbers, *self._further({each.model for each in own})]
        runs = {each.model: measured.models.get(each.model, []) for each in self.methods if each.model}
        self.models = {  # by the key of the number, which is a column's own unless it was measured otherwise
            (name, key): summarise(each, key)
            for name, each in runs.items()
            if each
            for key in (measured.key(name, column) for column in self.columns)
        }
        self.controls = {
            (name, metric): summarise([control], metric)
            for name, control in measured.controls.items()
            for metric in self.columns
        }

    def _has_number(self, method: Method) -> bool:
        """Return whether a row of the paper has a published number or a run."""
        cells = (self.published.get((method.published_as, *column)) for column in self.published_columns)
        return method.model in self.measured.models or any(cell is not None and cell.value for cell in cells)

    def _run(self, method: Method) -> str | None:
        """Return the model of a row: the row's own, or its variant if only the variant was run."""
        if method.model not in self.measured.models and method.variant in self.measured.models:
            return method.variant
        return method.model

    def _further(self, own: set[str | None]) -> Iterator[Method]:
        """Yield models that are not in the paper, released weights of the table's models, and external methods.

        own: the models of the paper's rows.
        """
        elsewhere = [each for each in LAYOUTS if each.source == self.layout.source and not each.further_models]
        # A layout without published metrics also includes the paper's ablations, which have no other table for them.
        known = own | {each.model for layout in elsewhere if self.layout.metrics for each in layout.methods}
        for name in MODELS:
            if self.layout.further_models and name in self.measured.models and name not in known:
                yield Method(title_of(name), name)
            shown = name in own or (self.layout.further_models and name not in known)
            if shown and name + RELEASED in self.measured.models:
                yield Method(title_of(name + RELEASED), name + RELEASED)
        for name in self.measured.models if self.layout.external else ():
            if name.startswith(EXTERNAL):
                yield Method(title_of(name), name)

    def model(self, name: str | None, column: str) -> tuple[str, Summary | None]:
        """Return the key and the number of a model in a column; None for the number if there is none."""
        key = self.measured.key(name, column) if name in self.measured.models else column
        return key, self.models.get((name, key))

    def remarks(self) -> list[str]:
        """Return the remarks on published cells, in the order of the table."""
        rows = [each.published_as for each in self.methods] + [self.layout.real_images]
        cells = (self.published.get((row, *column)) for row in rows for column in self.published_columns)
        return list(dict.fromkeys(each.remark for each in cells if each is not None and each.remark))

    def model_values(self, metric: str) -> dict[str, float]:
        """Return {model name: value} of the models that compare on a metric."""
        measured = {name: summary for (name, each), summary in self.models.items() if each == metric}
        return {name: summary.value for name, summary in measured.items() if summary is not None}

    def shown_models(self) -> dict[str, list[Evaluation]]:
        """Return the evaluations of the models that have a number in this table."""
        shown = dict.fromkeys(name for (name, _), summary in self.models.items() if summary is not None)
        return {name: self.measured.models[name] for name in shown}

    def behind(self, metric: str, value: float) -> list[str]:
        """Return the models that rank behind a value."""
        return [name for name, own in self.model_values(metric).items() if is_better(metric, value, own)]

    def best(self, metric: str) -> set[str]:
        """Return the models with the best printed value of those that have enough images, if there are several."""
        # Printed values, so that two equal cells are both bold or both not bold.
        values = {
            name: float(self.shown(metric, value))
            for name, value in self.model_values(metric).items()
            if not self.models[name, metric].too_few(metric)
        }
        if len(values) < 2 or not better(metric):
            return set()
        most = max(values.values()) if better(metric) == "up" else min(values.values())
        return {name for name, value in values.items() if value == most}

    def ahead(self, metric: str, value: float) -> list[str]:
        """Return the models that rank before a value."""
        return [name for name, own in self.model_values(metric).items() if is_better(metric, own, value)]

    def summaries_of(self, column: str) -> list[Summary]:
        """Return the numbers of this run in a column, models first."""
        models = (self.model(each.model, column)[1] for each in self.methods)
        controls = (self.controls.get((name, column)) for name in self.measured.controls)
        return [each for each in (*models, *controls) if each is not None]

    def summaries(self) -> list[Summary]:
        """Return all numbers of this run, models first."""
        return [each for each in (*self.models.values(), *self.controls.values()) if each is not None]

    def shown(self, metric: str, value: float) -> str:
        """Return a value with the decimals of its column: as in the papers, more if distances are small."""
        facts = facts_of(metric_of(metric))
        decimals = facts.decimals
        while facts.on_extractor_scale and decimals < 6 and self._loses_digits(metric, decimals):
            decimals += 1
        return f"{value:.{decimals}f}"

    def _loses_digits(self, metric: str, decimals: int) -> bool:
        """Return whether a model's value would show fewer than three digits."""
        return any(0 < abs(value) * 10**decimals < 100 for value in self.model_values(metric).values())


def title_of(name: str) -> str:
    """Return the title of a model or an external method, for its name in `Measured.models`."""
    if name.startswith(EXTERNAL):
        own = name.removeprefix(EXTERNAL)
        taken = own in _TITLES or own in {entry.title for entry in MODELS.values()}
        return f"{own} (own images)" if taken else own
    return MODELS[name.removesuffix(RELEASED)].title + (RELEASED if name.endswith(RELEASED) else "")


def better(metric: str) -> str:
    """Return the better direction of a metric: "up", "down", or "" if neither is better."""
    return facts_of(metric_of(metric)).better


def is_better(metric: str, first: float, second: float) -> bool:
    """Return whether `first` is strictly the better of two values of a metric."""
    return {"up": first > second, "down": first < second, "": False}[better(metric)]
