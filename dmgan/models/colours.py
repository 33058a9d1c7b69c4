"""One colour a model, for curves in MLflow and in figures.

This module does not import torch, as the registry.
"""

import math
from functools import cache

from dmgan.models.registry import MODELS

OTHER = "#7f7f7f"  # colour of what is not a model of the registry, such as control rows and images of other programs
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # between the hues of two entries: neighbours differ most
_FIRST_HUE = 4.3  # blue, radians
_LIGHTNESS = (0.55, 0.45, 0.64)  # of Oklab; all have a contrast of 3 or more with white
_CHROMA = 0.14
# Oklab to linear sRGB (B. Ottosson, "A perceptual color space for image processing", 2020).
_TO_CONES = ((0.3963377774, 0.2158037573), (-0.1055613458, -0.0638541728), (-0.0894841775, -1.2914855480))
_TO_RGB = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)


@cache
def colours() -> dict[str, str]:
    """Return the colour, #rrggbb, of every model by name; an entry at the end of the registry changes no other."""
    return {
        name: _hex(_LIGHTNESS[number % len(_LIGHTNESS)], _FIRST_HUE + number * _GOLDEN_ANGLE)
        for number, name in enumerate(MODELS)
    }


def colour_of(name: str) -> str:
    """Return the colour, #rrggbb, of a model of the registry; grey for any other name."""
    return colours().get(name, OTHER)


def _hex(lightness: float, hue: float) -> str:
    """Return the sRGB colour of a lightness and a hue of Oklab, clipped to the colours of a screen."""
    a, b = _CHROMA * math.cos(hue), _CHROMA * math.sin(hue)
    cones = [(lightness + of_a * a + of_b * b) ** 3 for of_a, of_b in _TO_CONES]
    linear = [min(max(sum(f * c for f, c in zip(row, cones, strict=True)), 0.0), 1.0) for row in _TO_RGB]
    encoded = (12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055 for x in linear)
    return "#" + "".join(f"{round(255 * x):02x}" for x in encoded)
