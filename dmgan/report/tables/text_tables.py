r"""Tables of sentences as Markdown and as LaTeX (longtable): cells wrap, and the table breaks over pages."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from dmgan.report.tables.latex import latex
from dmgan.report.tables.markdown import escape

# Symbols of arithmetic, which are in no table of numbers.
_SYMBOLS = {
    "≠": r"$\neq$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\rightarrow$", "²": r"\textsuperscript{2}", "√": r"$\surd$"
}  # fmt: skip
_GAPS = 0.02  # of the width of the text, between two columns


class TextColumn(NamedTuple):
    """A column of sentences."""

    heading: str
    share: float  # of the width of the table


class TextTable(NamedTuple):
    """A table of sentences, ready to be written."""

    title: str
    caption: str
    columns: tuple[TextColumn, ...]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def to_markdown(table: TextTable) -> str:
    """Return caption, table and notes as GitHub Markdown."""
    heading, *rows = [
        f"| {' | '.join(map(escape, line))} |" for line in ([each.heading for each in table.columns], *table.rows)
    ]
    rule = f"| {' | '.join(['---'] * len(table.columns))} |"
    notes = ["", *(f"- {escape(note)}" for note in table.notes)] if table.notes else []
    caption = f"**{escape(table.title)}.** {escape(table.caption)}"
    return "\n".join([caption, "", heading, rule, *rows, *notes]) + "\n"


def to_latex(table: TextTable, label: str) -> str:
    r"""Return a `longtable`, which needs \usepackage{array,booktabs,longtable}; notes follow the table."""
    space = 1 - _GAPS * (len(table.columns) - 1)
    total = sum(each.share for each in table.columns)
    widths = [
        rf">{{\raggedright\arraybackslash}}p{{{space * each.share / total:.3f}\textwidth}}" for each in table.columns
    ]
    heading = " & ".join(_escaped(each.heading) for each in table.columns)
    lines = [
        r"% Needs \usepackage{array,booktabs,longtable}.",
        rf"\begingroup\scriptsize\setlength{{\tabcolsep}}{{{_GAPS / 2}\textwidth}}",
        rf"\begin{{longtable}}{{@{{}}{''.join(widths)}@{{}}}}",
        rf"  \caption{{{_escaped(table.caption)}}}\label{{tab:{label}}} \\",
        r"  \toprule",
        rf"  {heading} \\",
        r"  \midrule \endfirsthead",
        rf"  \toprule {heading} \\ \midrule \endhead",
        r"  \bottomrule \endfoot",
        *(f"  {' & '.join(map(_escaped, row))} \\\\ \\addlinespace" for row in table.rows),
        r"\end{longtable}",
        *(rf"{_escaped(note)}\par" for note in table.notes),
        r"\endgroup",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return plain text as LaTeX, with quotation marks that open and close."""
    text = re.sub(r'"([^"]*)"', "“\\1”", text)
    return "".join(_SYMBOLS.get(character, latex(character)) for character in text)
