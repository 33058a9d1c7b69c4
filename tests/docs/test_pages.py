"""The pages: links lead somewhere, names of code exist, README is short and shows rows of the results page."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from dmgan.__main__ import SUBCOMMANDS
from dmgan.evaluation.networks.table import EXTRACTORS
from dmgan.models.registry import MODELS
from docs.update_results import BEGIN, END
from tests.paths import ROOT
from workflow.config_schema import build_schema

PAGES = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *(
        "baselines/README.md",
        "benchmarks/README.md",
        "benchmarks/reliability.md",
        "results/README.md",
        "workflow/config/README.md",
    ),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
_EQUATIONS = "## From the equations to the code"
_FOLDERS = "dmgan|baselines|benchmarks|docs|tests|workflow"


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def anchors_of(page: str) -> frozenset[str]:
    """The anchors of a page's headings, which GitHub and the site make alike."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return frozenset(re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", each.lower()).strip()) for each in headings)


@cache
def names_in(path: str) -> frozenset[str]:
    """Functions, classes and their methods (Class.method) that a file defines."""
    names = set()
    for node in ast.parse(text_of(path)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return frozenset(names)


def equation_rows() -> list[tuple[list[str], str]]:
    """The code names and the file of every row of the table of equations."""
    section = text_of("docs/models.md").split(_EQUATIONS)[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
    return [(re.findall(r"`([^`]+)`", code), re.findall(r"`([^`]+)`", file)[0]) for *_, code, file in rows]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page):
    prose = re.sub(r"```.*?```|^    .*$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors_of(str(file.resolve().relative_to(ROOT.resolve()))), f"{page}: {target}"


@pytest.mark.parametrize(("names", "path"), equation_rows())
def test_every_name_of_the_equation_table_is_defined_in_its_file(names, path):
    assert names and set(names) <= names_in(path)


def test_the_equation_table_is_whole():
    assert len(equation_rows()) >= 30


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_a_page_names_exist(page):
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert set(re.findall(r"`(test_\w+)`", text_of(page))) <= defined


@pytest.mark.parametrize("page", PAGES)
def test_files_and_folders_that_a_page_names_exist(page):
    named = set(re.findall(rf"`((?:{_FOLDERS})/[\w./-]+)`", text_of(page)))
    examples = {each for each in named if "NAME" in each or "my_gan" in each}
    assert [each for each in sorted(named - examples) if not (ROOT / each).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_subcommands_that_a_page_names_exist(page):
    named = set(re.findall(r"python -m dmgan ([\w-]+)", text_of(page)))
    assert named <= {*SUBCOMMANDS, "SUBCOMMAND", "--help"}


def test_the_page_of_configurations_explains_every_key():
    schema = build_schema()
    blocks = [schema["$defs"][name]["properties"] for name in ("imported", "external")]
    keys = {*schema["properties"], "strict", "gpus", *(key for block in blocks for key in block)}
    assert keys - set(re.findall(r"`(\w+)`", text_of("workflow/config/README.md"))) == set()


def test_the_page_of_evaluation_describes_every_extractor():
    section = text_of("docs/evaluation.md").split("\n## Feature extractors\n")[1].split("\nWeights are")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == list(EXTRACTORS)


def test_the_page_of_models_names_every_model():
    listed = text_of("docs/models.md").split("\n## Models\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w-]+)`", listed)) | {f"mdsp-a{number}" for number in range(9)}
    assert set(MODELS) <= named


def test_readme_is_short():
    assert len(text_of("README.md").splitlines()) <= 120


def test_readme_shows_rows_of_the_results_page():
    short, full = (text_of(page).split(BEGIN)[1].split(END)[0] for page in ("README.md", "docs/results.md"))
    rows, all_rows = (
        [line for line in text.splitlines() if line.startswith("|") and "---" not in line] for text in (short, full)
    )
    assert len(rows) == 4 and len(all_rows) == 8  # the heading, then real images and two models
    assert rows == all_rows[:4]


def test_every_page_is_linked_from_another():
    for page in (Path(each).name for each in PAGES if each.startswith("docs/")):
        assert [each for each in PAGES if f"{page})" in text_of(each) or f"{page}#" in text_of(each)], page


def test_citation_names_the_software_and_the_papers():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors", "license", "references"} <= set(citation)
    assert all({"type", "title", "authors", "year"} <= set(each) for each in citation["references"])
    assert any("DM-GAN" in each["title"] for each in citation["references"])
