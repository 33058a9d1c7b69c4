r"""A table as LaTeX that a paper can \input: booktabs, siunitx and threeparttable, as wide as a column of two.

Columns that do not fit side by side stand in panels under one another, and rows that do not fit on a page in a further
float. Nothing is scaled down. Numbers are printed with their "±"; intervals are printed only where there is no "±".
"""

import textwrap
from collections.abc import Sequence
from itertools import groupby, zip_longest
from typing import NamedTuple

from dmgan.report.tables.latex_layout import (
    CHARACTER,
    COLUMN,
    LABEL,
    MISSING,
    SEPARATION,
    TEXT,
    cell_width,
    floats_of,
    is_decimal,
    is_spanned,
    is_text,
    marks_of_heading,
    marks_width,
    panels_of,
    width_of,
    wrapped,
)
from dmgan.report.tables.structure import Cell, Note, Row, Table

_UNBROKEN = 24  # characters after which a word may be broken
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}", "¶": r"\P{}", "‖": r"$\parallel$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': r"{\char34}", "−": r"$-$", "[": "{[}", "]": "{]}",
    "–": "--", "—": "---", "…": r"\dots{}", "\xa0": "~", "’": "'", "‘": "`", "“": "``", "”": "''",
}  # fmt: skip
_LAST_LATIN = "ſ"  # letters up to here are in pdflatex's fonts


def to_latex(table: Table) -> str:
    """Return `table` floats of the rows and columns that have a number."""
    rows = [row for row in table.rows if any(cell.number for cell in row.cells)]
    shown = [at for at in range(len(table.columns)) if not rows or any(not row.cells[at].missing for row in rows)]
    columns = [table.columns[at] for at in shown]
    rows = [row._replace(cells=[row.cells[at] for at in shown]) for row in rows]
    table = table._replace(columns=columns, rows=rows)
    panels = panels_of(table)
    floats = floats_of(table, panels)
    lines = [
        f"% {_ascii(table.number)}: \\input this file in a document of one or of two columns, with",
        r"% \usepackage{booktabs,siunitx,threeparttable}  % siunitx 3",
    ]
    for number, (rows_of_float, panels_of_float) in enumerate(floats):
        lines += _float(table, panels_of_float, rows_of_float, number)
    return "\n".join(lines) + "\n"


def to_latex_notes(table: Table) -> str:
    r"""Return all notes on a table as a `description` list, which needs no package."""
    lines = [f"% Notes on {_ascii(table.number)}, for an appendix.", r"\begin{description}"]
    for topic, notes in groupby(table.notes, key=lambda note: note.topic):
        lines.append(rf"  \item[{latex(topic)}] \leavevmode")
        lines += [f"    {_superscript(note.mark)}{latex(note.text)}\\par" for note in notes]
    empty = [] if table.notes else [r"  \item[Notes] none"]
    return "\n".join([*lines, *empty, r"\end{description}"]) + "\n"


def _superscript(mark: str) -> str:
    return rf"\textsuperscript{{{latex(mark)}}}~" if mark else ""


def latex(text: str) -> str:
    """Return plain text with LaTeX's special characters, and the symbols of tables, replaced by commands.

    A character that pdflatex's fonts lack is replaced by its number, such as (U+4E2D).
    """
    return "".join(map(_character, text))


def _character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    return character if character <= _LAST_LATIN else f"(U+{ord(character):04X})"


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()


class _Panel(NamedTuple):
    """Columns that stand side by side, in a tabular of `places` columns; spanned: its only column extends over all."""

    columns: Sequence[int]
    places: int
    spanned: bool

    def line(self, label: str, cells: Sequence[str]) -> str:
        """Return a line of the tabular; places that the panel does not use stay empty."""
        if self.spanned:
            cells = [rf"\multicolumn{{{self.places}}}{{r@{{}}}}{{{cells[0]}}}"]
        else:
            cells = [*cells, *["{}"] * (self.places - len(cells))]
        return "    " + " & ".join([label, *cells]) + r" \\"


def _float(table: Table, panels: Sequence[Sequence[int]], rows: Sequence[Row], number: int) -> list[str]:
    """Return the lines of one float; all panels are one tabular, so that caption and notes have its width."""
    places = list(zip_longest(*panels))
    formats = [_format([row.cells[at] for row in rows for at in place if at is not None]) for place in places]
    wide = any(width_of(row.label) > LABEL for row in rows)
    label = rf"p{{{LABEL:g}pt}}" if wide else "l"
    texts = [at for at in range(len(table.columns)) if is_text(row.cells[at] for row in table.rows)]
    body = []
    for columns in panels:
        panel = _Panel(columns, len(places), is_spanned(columns, texts) and len(places) > 1)
        body += [r"    \midrule\addlinespace"] if body else [r"    \toprule"]
        body += _header(table, panel)
        body.append(r"    \midrule")
        body += _body(rows, panel, wide)
    again = rf" (Table~\ref{{tab:{table.name}}} continued, with its notes.)" if number else ""
    return [
        r"\begin{table}[tbp]",
        r"  \centering\footnotesize",
        rf"  \setlength{{\tabcolsep}}{{{SEPARATION:g}pt}}%",
        r"  \sisetup{separate-uncertainty=true, table-align-uncertainty=false}%",
        r"  \sisetup{reset-text-series=false, text-series-to-math=true}%",  # so that \bfseries reaches the numbers
        r"  \begin{threeparttable}",
        rf"  \caption{{{latex(table.caption)}{again}}}",
        rf"  \label{{tab:{table.name}{f'-{number + 1}' if number else ''}}}",
        rf"  \begin{{tabular}}{{@{{}}{label}{''.join(formats)}@{{}}}}",
        *body,
        r"    \bottomrule",
        r"  \end{tabular}",
        *([] if number else _legend(table)),
        r"  \end{threeparttable}",
        r"\end{table}",
    ]


def _format(cells: Sequence[Cell]) -> str:
    """Return the type of a column: S with the digits of its numbers, or r if they are texts or have intervals."""
    numbers = [cell.number for cell in cells if cell.number is not None and is_decimal(cell.number)]
    if not numbers:
        return "r"
    whole, decimals = (max(len(each) for each in parts) for parts in zip(*(_parts(each.digits) for each in numbers)))
    spreads = [_parts(each.spread_digits) for each in numbers if each.spread_digits]
    sign = "-" if any(each.digits.startswith("-") for each in numbers) else ""
    uncertainty = ""
    if spreads:
        before = max(0 if part == "0" else len(part) for part, _ in spreads)
        uncertainty = f"({before + max(len(part) for _, part in spreads)})"
    marks = max((cell.marks for cell in cells if cell.number is not None), key=marks_width)
    room = rf", table-space-text-post={{\textsuperscript{{{latex(''.join(marks))}}}}}" if marks else ""
    return f"S[table-format={sign}{whole}.{decimals}{uncertainty}{room}]"


def _parts(digits: str) -> tuple[str, str]:
    """Return the digits before and after the decimal point."""
    whole, _, decimals = digits.lstrip("+-").partition(".")
    return whole, decimals


def _header(table: Table, panel: _Panel) -> list[str]:
    """Return the heading of a panel: data sets with rules if there are several, metrics, and scorers."""
    columns, lines = [table.columns[at] for at in panel.columns], []
    of_headings = [marks_of_heading(table.columns[at], [row.cells[at] for row in table.rows]) for at in panel.columns]
    if len({column.group for column in table.columns}) > 1:
        groups, rules, start = [], [], 2
        for group, members in groupby(columns, key=lambda column: column.group):
            width = len(list(members))
            groups.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
            start += width
        empty = ["{}"] * (panel.places - start + 2)
        lines += ["    " + " & ".join(["", *groups, *empty]) + r" \\", "    " + " ".join(rules)]
    titles = [_stacked(column.title) + _tnote(marks) for column, marks in zip(columns, of_headings)]
    lines.append(panel.line(latex(table.stub), [f"{{{title}}}" for title in titles]))
    if any(column.scorer for column in columns):
        lines.append(panel.line("", [rf"{{\scriptsize {_stacked(column.scorer)}}}" for column in columns]))
    return lines


def _stacked(text: str) -> str:
    """Return a heading, in several lines if it is long."""
    lines = [latex(line) for line in wrapped(text)]
    return lines[0] if len(lines) == 1 else r"\shortstack{" + r"\\".join(lines) + "}" if lines else ""


def _body(rows: Sequence[Row], panel: _Panel, wide: bool) -> list[str]:
    """Return the lines of rows in a panel, with subheadings; wide: labels are broken into lines."""
    lines = []
    for group, members in groupby(rows, key=lambda row: row.group):
        if group:
            lines += [r"    \addlinespace"] if lines else []
            for part in textwrap.wrap(group, int((COLUMN - 20) / CHARACTER)):
                lines.append(rf"    \multicolumn{{{panel.places + 1}}}{{@{{}}l@{{}}}}{{\itshape {latex(part)}}} \\")
        for row in members:
            label = f"\\raggedright {latex(_breakable(row.label))}" if wide else latex(row.label)
            label = label.replace(_BREAK, r"\hspace{0pt}")
            lines.append(panel.line(label, [_cell(row.cells[at]) for at in panel.columns]))
    if not rows:
        lines.append(rf"    \multicolumn{{{panel.places + 1}}}{{@{{}}l@{{}}}}{{No number to show.}} \\")
    return lines


_BREAK = "\x1f"  # stands for a place where a long word may be broken; no name holds control characters


def _breakable(label: str) -> str:
    words = (
        _BREAK.join(word[start : start + _UNBROKEN // 2] for start in range(0, len(word), _UNBROKEN // 2))
        if len(word) > _UNBROKEN
        else word
        for word in label.split(" ")
    )
    return " ".join(words)


def _cell(cell: Cell) -> str:
    marks, number = _tnote(cell.marks), cell.number
    if number is not None and is_decimal(number):
        digits = f"{number.digits} +- {number.spread_digits}" if number.spread_digits else number.digits
        bold = r"\bfseries " if cell.bold else ""
        return f"{bold}{digits} {{{marks}}}" if marks else f"{bold}{digits}"
    text = latex(MISSING if cell.missing else cell.text)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    if cell_width(cell) > TEXT:
        return rf"\parbox[t]{{{TEXT:g}pt}}{{\raggedright {text}{marks}}}"
    return f"{{{text}{marks}}}"


def _tnote(marks: Sequence[str]) -> str:
    """Return the marks of a cell as one superscript, because several of threeparttable would overlap."""
    return rf"\tnote{{{latex(''.join(marks))}}}" if marks else ""


def _legend(table: Table) -> list[str]:
    """Return the lines under a table, in the order of the structure."""
    notes = [note for note in table.legend if not note.on_screen]
    if any(cell.missing for row in table.rows for cell in row.cells):
        notes.append(Note("", f"{MISSING}: not measured, not defined or not published."))
    if not notes:
        return []
    items = [rf"    \item[{latex(note.mark)}] {latex(note.text)}" for note in notes]
    return [r"  \begin{tablenotes}[flushleft]\scriptsize", *items, r"  \end{tablenotes}"]
