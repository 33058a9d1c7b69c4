"""All notes on a table, by topic, and the few lines under it."""

from collections.abc import Iterable, Iterator

from dmgan.report.tables.marks import MEANINGS, TOO_FEW, Marks
from dmgan.report.tables.notes.controls import control_notes
from dmgan.report.tables.notes.methods import method_notes, omitted_notes, published_notes
from dmgan.report.tables.notes.metrics import metric_notes
from dmgan.report.tables.notes.uncertainty import spread_line, too_few_notes, uncertainty_notes
from dmgan.report.tables.paper_tables import Results
from dmgan.report.tables.structure import LEGEND_LINES, Note, Row, Table

_BOLD = (
    "Bold: the best model of a column among numbers that compare. Paired comparisons test whether its lead is "
    "significant; ± does not."
)
_MOST_REMARKS = 3  # that stand under a table of published numbers


def table_notes(results: Results, marks: Marks) -> list[Note]:
    """Return all notes on a table."""
    return [
        *_under("Metrics", metric_notes(results)),
        *_under("Uncertainty", uncertainty_notes(results, marks)),
        *_under("Control rows", control_notes(results, marks)),
        *_under("Methods", [*method_notes(results), Note("", _BOLD)]),
        *_under("Published numbers", published_notes(results, marks)),
    ]


def _under(topic: str, notes: Iterable[Note]) -> Iterator[Note]:
    return (note._replace(topic=topic) for note in notes)


def legend(results: Results, marks: Marks, table: Table) -> list[Note]:
    """Return the lines under a table: of "±" and of the marks that its cells and columns have, and where more is."""
    used = _marks_of(table)
    numbers = [cell.number for row in table.rows for cell in row.cells if cell.number is not None]
    lines = []
    if any(each.files for each in numbers):
        lines.append(Note("", spread_line(marks)))
    if any(each.interval_digits for each in numbers):
        lines.append(Note("", "[ ]: 95 % intervals of this run.", on_screen=True))
    if explained := [f"{mark} {meaning}" for mark, meaning in MEANINGS.items() if mark in used and mark != TOO_FEW]:
        lines.append(Note("", f"{'; '.join(explained)}."))
    if TOO_FEW in used:
        lines += too_few_notes(results, table.rows)
    if any(cell.bold and cell.number.files for row in table.rows for cell in row.cells):
        lines.append(Note("", _BOLD))
    if len(lines) < LEGEND_LINES - 1:
        lines += omitted_notes(results)
    lines += _remark_lines(marks, used, room=LEGEND_LINES - 1 - len(lines))
    lines.append(Note("", f"Further notes: {results.layout.name}-notes.", on_screen=True))
    return lines


def _remark_lines(marks: Marks, used: set[str], room: int) -> list[Note]:
    """Return the line of the remarks on published cells; of many remarks where they are; nothing without room."""
    numbers = {marks.number(remark): remark for remark in marks.remarks if marks.number(remark) in used}
    if not numbers or room < 1:
        return []
    if len(numbers) > _MOST_REMARKS:
        return [Note("", "Numbers in brackets lead to remarks in the notes on this table.")]
    return [Note("", " ".join(f"{number} {remark}" for number, remark in numbers.items()))]


def _marks_of(table: Table) -> set[str]:
    cells = (mark for row in table.rows for cell in row.cells for mark in cell.marks)
    return {*cells, *(mark for column in table.columns for mark in column.marks)}


def control_legend(results: Results, marks: Marks, rows: list[Row]) -> list[Note]:
    """Return the lines under a table of control rows."""
    numbers = [cell.number for row in rows for cell in row.cells if cell.number is not None]
    few = any(TOO_FEW in cell.marks for row in rows for cell in row.cells)
    return [
        *([Note("", spread_line(marks)), Note("", "[ ]: 95 % intervals.", on_screen=True)] if numbers else []),
        *(too_few_notes(results, rows) if few else []),
        Note("", "Control rows are image sets whose rank is known beforehand: a sound metric ranks real images first "
             "and noise last."),
        Note("", f"Further notes: {results.layout.name}-notes.", on_screen=True),
    ]  # fmt: skip
