"""LaTeX and Markdown of the tables are well-formed."""

import re

from dmgan.options import CONTROLS
from dmgan.report.tables.markup import latex
from dmgan.report.tables.paper_tables import LAYOUTS
from dmgan.report.tables.render import write_tables
from tests.report.made_metrics import REAL, metrics


def test_latex_is_well_formed(write_metrics, tmp_path):
    controls = [write_metrics(name, None, "control", metrics=metrics(REAL)) for name in CONTROLS]
    write_tables([write_metrics("dmgan", 0), write_metrics("dmgan", 1), write_metrics("attngan"), *controls], tmp_path)
    for layout in LAYOUTS:
        text = (tmp_path / f"{layout.name}.tex").read_text()
        assert text.isascii()  # any engine and any input encoding can read it
        _check_latex(text)


def _check_latex(text: str) -> None:
    """Raise if braces, dollars or environments are unbalanced, or a line of the table lacks a column."""
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("%"))
    plain = re.sub(r"\\[{}$&%#_]", "", text)
    depth = 0
    for character in plain:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0 and plain.count("$") % 2 == 0
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    (columns,) = re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", text)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) > 5
    for row in rows:
        spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", row))
        assert row.replace(r"\&", "").count("&") + 1 + spanned == len(columns)
    for command in ("toprule", "midrule", "bottomrule", "caption", "label"):
        assert "\\" + command in text


def test_latex_escapes_special_characters():
    assert latex("a_b & 5 % ± ×") == r"a\_b \& 5 \% $\pm$ $\times$"


def test_markdown_lines_are_aligned(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan")], tmp_path)
    for layout in LAYOUTS:
        lines = [line for line in (tmp_path / f"{layout.name}.md").read_text().splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
