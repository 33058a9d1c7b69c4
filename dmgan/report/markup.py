"""A table as Markdown and as LaTeX (booktabs)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

_ARROWS = {"up": " ↑", "down": " ↓", "": ""}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}", "<": r"$<$", ">": r"$>$", "−": r"$-$",
}  # fmt: skip


class Column(NamedTuple):
    """A column of numbers: one metric on one data set."""

    group: str  # data set and where the numbers come from
    metric: str
    better: str  # "up", "down", or "" where neither is better
    judge: str  # of this run's column, "" for a published one
    marks: tuple[str, ...] = ()  # of notes that speak of the whole column

    @property
    def title(self) -> str:
        """Metric with the arrow of the better direction."""
        return f"{self.metric}{_ARROWS[self.better]}"


@dataclass
class Cell:
    """What a table shows of one number, or why there is none."""

    text: str  # "4.75 ± 0.07", "not run", "-"
    bold: bool = False
    marks: tuple[str, ...] = ()


class Row(NamedTuple):
    """A method or a control."""

    label: str
    cells: list[Cell]
    control: bool = False


class Note(NamedTuple):
    """A line under the table; `mark` is what a cell carries to point here, "" for a general line."""

    mark: str
    text: str


class Table(NamedTuple):
    """A table ready to be written."""

    number: str  # "Table 1"
    caption: str
    columns: list[Column]
    rows: list[Row]
    notes: list[Note]


def to_markdown(table: Table) -> str:
    """GitHub Markdown, aligned so that it also reads in a terminal: caption, table, notes as a list."""
    grid = [["Method", *(_markdown_header(column) for column in table.columns)]]
    for row in table.rows:
        label = f"*{row.label}*" if row.control else row.label
        grid.append([label, *(_markdown_cell(cell) for cell in row.cells)])
    grid = [[text.replace("|", r"\|") for text in line] for line in grid]
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_markdown_row(line, widths) for line in (grid[0], rule, *grid[1:])]
    notes = [f"- {_markdown_mark(note.mark)} {note.text}" if note.mark else f"- {note.text}" for note in table.notes]
    return "\n".join([f"**{table.number}.** {table.caption}", "", *lines, "", *notes]) + "\n"


def _markdown_header(column: Column) -> str:
    marks = "".join(f" {_markdown_mark(mark)}" for mark in column.marks)
    return f"{column.title}{marks}, {column.group}" + (f", {column.judge}" if column.judge else "")


def _markdown_row(texts: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (text.rjust(width) for text, width in zip(texts[1:], widths[1:], strict=True))
    return "| " + " | ".join([texts[0].ljust(widths[0]), *numbers]) + " |"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.text
    return " ".join([text, *(_markdown_mark(mark) for mark in cell.marks)])


def _markdown_mark(mark: str) -> str:
    return f"({mark})" if mark.isalpha() else mark


_WIDEST = 9  # columns of numbers that a page has room for
_LONGEST = 120  # characters of a line, footnote size, from margin to margin


def to_latex(table: Table, label: str) -> str:
    r"""A `table` float for any document with \usepackage{booktabs}; a wide one reaches evenly into both margins.

    One that no page has room for is made smaller, which needs \usepackage{graphicx} too.
    """
    small = len(table.columns) > _WIDEST or _characters(table) > _LONGEST
    lines = [
        rf"% Needs \usepackage{{{'booktabs,graphicx' if small else 'booktabs'}}}.",
        r"\begin{table}[tbp]",
        r"  \centering",
        rf"  \caption{{{latex(table.caption)}}}",
        rf"  \label{{tab:{label}}}",
        r"  \footnotesize",
        r"  \resizebox{\textwidth}{!}{%" if small else r"  \makebox[\textwidth][c]{%",
        rf"  \begin{{tabular}}{{@{{}}l{'r' * len(table.columns)}@{{}}}}",
        r"    \toprule",
        *_latex_header(table.columns),
        r"    \midrule",
    ]
    for control, rows in groupby(table.rows, key=lambda row: row.control):
        if control:
            lines.append(r"    \midrule")
        lines += [_latex_row([latex(row.label), *(_latex_cell(cell) for cell in row.cells)]) for row in rows]
    lines += [r"    \bottomrule", r"  \end{tabular}}", "", r"  \medskip", r"  \begin{minipage}{\textwidth}\raggedright"]
    lines += [f"    {_latex_mark(note.mark)}{latex(note.text)}\\par" for note in table.notes]
    lines += [r"  \end{minipage}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _characters(table: Table) -> int:
    """Of a line in which every column is as wide as its widest cell."""
    cells = [[row.label, *(cell.text for cell in row.cells)] for row in table.rows]
    return sum(max(map(len, column)) for column in zip(*cells, strict=True))


def _latex_header(columns: Sequence[Column]) -> list[str]:
    """Data sets over their columns, a rule under each, then metrics, then judges where there are any."""
    groups, rules, start = [""], [], 2
    for group, members in groupby(columns, key=lambda column: column.group):
        width = len(list(members))
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    lines = [_latex_row(groups), "    " + " ".join(rules)]
    titles = (latex(column.title) + "".join(_latex_mark(mark) for mark in column.marks) for column in columns)
    lines.append(_latex_row(["Method", *titles]))
    if any(column.judge for column in columns):
        judges = [rf"\scriptsize {latex(column.judge)}" if column.judge else "" for column in columns]
        lines.append(_latex_row(["", *judges]))
    return lines


def _latex_row(cells: Sequence[str]) -> str:
    return "    " + " & ".join(cells) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{latex(cell.text)}}}" if cell.bold else latex(cell.text)
    return text + "".join(_latex_mark(mark) for mark in cell.marks)


def _latex_mark(mark: str) -> str:
    return rf"\textsuperscript{{{latex(mark)}}}" if mark else ""


def latex(text: str) -> str:
    """Plain text with LaTeX's special characters, and the signs that tables use, as commands."""
    return "".join(_LATEX.get(character, character) for character in text)
