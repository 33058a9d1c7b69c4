"""LaTeX, Markdown and HTML of the tables are well-formed."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dmgan.options import CONTROLS
from dmgan.report.results import read_measured
from dmgan.report.tables.comparisons import write_comparisons
from dmgan.report.tables.html import to_html
from dmgan.report.tables.latex import latex
from dmgan.report.tables.markdown import escape
from dmgan.report.tables.paper_tables import LAYOUTS
from dmgan.report.tables.render import paper_tables, write_tables
from dmgan.report.tables.structure import LEGEND_LINES
from tests.report.made_metrics import HELD_OUT, MODEL, REAL, metrics
from tests.written_evaluations import write_evaluation

OTHER_MODELS = ("attngan", "dmgan-m", "stackgan", "dfgan", "kvmgan", "mirrorgan", "dmgan-004-two-words", "mdsp")
INPUTS = {
    "data": {"captions.json": "ca", "images.bin": "5e"}, "sizes": "64x64 px", "captions": "captions of the test set",
}  # fmt: skip
NAME = "A diffusion model_with 50% & $more <i>steps</i> and aVeryLongWordWithoutAnySpaceInIt"


@pytest.fixture
def written(write_metrics) -> list[Path]:
    """metrics.json of models of one and two seeds, of control rows, and of an external method with few images."""
    scores = MODEL | {HELD_OUT: 40.0, "recall(species)": 0.4, "diversity(species)": 1.1, "SOA-C(frcnn-v2@0.5)": 31.0}
    subject = {"kind": "external", "name": NAME, "seed": None, "dataset": "synthbirds", "image_size": 64}
    few = metrics(scores, 50)
    return [
        *(write_metrics("dmgan", seed, metrics=metrics(scores)) for seed in range(2)),
        *(write_metrics(name, metrics=metrics(scores)) for name in OTHER_MODELS),
        *(write_metrics(name, None, "control", metrics=metrics(scores | REAL)) for name in CONTROLS),
        write_metrics("other", None, "external", metrics=few, subject=subject | {"num_images": 50}, inputs=INPUTS),
    ]


def test_latex_is_well_formed(written, tmp_path):
    write_tables(written, tmp_path)
    for layout in LAYOUTS:
        for part in ("", "-controls", *(["-published"] if layout.metrics else [])):
            text = (tmp_path / f"{layout.name}{part}.tex").read_text()
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
    for part in text.split(r"\begin{table}")[1:]:
        (types,) = re.findall(r"\\begin\{tabular\}\{@\{\}(.+)@\{\}\}", part)
        columns = re.sub(r"\[.*?\](?=[Sr]|$)|\{[\d.]+pt\}", "", types)
        assert set(columns) <= set("lprS")
        for row in re.findall(r"^ +(.+) \\\\$", part, re.M):
            spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", row))
            assert row.replace(r"\&", "").count("&") + 1 + spanned == len(columns), row
        for command in ("toprule", "midrule", "bottomrule", "caption", "label"):
            assert "\\" + command in part


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is missing")
@pytest.mark.parametrize("columns", ["twocolumn", pytest.param("onecolumn", marks=pytest.mark.slow)])
def test_papers_can_input_every_table(columns, written, tmp_path):
    """No table is wider than a column of 234 pt or taller than a page, and no reference is undefined."""
    write_tables(written, tmp_path)
    pairs = [("dmgan", 0.7, 0), ("attngan", 0.55, 0), ("dmgan", 0.72, 1), ("attngan", 0.5, 1), ("kvmgan", 0.5, 3)]
    write_comparisons([write_evaluation(tmp_path, name, share, seed) for name, share, seed in pairs], tmp_path, 0)
    tables = [path.stem for path in sorted(tmp_path.glob("*.tex")) if not path.stem.endswith("-notes")]
    notes = [path.stem for path in sorted(tmp_path.glob("*-notes.tex"))]
    lines = [
        rf"\documentclass[10pt,{columns}]{{article}}", r"\usepackage[textwidth=493pt,columnsep=25pt]{geometry}",
        r"\usepackage{booktabs,siunitx,threeparttable}", r"\begin{document}",
        *(rf"\input{{{name}}}\clearpage" for name in tables), r"\onecolumn\typeout{all tables}",
        *(rf"\input{{{name}}}" for name in notes), r"\end{document}",
    ]  # fmt: skip
    (tmp_path / "paper.tex").write_text("\n".join(lines))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert run.returncode == 0, run.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    of_tables = log[: log.index("all tables")]
    assert "Overfull" not in of_tables, of_tables[of_tables.index("Overfull") - 1500 :]
    assert "too large" not in log
    text = "".join((tmp_path / f"{name}.tex").read_text() for name in tables)
    labels = re.findall(r"\\label{(.+?)}", text)
    assert len(set(labels)) == len(labels) and set(re.findall(r"\\ref{(.+?)}", text)) <= set(labels)


def test_latex_escapes_special_characters():
    assert latex("a_b & 5 % ± × −1 ‖") == r"a\_b \& 5 \% $\pm$ $\times$ $-$1 $\parallel$"
    assert latex("été 中") == "été (U+4E2D)"


def test_markdown_lines_are_aligned(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan")], tmp_path)
    for layout in LAYOUTS:
        lines = [line for line in (tmp_path / f"{layout.name}.md").read_text().splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1


def test_markdown_escapes_what_it_would_read_as_markup():
    assert escape("<b>*x* `y` [a](b) p|q <0.001 a_b") == r"\<b>\*x\* \`y\` [a]\(b) p\|q <0.001 a_b"


def test_at_most_six_lines_stand_under_a_table(written):
    for each in paper_tables(read_measured(written)):
        for table in (each.whole, each.own, each.published, each.controls):
            assert table is None or len(table.legend) <= LEGEND_LINES == 6


class _Reader(HTMLParser):
    """Check that elements nest; collect the number of cells of every row, the scopes of headings, and all texts."""

    def __init__(self):
        super().__init__()
        self.opened, self.rows, self.texts, self.scopes = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.opened.append(tag)
        found = dict(attrs)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("th", "td"):
            self.rows[-1] += int(found.get("colspan", 1))
        if tag == "th":
            self.scopes.add(found["scope"])

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_html_is_an_accessible_table_whose_texts_are_escaped(written):
    (table,) = (each.whole for each in paper_tables(read_measured(written)) if each.whole.name == "table2")
    text, reader = to_html(table), _Reader()
    reader.feed(text)
    assert reader.opened == [] and text.count("<table") == text.count("<caption") == 1
    width = len(table.columns) + 1
    assert reader.rows[0] == width and reader.rows[1] == width - 1  # the heading "Method" spans two rows
    assert set(reader.rows[2:]) == {width} and reader.scopes == {"col", "colgroup", "row", "rowgroup"}
    assert NAME in reader.texts and "<i>" not in text and "Measured otherwise: 50 images" in reader.texts
    assert '<span class="value">20.00</span> <span class="spread">± 0.40</span>' in text
    numbers = [cell.number for row in table.rows for cell in row.cells if cell.number is not None]
    assert any(each.files and each.value == 20.0 and each.num_images == 2000 for each in numbers)


def test_numbers_have_a_true_minus_sign(write_metrics, tmp_path):
    below = metrics(MODEL | {"KID(species)": -0.012})
    below["KID(species)"]["spread"] = 0.001
    below["KID(species)"]["interval"] = below["KID(species)"]["bootstrap"]["interval"] = [-0.02, 0.001]
    write_tables([write_metrics("dmgan", metrics=below)], tmp_path)
    assert "−0.0120 ± 0.0010 [−0.0200, 0.0010]" in (tmp_path / "table2.md").read_text()
    assert "-0.0120 +- 0.0010" in (tmp_path / "table2.tex").read_text()  # siunitx prints a minus
