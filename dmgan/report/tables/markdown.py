"""A table as GitHub Markdown."""

import re
from collections.abc import Sequence
from itertools import groupby

from dmgan.report.tables.structure import Cell, Column, Note, Table

# What Markdown would read as a link, an emphasis, code, a column or a tag.
_SPECIAL = re.compile(r"[\\`*|]|<(?=[A-Za-z/!?])|(?<=\])\(")


def to_markdown(table: Table) -> str:
    """Return caption, table and the lines under it, with columns aligned for a terminal."""
    grid = [[table.stub, *(_header(column) for column in table.columns)]]
    for group, rows in table.groups():
        if group:
            grid.append([f"*{escape(group)}*", *[""] * len(table.columns)])
        for row in rows:
            label = f"*{escape(row.label)}*" if row.control else escape(row.label)
            grid.append([label, *(_cell(cell) for cell in row.cells)])
    widths = [max(3, *(len(line[i]) for line in grid)) for i in range(len(grid[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_row(line, widths) for line in (grid[0], rule, *grid[1:])]
    under = ["", *map(_note, table.legend)] if table.legend else []
    return "\n".join([f"**{escape(table.number)}.** {escape(table.caption)}", "", *lines, *under]) + "\n"


def to_markdown_notes(table: Table) -> str:
    """Return all notes on a table, by topic."""
    lines = [f"**{escape(table.number)}, notes.** {escape(table.caption)}"]
    for topic, notes in groupby(table.notes, key=lambda note: note.topic):
        lines += ["", f"### {escape(topic)}", "", *map(_note, notes)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return plain text whose characters mean nothing in Markdown."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _header(column: Column) -> str:
    marks = "".join(f" {_mark(mark)}" for mark in column.marks)
    scorer = f", {escape(column.scorer)}" if column.scorer else ""
    return f"{escape(column.title)}{marks}, {escape(column.group)}{scorer}"


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (text.rjust(width) for text, width in zip(texts[1:], widths[1:], strict=True))
    return "| " + " | ".join([texts[0].ljust(widths[0]), *numbers]) + " |"


def _cell(cell: Cell) -> str:
    text = f"**{escape(cell.text)}**" if cell.bold else escape(cell.text)
    return " ".join([text, *(_mark(mark) for mark in cell.marks)])


def _note(note: Note) -> str:
    return f"- {_mark(note.mark)} {escape(note.text)}" if note.mark else f"- {escape(note.text)}"


def _mark(mark: str) -> str:
    return f"({mark})" if mark.isalpha() else mark
