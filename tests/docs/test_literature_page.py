"""The page of the literature is the one of the files."""

from docs.literature_page import PAGE, page
from tests.paths import ROOT


def test_the_page_is_the_generated_one():
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), "write it again: python -m docs.literature_page"
