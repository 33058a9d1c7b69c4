"""A table as Markdown and as LaTeX (booktabs)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

_ARROWS = {"up": " ↑", "down": " ↓", "": ""}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}", "¶": r"\P{}", "<": r"$<$", ">": r"$>$",
    "−": r"$-$",
}  # fmt: skip


class Column(NamedTuple):
    """A column of numbers: one metric on one data set."""

    group: str  # data set and where the numbers come from
    metric: str
    better: str  # "up", "down", or "" if the metric does not rank
    scorer: str  # feature extractor or scorer of this run; "" for published numbers
    marks: tuple[str, ...] = ()  # marks of notes on the whole column

    @property
    def title(self) -> str:
        """Metric with the arrow of the better direction."""
        return f"{self.metric}{_ARROWS[self.better]}"


@dataclass
class Cell:
    """Text of a table cell: a number, or why the number is missing."""

    text: str  # "4.75 ± 0.07", "not run", "-"
    bold: bool = False
    marks: tuple[str, ...] = ()


class Row(NamedTuple):
    """A method or a control."""

    label: str
    cells: list[Cell]
    control: bool = False


class Note(NamedTuple):
    """A note under the table; `mark` is printed in the cells that the note explains, "" for a general note."""

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
    """Return caption, table and notes as GitHub Markdown, with columns aligned for a terminal."""
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
    return f"{column.title}{marks}, {column.group}" + (f", {column.scorer}" if column.scorer else "")


def _markdown_row(texts: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (text.rjust(width) for text, width in zip(texts[1:], widths[1:], strict=True))
    return "| " + " | ".join([texts[0].ljust(widths[0]), *numbers]) + " |"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.text
    return " ".join([text, *(_markdown_mark(mark) for mark in cell.marks)])


def _markdown_mark(mark: str) -> str:
    return f"({mark})" if mark.isalpha() else mark


_WIDEST = 9  # largest number of number columns that fits the page
_LONGEST = 120  # largest number of characters of a line in footnote size that fits the page


def to_latex(table: Table, label: str) -> str:
    r"""Return a `table` float, which needs \usepackage{booktabs}; a wide table extends equally into both margins.

    A table that is wider than the page is scaled down, which also needs \usepackage{graphicx}.
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
    """Return the characters of a line in which every column is as wide as its widest cell."""
    cells = [[row.label, *(cell.text for cell in row.cells)] for row in table.rows]
    return sum(max(map(len, column)) for column in zip(*cells, strict=True))


def _latex_header(columns: Sequence[Column]) -> list[str]:
    """Return the header lines: data sets over their columns with rules, then metrics, then scorers if any."""
    groups, rules, start = [""], [], 2
    for group, members in groupby(columns, key=lambda column: column.group):
        width = len(list(members))
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    lines = [_latex_row(groups), "    " + " ".join(rules)]
    titles = (latex(column.title) + "".join(_latex_mark(mark) for mark in column.marks) for column in columns)
    lines.append(_latex_row(["Method", *titles]))
    if any(column.scorer for column in columns):
        scorers = [rf"\scriptsize {latex(column.scorer)}" if column.scorer else "" for column in columns]
        lines.append(_latex_row(["", *scorers]))
    return lines


def _latex_row(cells: Sequence[str]) -> str:
    return "    " + " & ".join(cells) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{latex(cell.text)}}}" if cell.bold else latex(cell.text)
    return text + "".join(_latex_mark(mark) for mark in cell.marks)


def _latex_mark(mark: str) -> str:
    return rf"\textsuperscript{{{latex(mark)}}}" if mark else ""


def latex(text: str) -> str:
    """Return plain text with LaTeX's special characters, and the symbols of tables, replaced by commands."""
    return "".join(_LATEX.get(character, character) for character in text)
