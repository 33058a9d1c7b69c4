"""Drawing of backgrounds and perches, in muted middle to light tones, so that every bird stands out."""

import numpy as np
from PIL import Image, ImageDraw

# The bird sits on a branch; on other backgrounds it stands on the ground.
BRANCH_BACKGROUNDS = ("sky", "foliage", "water")

# Colours at top and bottom of the backdrop, and the colour of the ground if the background has a ground.
_BACKDROPS = {
    "sky": ((158, 184, 204), (208, 216, 220)),
    "foliage": ((136, 156, 132), (164, 180, 154)),
    "water": ((186, 200, 206), (140, 166, 178)),
    "meadow": ((196, 208, 214), (206, 212, 206)),
    "snow": ((178, 188, 200), (204, 210, 218)),
    "sand": ((192, 204, 212), (214, 212, 204)),
}
_GROUNDS = {"meadow": (156, 172, 132), "snow": (216, 220, 226), "sand": (200, 186, 160)}
_BANDS = 16


def draw_background(canvas: Image.Image, kind: str, rng: np.random.Generator) -> None:
    """Fill the canvas with a background (a value of the attribute `background`), tinted at random."""
    draw = ImageDraw.Draw(canvas)
    tint = [int(t) for t in rng.integers(-9, 10, size=3)]
    top, bottom = (_tinted(colour, tint) for colour in _BACKDROPS[kind])
    edges = [canvas.height * band // _BANDS for band in range(_BANDS + 1)]
    for band in range(_BANDS):
        colour = tuple((a * (_BANDS - 1 - band) + b * band) // (_BANDS - 1) for a, b in zip(top, bottom))
        draw.rectangle((0, edges[band], canvas.width, edges[band + 1]), fill=colour)
    if kind == "sky":
        _draw_clouds(draw, canvas.width, bottom, rng)
    elif kind == "foliage":
        _draw_leaves(draw, canvas.width, top, rng)
    elif kind == "water":
        _draw_ripples(draw, canvas.width, bottom, rng)
    else:  # kinds with a ground
        _draw_clouds(draw, canvas.width, bottom, rng)
        _draw_ground(draw, canvas.width, kind, _tinted(_GROUNDS[kind], tint), rng)


def draw_perch(canvas: Image.Image, kind: str, feet: tuple[int, int], unit: float, rng: np.random.Generator) -> None:
    """Draw the branch under the feet, or the shadow on the ground; `feet` and `unit` in canvas pixels."""
    draw, (x, y) = ImageDraw.Draw(canvas), feet
    slope, offset = int(rng.integers(-8, 9)), int(rng.integers(-12, 13))
    if kind in BRANCH_BACKGROUNDS:
        width = int(unit * 0.075)
        bark = _tinted((132, 118, 106), [offset] * 3)
        # The branch reaches from edge to edge, through the point under the feet.
        rise = canvas.width * slope // 100
        middle = y + width // 2 - rise * x // canvas.width
        ends = [(0, middle), (canvas.width, middle + rise)]
        draw.line(ends, fill=_tinted(bark, [-38] * 3), width=width)
        lift = max(1, width // 5)
        draw.line([(px, py - lift) for px, py in ends], fill=bark, width=max(1, width - 2 * lift))
    else:
        reach, depth = int(unit * 0.24), int(unit * 0.035)
        draw.ellipse((x - reach, y - depth, x + reach, y + depth), fill=_tinted(_GROUNDS[kind], [-44] * 3))


def _tinted(colour, tint) -> tuple[int, int, int]:
    return tuple(min(255, max(0, c + t)) for c, t in zip(colour, tint))


def _ellipse(draw, width: int, x: float, y: float, rx: float, ry: float, fill):
    """Draw an ellipse whose centre and radii are given as shares of the frame."""
    draw.ellipse(
        (int((x - rx) * width), int((y - ry) * width), int((x + rx) * width), int((y + ry) * width)), fill=fill
    )


def _draw_clouds(draw, width: int, colour, rng: np.random.Generator):
    white = _tinted(colour, [14] * 3)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.random(), 0.05 + 0.35 * rng.random()
        for puff in range(4):
            _ellipse(draw, width, x + 0.09 * puff, y - 0.02 * rng.random(), 0.09, 0.025 + 0.03 * rng.random(), white)


def _draw_leaves(draw, width: int, colour, rng: np.random.Generator):
    for _ in range(34):
        shade = int(rng.integers(-20, 31))
        x, y, rx, ry = rng.random(), rng.random(), 0.04 + 0.1 * rng.random(), 0.03 + 0.08 * rng.random()
        _ellipse(draw, width, x, y, rx, ry, _tinted(colour, [shade] * 3))


def _draw_ripples(draw, width: int, colour, rng: np.random.Generator):
    for _ in range(22):
        shade = int(rng.integers(-14, 27))
        x, y, reach = rng.random(), 0.3 + 0.7 * rng.random(), 0.05 + 0.2 * rng.random()
        _ellipse(draw, width, x, y, reach, 0.008, _tinted(colour, [shade] * 3))


def _draw_ground(draw, width: int, kind: str, colour, rng: np.random.Generator):
    horizon = 0.55 + 0.15 * rng.random()
    draw.rectangle((0, int(horizon * width), width, width), fill=colour)
    for _ in range(3):  # hills
        x, height = rng.random(), 0.02 + 0.06 * rng.random()
        _ellipse(draw, width, x, horizon, 0.35, height, colour)
    for _ in range(40):
        x, y, shade = rng.random(), horizon + (1 - horizon) * rng.random(), int(rng.integers(-22, 15))
        fill = _tinted(colour, [shade] * 3)
        if kind == "meadow":
            tip = (int((x + 0.03 * rng.random()) * width), int((y - 0.07) * width))
            draw.line([(int(x * width), int(y * width)), tip], fill=fill, width=max(1, width // 100))
        else:
            _ellipse(draw, width, x, y, 0.05 if kind == "snow" else 0.015, 0.008, fill)
