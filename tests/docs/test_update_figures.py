"""The page of figures is made from the catalogue."""

from docs.update_figures import page
from tests.paths import ROOT


def test_the_page_is_that_of_the_catalogue():
    path = ROOT / "docs" / "figures.md"
    assert path.read_text(encoding="utf-8") == page(), "run: python -m docs.update_figures"
