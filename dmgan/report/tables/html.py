"""A table as HTML: a fragment without style, for a page."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from dmgan.report.tables.structure import Cell, Column, Note, Row, Table


def to_html(table: Table) -> str:
    """Return a <figure> with <table>, <caption> and the lines under the table; all text is escaped.

    Classes: `group` (subheading), `control` (row), `published` (column), `spread`, `interval` and `best` (number),
    `missing` (words instead of a number), `mark`, `legend`.
    """
    lines = [
        f'<figure class="paper-table" id="{escape(table.name)}">',
        "<table>",
        f"<caption><b>{escape(table.number)}.</b> {escape(table.caption)}</caption>",
        "<thead>",
        *_header(table),
        "</thead>",
    ]
    for group, rows in table.groups():
        lines.append("<tbody>")
        if group:
            width = len(table.columns) + 1
            lines.append(f'<tr class="group"><th colspan="{width}" scope="rowgroup">{escape(group)}</th></tr>')
        lines += [_row(row, table.columns) for row in rows]
        lines.append("</tbody>")
    lines += ["</table>", *_legend(table.legend), "</figure>"]
    return "\n".join(lines) + "\n"


def _header(table: Table) -> Iterator[str]:
    """Yield two header rows: data sets over their columns, then metrics with their scorers."""
    groups = "".join(
        f'<th scope="colgroup" colspan="{len(list(members))}">{escape(group)}</th>'
        for group, members in groupby(table.columns, key=lambda column: column.group)
    )
    yield f'<tr><th scope="col" rowspan="2">{escape(table.stub)}</th>{groups}</tr>'
    yield f"<tr>{''.join(map(_column, table.columns))}</tr>"


def _column(column: Column) -> str:
    scorer = f' <span class="scorer">{escape(column.scorer)}</span>' if column.scorer else ""
    return f'<th scope="col"{_class(column)}>{escape(column.title)}{_marks(column.marks)}{scorer}</th>'


def _class(column: Column) -> str:
    return ' class="published"' if column.published else ""


def _row(row: Row, columns: Sequence[Column]) -> str:
    cells = "".join(_cell(cell, column) for cell, column in zip(row.cells, columns, strict=True))
    kind = ' class="control"' if row.control else ""
    return f'<tr{kind}><th scope="row">{escape(row.label)}</th>{cells}</tr>'


def _cell(cell: Cell, column: Column) -> str:
    number, marks = cell.number, _marks(cell.marks)
    if number is None:
        text = f'<span class="missing">{escape(cell.text)}</span>' if cell.missing else escape(cell.text)
        interval = ""
    else:
        value, _, spread = number.with_spread.partition(" ± ")
        text = f'<span class="value">{escape(value)}</span>'
        text += f' <span class="spread">± {escape(spread)}</span>' if spread else ""
        interval = f' <span class="interval">{escape(number.interval_text)}</span>' if number.interval_digits else ""
    text = f'<b class="best">{text}</b>' if cell.bold else text
    return f"<td{_class(column)}>{text}{marks}{interval}</td>"


def _marks(marks: Sequence[str]) -> str:
    return "".join(f'<sup class="mark">{escape(mark)}</sup>' for mark in marks)


def _legend(notes: Sequence[Note]) -> Iterator[str]:
    if notes:
        items = "".join(f"<li>{_marks([note.mark]) if note.mark else ''} {escape(note.text)}</li>" for note in notes)
        yield f'<figcaption><ul class="legend">{items}</ul></figcaption>'
