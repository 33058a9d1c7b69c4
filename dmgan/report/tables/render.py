"""The papers' tables: published numbers, numbers of this run, and control rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.models.registry import MODELS
from dmgan.options import CONTROLS
from dmgan.report.evaluations import RELEASED, metric_of, scorer_of
from dmgan.report.literature.published import Published
from dmgan.report.results import Measured, Summary, read_measured
from dmgan.report.tables.captions import controls_caption, own_caption, published_caption, table_caption
from dmgan.report.tables.latex import to_latex, to_latex_notes
from dmgan.report.tables.markdown import to_markdown, to_markdown_notes
from dmgan.report.tables.marks import Marks
from dmgan.report.tables.notes.table_notes import control_legend, legend, table_notes
from dmgan.report.tables.notes.uncertainty import published_spread
from dmgan.report.tables.paper_tables import CONTROL_TITLES, LAYOUTS, Method, Results, better, is_better
from dmgan.report.tables.structure import Cell, Column, Number, Row, Table
from dmgan.report.tables.tidy import control_rows, method_rows, why_control_missing, why_missing
from dmgan.storage import files

CONTROL_GROUP = "Control rows"


class PaperTable(NamedTuple):
    """One table of one paper, as a whole and in the parts that fit the column of a journal."""

    results: Results
    whole: Table  # published numbers, numbers of this run, control rows
    own: Table  # numbers of this run
    published: Table | None  # None for a table that no paper has
    controls: Table


def write_tables(metrics: Sequence[Path], out: Path, check: bool = True) -> None:
    """Write every layout's table into the folder `out` from metrics.json files of one data set.

    NAME.{csv,md} hold the whole table and NAME.tex the numbers of this run; NAME-published.tex, NAME-controls.{csv,md,
    tex} and NAME-notes.{md,tex} the rest. Raise UserError if files are damaged, of two data sets, or measured in two
    ways; check=False: not if they were altered after they were written.
    """
    for each in paper_tables(read_measured(metrics, check)):
        name, controls = each.whole.name, control_rows(each.results)
        files.write_csv(out / f"{name}.csv", [*method_rows(each.results), *controls])
        files.write_text(out / f"{name}.md", to_markdown(each.whole))
        files.write_text(out / f"{name}.tex", to_latex(each.own))
        if each.published is not None:
            files.write_text(out / f"{each.published.name}.tex", to_latex(each.published))
        files.write_csv(out / f"{each.controls.name}.csv", controls)
        files.write_text(out / f"{each.controls.name}.md", to_markdown(each.controls))
        files.write_text(out / f"{each.controls.name}.tex", to_latex(each.controls))
        files.write_text(out / f"{name}-notes.md", to_markdown_notes(each.whole))
        files.write_text(out / f"{name}-notes.tex", to_latex_notes(each.whole))


def paper_tables(measured: Measured) -> list[PaperTable]:
    """Return every layout's table; raise UserError for a model that is not in the registry."""
    for name, runs in measured.models.items():
        if runs[0].kind == "model" and name.removesuffix(RELEASED) not in MODELS:
            raise UserError(f"{runs[0].file}: model {name!r} is unknown; known models are {', '.join(MODELS)}")
    return [paper_table(Results(layout, measured)) for layout in LAYOUTS]


def paper_table(results: Results) -> PaperTable:
    """Return one table, as a whole and in parts."""
    marks, layout = Marks(results), results.layout
    methods = sorted(results.methods, key=_order_of_groups(results))
    published, own = _published_columns(results), _own_columns(results, marks)
    rows_of_published = [Row(each.title, list(_published_cells(results, each.published_as, marks))) for each in methods]
    rows_of_own = [
        Row(each.title, list(_own_cells(results, each.model, marks)), group=_group(results, each)) for each in methods
    ]
    control_cells = {name: list(_control_cells(results, name, marks)) for name in CONTROLS}
    of_controls = [
        Row(
            CONTROL_TITLES[name], [*_published_control_cells(results, name, marks), *cells],
            control=True, group=CONTROL_GROUP,
        )
        for name, cells in control_cells.items()
    ]  # fmt: skip
    rows = [
        Row(right.label, [*left.cells, *right.cells], group=right.group)
        for left, right in zip(rows_of_published, rows_of_own, strict=True)
    ]
    if layout.real_images:
        rows_of_published.append(
            Row(CONTROL_TITLES["real"], list(_published_cells(results, layout.real_images, marks)))
        )
    notes = table_notes(results, marks)

    def table(suffix: str, caption: str, columns: list[Column], rows: list[Row]) -> Table:
        bare = Table(f"{layout.name}{suffix}", layout.number, caption, columns, rows, [], notes)
        return bare._replace(legend=legend(results, marks, bare))

    controls = [Row(row.label, row.cells[len(published) :], control=True) for row in of_controls]
    unmarked = [column._replace(marks=()) for column in own]  # the marks tell what controls show of the models
    return PaperTable(
        results,
        table("", table_caption(results), [*published, *own], [*rows, *of_controls]),
        table("", own_caption(results), own, rows_of_own),
        table("-published", published_caption(results), published, rows_of_published) if published else None,
        Table(
            f"{layout.name}-controls", layout.number, controls_caption(results), unmarked, controls,
            control_legend(results, marks, controls), notes, stub="Images",
        ),
    )  # fmt: skip


def _group(results: Results, method: Method) -> str:
    """Return the subheading of a method whose numbers were measured otherwise; "" for other methods."""
    runs = results.measured.models.get(method.model)
    otherwise = runs[0].otherwise(results.columns) if runs else ""
    return f"Measured otherwise: {otherwise}" if otherwise else ""


def _order_of_groups(results: Results):
    """Return a key that sorts methods by subheading, those without one first."""
    groups = list(dict.fromkeys(["", *(_group(results, each) for each in results.methods)]))
    return lambda method: groups.index(_group(results, method))


def _published_columns(results: Results) -> list[Column]:
    return [
        Column(f"{dataset} (published)", metric, better(metric), "", published=True)
        for dataset, metric in results.published_columns
    ]


def _own_columns(results: Results, marks: Marks) -> list[Column]:
    measured = results.measured
    beside = f"; {measured.not_published}" if results.published_columns and measured.not_published else ""
    group = f"{measured.dataset} (this run{beside})"
    return [
        Column(group, metric_of(metric), better(metric), scorer_of(metric), marks.of_column(metric))
        for metric in results.columns
    ]


def _published_cells(results: Results, method: str, marks: Marks) -> Iterator[Cell]:
    for dataset, metric in results.published_columns:
        found = results.published.get((method, dataset, metric))
        if found is None or not found.value:
            yield Cell("-", missing=True)
            continue
        rivals = [
            float(each.value)
            for (other, *column), each in results.published.items()
            if column == [dataset, metric] and each.value and other not in (method, results.layout.real_images)
        ]
        ranked = method != results.layout.real_images and metric not in results.layout.unranked
        best = ranked and _is_best(metric, float(found.value), rivals)
        number = _published_number(found)
        yield Cell(number.text, best, tuple(marks.of_published(found)), number)


def _published_number(found: Published) -> Number:
    spread = float(found.std) if found.std else None
    over = published_spread(found.metric) if found.std else ""
    return Number(found.value, float(found.value), found.std, spread, over)


def _published_control_cells(results: Results, control: str, marks: Marks) -> Iterator[Cell]:
    """Return the paper's row of real images, if it has one; papers have no other controls."""
    if control == "real" and results.layout.real_images:
        return _published_cells(results, results.layout.real_images, marks)
    return (Cell("-", missing=True) for _ in results.published_columns)


def _own_cells(results: Results, model: str | None, marks: Marks) -> Iterator[Cell]:
    for column in results.columns:
        metric, summary = results.model(model, column)
        if summary is None:
            yield Cell(why_missing(results, model, column), missing=True)
        else:
            number = _number(results, metric, summary)
            yield Cell(number.text, model in results.best(metric), tuple(marks.of_model(metric, summary)), number)


def _control_cells(results: Results, control: str, marks: Marks) -> Iterator[Cell]:
    for metric in results.columns:
        summary = results.controls.get((control, metric))
        if summary is None:
            yield Cell(why_control_missing(results, control, metric), missing=True)
        else:
            number = _number(results, metric, summary)
            yield Cell(number.text, marks=tuple(marks.of_control(metric, summary)), number=number)


def _is_best(metric: str, value: float, rivals: Sequence[float]) -> bool:
    return bool(rivals) and bool(better(metric)) and not any(is_better(metric, rival, value) for rival in rivals)


def _number(results: Results, metric: str, summary: Summary) -> Number:
    interval, over = summary.clustered(metric)
    return Number(
        digits=results.shown(metric, summary.value),
        value=summary.value,
        spread_digits=results.shown(metric, summary.spread),
        spread=summary.spread,
        spread_over=summary.spread_over,
        interval_digits=None if interval is None else tuple(results.shown(metric, end) for end in interval),
        interval=interval,
        interval_over=over,
        num_images=summary.num_images,
        files=summary.files,
        too_few=summary.too_few(metric),
    )
