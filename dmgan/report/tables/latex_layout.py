"""Widths and heights of a LaTeX table: which columns stand side by side, and which rows share a page."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from dmgan.report.tables.structure import Cell, Column, Number, Row, Table

COLUMN = 234.0  # pt; a column of a two-column page, such as CVPR's; a page of one column is wider
LABEL = 84.0  # pt; longer labels of rows are broken into lines
TEXT = 136.0  # pt; longer texts of cells are broken into lines
SEPARATION = 2.5  # pt on both sides of a column
CHARACTER = 4.3  # pt, about, of a small letter or a digit
MISSING = "--"
_PAGE = 52  # lines of 9.5 pt on a page
_HEADING = 4  # lines of the heading of a panel
_HEADING_WIDTH = 13  # characters of a line of the name of a metric or a scorer


def panels_of(table: Table) -> list[list[int]]:
    """Return the columns, dealt to as few panels as fit the width.

    The panels are one tabular, in which a place is as wide as the widest column that stands there in any panel.
    """
    widths = [_column_width(table, place) for place in range(len(table.columns))]
    texts = [place for place in range(len(table.columns)) if is_text(row.cells[place] for row in table.rows)]
    left = COLUMN - min(LABEL, max([width_of(row.label) for row in table.rows], default=0.0))

    def fit(panels: Sequence[Sequence[int]]) -> bool:
        beside = [panel for panel in panels if not is_spanned(panel, texts)]
        places = zip_longest(*([widths[at] for at in panel] for panel in beside), fillvalue=0.0)
        return sum(map(max, places)) <= left

    dealt = [_dealt(len(widths), most, fit) for most in range(1, len(widths) + 1)]
    return min((panels for panels in dealt if panels), key=len, default=[[]])


def is_spanned(panel: Sequence[int], texts: Sequence[int]) -> bool:
    """Return whether the only column of a panel may extend over the places of other panels; texts: columns of texts."""
    return len(panel) == 1 and panel[0] in texts


def _dealt(count: int, most: int, fit: Callable[[Sequence[Sequence[int]]], bool]) -> list[list[int]]:
    """Return `count` columns dealt to panels of at most `most` columns that fit; [] if they do not fit."""
    panels: list[list[int]] = []
    for place in range(count):
        longer = [*panels[:-1], [*panels[-1], place]] if panels else []
        if panels and len(panels[-1]) < most and fit(longer):
            panels = longer
        else:
            panels.append([place])
            if most > 1 and not fit(panels):
                return []
    return panels


def floats_of(table: Table, panels: Sequence[Sequence[int]]) -> list[tuple[list[Row], list[Sequence[int]]]]:
    """Return the rows and the panels of every float, so that a float fits on a page; rows stay together if they can."""
    notes = sum(math.ceil(width_of(note.text) / COLUMN) for note in table.legend if not note.on_screen)
    room = _PAGE - 1.4 * math.ceil(1.4 * width_of(table.caption) / COLUMN) - notes
    parts: list[list[Row]] = [[]]
    for row in table.rows:
        if parts[-1] and _lines([*parts[-1], row]) > room:
            parts.append([])
        parts[-1].append(row)
    found = []
    for part in parts:
        together = max(1, int(room // _lines(part)))
        found += [(part, list(panels[start : start + together])) for start in range(0, len(panels), together)]
    return found


def _lines(rows: Sequence[Row]) -> int:
    """Return the lines of a panel of these rows."""
    lines = sum(
        max(math.ceil(width_of(row.label) / LABEL), *(math.ceil(cell_width(cell) / TEXT) for cell in row.cells))
        for row in rows
    )
    return _HEADING + lines + 2 * len({row.group for row in rows if row.group})


def _column_width(table: Table, place: int) -> float:
    """Return the width of a column in points, about."""
    cells = [min(cell_width(row.cells[place]), TEXT) for row in table.rows]
    column = table.columns[place]
    marks = marks_width(marks_of_heading(column, [row.cells[place] for row in table.rows]))
    heading = [*(width_of(line) + marks for line in wrapped(column.title)), *map(width_of, wrapped(column.scorer))]
    return max([*cells, *heading]) + 2 * SEPARATION


def cell_width(cell: Cell) -> float:
    number = cell.number
    text = MISSING if cell.missing else cell.text
    if number is not None:
        text = number.with_spread if is_decimal(number) else number.text
    return width_of(text) * (1.15 if cell.bold else 1.0) + marks_width(cell.marks)


def marks_width(marks: Sequence[str]) -> float:
    return 4.8 * sum(map(len, marks))


def width_of(text: str) -> float:
    """Return the width of a text in points, about: Computer Modern of 8 pt."""
    return sum(6.0 if each.isupper() or each in "±−↑↓" else 2.9 if each in " .,[]()" else 4.3 for each in text)


def is_decimal(number: Number) -> bool:
    """Return whether a number is aligned at its point: with "±", or without "±" and interval."""
    return bool(number.spread_digits) or number.interval_digits is None


def is_text(cells: Iterable[Cell]) -> bool:
    """Return whether a column holds texts, or numbers with intervals, so that its numbers are not aligned."""
    return not any(cell.number is not None and is_decimal(cell.number) for cell in cells)


def marks_of_heading(column: Column, cells: Sequence[Cell]) -> list[str]:
    """Return the marks of a column that none of its cells has."""
    return [mark for mark in column.marks if not any(mark in cell.marks for cell in cells)]


def wrapped(text: str) -> list[str]:
    """Return the lines of a heading."""
    return textwrap.wrap(text.replace(" ↑", "\xa0↑").replace(" ↓", "\xa0↓"), _HEADING_WIDTH)
