"""The page of paper vs. release differences is generated, and its options have the values that it states."""

import dataclasses
import re

import pytest

from dmgan import options
from dmgan.models.dmgan import MemoryOptions
from dmgan.models.registry import MODELS
from dmgan.options import LossOptions
from docs.paper_vs_release import DIFFERENCES, PAGE, page
from tests.paths import ROOT

PAPER, RELEASE = MODELS["dmgan-paper"], MODELS["dmgan"]
OPTIONAL = [each for each in DIFFERENCES if not isinstance(each.here, str)]


def values_of(entry) -> dict[type, object]:
    """Return the options objects of a registry entry."""
    return {MemoryOptions: MemoryOptions(**entry.variant), LossOptions: entry.losses}


def test_the_page_is_the_generated_one():
    hint = "write it again: python -m docs.paper_vs_release"
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), hint


@pytest.mark.parametrize("difference", OPTIONAL, ids=lambda each: each.here.name)
def test_an_option_has_the_release_s_value_by_default_and_the_paper_s_in_dmgan_paper(difference):
    kind, name, release, paper = difference.here
    default = next(field.default for field in dataclasses.fields(kind) if field.name == name)
    assert default == (paper if difference.fixed else release) != (release if difference.fixed else paper)
    assert getattr(values_of(RELEASE)[kind], name) == default
    assert getattr(values_of(PAPER)[kind], name) == paper
    for value in (release, paper):
        assert getattr(kind(**{name: value}), name) == value


def test_every_option_of_dmgan_paper_is_on_the_page():
    changed = {
        (kind, field.name)
        for kind, ours in values_of(PAPER).items()
        for field in dataclasses.fields(kind)
        if getattr(ours, field.name) != field.default
    }
    assert changed == {each.here[:2] for each in OPTIONAL if not each.fixed}


def test_names_on_the_page_exist():
    kinds = vars(options) | {"MemoryOptions": MemoryOptions}
    named = re.findall(r"`(\w+Options)\.(\w+)`", page())
    assert len(named) > len(OPTIONAL)
    for kind, name in named:
        assert name in {field.name for field in dataclasses.fields(kinds[kind])}, f"{kind}.{name}"
    assert set(re.findall(r"`(dmgan[\w-]*)`", page())) <= set(MODELS)


def test_rows_have_the_same_number_of_cells():
    assert {line.count("|") for line in page().splitlines() if line.startswith("|")} == {5}
