"""The report page of a data set, put together from its metrics.json files and the files beside them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dmgan.errors import UserError
from dmgan.report.citations import citation_keys
from dmgan.report.evaluations import RELEASED, Evaluation, read_evaluation
from dmgan.report.literature.published import PAPERS
from dmgan.report.page import claims, comparisons, failures, methods, reproducibility
from dmgan.report.page.content import Block, Code, Page, Paragraph, Section, Table
from dmgan.report.page.figures import drawn_figures
from dmgan.report.page.layouts import controls_layout, overview_layout, published_table
from dmgan.report.page.retrieval import retrieval_tables
from dmgan.report.page.run_facts import read_dataset, read_jobs, read_records
from dmgan.report.page.sources import Sources, evaluations_of
from dmgan.report.page.tables import page_table
from dmgan.report.results import Measured, read_measured
from dmgan.report.tables.paper_tables import CONTROL_TITLES, Results, title_of
from dmgan.report.tables.render import paper_table, paper_tables
from dmgan.report.tables.retrieval import retrieval_files
from dmgan.report.verify import Finding, verify
from dmgan.runtime.bibliography import bibtex


@dataclass(frozen=True)
class ReportInputs:
    """Files of a report page."""

    metrics: tuple[Path, ...]  # metrics.json of every run, method and control row
    results: Path  # folder of the data set's results, such as results/synthbirds
    out: Path  # folder of the page, from which its links start

    @property
    def root(self) -> Path:
        """The folder of all results."""
        return self.results.parent

    @property
    def data(self) -> Path:
        """The prepared data set."""
        return self.root / "data" / self.results.name


def build_page(inputs: ReportInputs) -> Page:
    """Return the report page; raise UserError if files are damaged or do not belong together."""
    if not inputs.results.is_dir():
        raise UserError(
            f"{inputs.results}: is not a folder; give the results of a data set, such as results/synthbirds"
        )
    measured = read_measured(inputs.metrics, check=False)  # the page marks what `verify` finds altered
    findings = list(verify(inputs.root, [part for part in (inputs.data, inputs.results) if part.is_dir()]))
    return _Builder(inputs, measured, findings).page()


class _Builder:
    """The sections of one page; the order in which they are built numbers the sources."""

    def __init__(self, inputs: ReportInputs, measured: Measured, findings: Sequence[Finding]):
        self.inputs, self.measured, self.findings = inputs, measured, findings
        self.models = [name for name, runs in measured.models.items() if runs[0].kind == "model"]
        self.retrievals = dict(self._retrievals())
        of_methods = [each for found in self.retrievals.values() for each in found.values()]
        self.sources = Sources([*evaluations_of(measured), *of_methods], findings, inputs.out)
        self.records = read_records(each for runs in measured.models.values() for each in runs)
        self.dataset = read_dataset(inputs.data)
        others = [path.name for path in (inputs.root / "data").glob("*") if path.is_dir()]
        self.jobs = read_jobs(inputs.root / "benchmarks", inputs.results.name, others)
        self.controls = paper_table(Results(controls_layout(), measured)).whole

    def page(self) -> Page:
        """Return all sections, with the sources of their numbers."""
        sections = tuple(Section(name, title, tuple(blocks)) for name, title, blocks in self._sections())
        names = [title_of(name) for name in self.measured.models]
        summary = f"{len(names)} models on {self.measured.dataset}: {', '.join(names)}."
        warnings = reproducibility.warnings(self.findings)
        return Page(
            f"Text-to-image GANs on {self.measured.dataset}", summary, tuple(each for each in sections if each.blocks),
            self.sources.all, "../../report.html", warnings,
        )  # fmt: skip

    def _sections(self) -> Iterator[tuple[str, str, Iterable[Block]]]:
        yield "results", "Results", self._results()
        yield "papers", "The papers' tables", self._papers()
        yield "figures", "Figures", self._figures("scene")
        yield "curves", "Training", self._figures("curves")
        yield "claims", "Claims", self._claims()
        yield "comparisons", "Paired comparisons", self._comparisons()
        yield "retrieval", "Retrieval", self._retrieval()
        yield "controls", "Controls", self._controls()
        yield "failures", "Failures", self._failures()
        yield "methods", "Methods", methods.methods(
            self.measured, self.records, self.dataset, self.jobs, self.sources
        )  # fmt: skip
        yield "reproducibility", "Reproducibility", self._reproducibility()
        yield "references", "References", self._references()

    def _results(self) -> Iterator[Block]:
        table = paper_table(Results(overview_layout(), self.measured)).whole
        real = [row for row in table.rows if row.control and row.label == CONTROL_TITLES["real"]]
        yield page_table(
            table,
            self.sources,
            [*(row._replace(group="") for row in real), *(row for row in table.rows if not row.control)],
        )
        published = published_table(self.measured)
        if published is not None:
            yield page_table(published, self.sources)

    def _papers(self) -> Iterator[Block]:
        for each in paper_tables(self.measured):
            layout = each.results.layout
            title = f"{PAPERS[layout.source]}, {layout.number}" if layout.metrics else layout.number
            yield page_table(each.whole._replace(number=title), self.sources)

    def _figures(self, group: str) -> Iterator[Block]:
        models = [name for name in self.models if not name.endswith(RELEASED)]
        yield from drawn_figures(self.inputs.results / "figures", group, self.measured.dataset, models)

    def _claims(self) -> Iterator[Block]:
        path = self.inputs.results / "tables" / "claims.csv"
        if path.exists():
            yield from claims.claims(path)

    def _comparisons(self) -> Iterator[Block]:
        path = self.inputs.results / "tables" / "comparisons.csv"
        if path.exists():
            yield from comparisons.comparisons(path, self.measured, self.sources)

    def _retrievals(self) -> Iterator[tuple[Path, dict[tuple[str, str], Evaluation]]]:
        """Yield every retrieval.csv with its evaluations by method and seed."""
        for path in sorted(self.inputs.results.glob("*/retrieval.csv")):
            files, _ = retrieval_files(path.parent)
            yield path, {key: read_evaluation(file, check=False) for key, file in files.items()}

    def _retrieval(self) -> Iterator[Table]:
        for path, found in self.retrievals.items():
            yield from retrieval_tables(path, self.sources, {key: each.file for key, each in found.items()})

    def _controls(self) -> Iterator[Block]:
        yield Paragraph(
            "Control rows are image sets whose rank is known: a metric that ranks noise, adversarial images or wrong "
            "captions before a model is no evidence for the model."
        )
        yield page_table(self.controls, self.sources)

    def _failures(self) -> Iterator[Block]:
        yield from failures.failures(
            self.measured, self.controls.notes, self.inputs.results, self.inputs.root / "logs"
        )  # fmt: skip
        yield from self._figures("failures")

    def _reproducibility(self) -> Iterator[Block]:
        yield from reproducibility.verification(self.findings)
        yield from reproducibility.statement(self.records, self.dataset, self.jobs)

    def _references(self) -> Iterator[Block]:
        yield Paragraph("What to cite: models that were run, metrics, networks and data set, as BibTeX.")
        yield Code(bibtex(citation_keys(evaluations_of(self.measured))))
