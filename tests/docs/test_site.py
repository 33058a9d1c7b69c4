"""The documentation site: links are rewritten, docstrings are shown as written, and the strict build passes."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from docs.plain_docstrings import escaped
from docs.site_pages import PAGES, on_page_markdown, packages, site_link
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("source", "link", "on_site"),
    [
        ("README.md", ("", "Data", "docs/data.md#cub"), "[Data](data.md#cub)"),
        ("README.md", ("!", "birds", "docs/figure3.png"), "![birds](figure3.png)"),
        ("docs/faq.md", ("", "Benchmarks", "../benchmarks/README.md"), "[Benchmarks](benchmarks.md)"),
        ("benchmarks/README.md", ("!", "plot", "results/damsm.png"), "![plot](benchmarks/results/damsm.png)"),
        ("benchmarks/README.md", ("", "numbers", "results/damsm.json"), "numbers"),
        ("README.md", ("", "LICENSE", "LICENSE"), "LICENSE"),
        ("docs/faq.md", ("", "below", "#limits"), "[below](#limits)"),
        ("docs/faq.md", ("", "site", "https://example.org/a.md"), "[site](https://example.org/a.md)"),
        ("docs/faq.md", ("", "gone", "nowhere.md"), "[gone](nowhere.md)"),  # the strict build fails on it
    ],
)
def test_links_are_rewritten_for_the_site(source, link, on_site):
    assert site_link(source, *link) == on_site


def test_intervals_stay_on_one_line():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="results.md"))
    assert on_page_markdown("| 7.06 [6.81, -7.31] | [a, b] |", page) == "| 7.06 [6.81,&nbsp;-7.31] | [a, b] |"


def test_docstrings_keep_what_markdown_would_eat():
    assert escaped("softmax of <q, k>, B * N & w_i") == r"softmax of &lt;q, k>, B \* N &amp; w\_i"


@pytest.mark.slow
def test_the_strict_build_has_every_page_and_asks_no_other_server(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert built.returncode == 0, built.stderr
    pages = {str(path.relative_to(tmp_path / "site")): path.read_text() for path in tmp_path.glob("site/**/*.html")}
    wanted = [*PAGES.values(), "data.md", "models.md", *(f"code/{name}.md" for name in packages())]
    assert {page.replace(".md", ".html") for page in wanted} <= set(pages)
    for name, page in pages.items():
        assert not re.search(
            r"<script[^>]*\ssrc=\"(https?:)?//|<link[^>]*\shref=\"(https?:)?//[^>]*stylesheet", page
        ), name
        assert "fonts.googleapis" not in page, name
    assert "MemoryRefinement" in pages["code/dmgan.models.html"]
    assert "&lt;query, key&gt;" in pages["code/dmgan.models.html"]
