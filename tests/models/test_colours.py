"""Colours of the models: distinct, legible on white, and stable."""

from itertools import combinations

import pytest

from dmgan.models.colours import OTHER, colour_of, colours
from dmgan.models.registry import MODELS


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2)."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_model_has_a_colour_of_its_own():
    assert list(colours()) == list(MODELS)
    assert len({*colours().values(), OTHER}) == len(MODELS) + 1
    assert colour_of("noise") == OTHER


@pytest.mark.parametrize("name", MODELS)
def test_a_curve_is_legible_on_white(name):
    assert 1.05 / (luminance(colour_of(name)) + 0.05) >= 3


def test_neighbouring_entries_differ_clearly():
    def distance(first: str, second: str) -> int:
        return sum(abs(int(first[i : i + 2], 16) - int(second[i : i + 2], 16)) for i in (1, 3, 5))

    first_eight = list(colours().values())[:8]
    assert min(distance(*pair) for pair in combinations(first_eight, 2)) > 48


def test_the_colours_of_two_models_are_these():
    assert (colour_of("attngan"), colour_of("dmgan")) == ("#0876be", "#0aa670")
