"""Tables of the page, from the structures that Markdown and LaTeX are written from."""

from collections.abc import Iterable

from dmgan.report.page.content import Cell, Head, Row, Table
from dmgan.report.page.sources import Sources
from dmgan.report.tables import structure


def page_table(table: structure.Table, sources: Sources, rows: Iterable[structure.Row] | None = None) -> Table:
    """Return a table of the page, in which every number of this run leads to its source.

    rows: those to show; default: all.
    """
    return Table(
        name=table.name,
        title=table.number,
        caption=table.caption,
        corner=table.stub,
        heads=tuple(Head(each.title, each.scorer, each.group, tuple(each.marks)) for each in table.columns),
        rows=tuple(_row(row, table.columns, sources) for row in (table.rows if rows is None else rows)),
        legend=tuple((note.mark, note.text) for note in table.legend if not note.text.startswith("Further notes")),
        notes=tuple((note.mark, note.text) for note in table.notes),
    )


def _row(row: structure.Row, columns: list[structure.Column], sources: Sources) -> Row:
    cells = (_cell(cell, column, sources) for cell, column in zip(row.cells, columns, strict=True))
    return Row(row.label, tuple(cells), row.control, row.group)


def _cell(cell: structure.Cell, column: structure.Column, sources: Sources) -> Cell:
    marks, number = tuple(cell.marks), cell.number
    if number is None:
        return Cell(cell.text, "", cell.bold, marks, missing=True)
    if not number.files:
        return Cell(number.with_spread, number.interval_text, cell.bold, marks)
    source = sources.of_files(f"{column.metric}({column.scorer})", number.files)
    return Cell(number.with_spread, number.interval_text, cell.bold, marks, source.anchor, altered=source.altered)
