"""Drawing of one bird from its attributes: polygons on a four times larger canvas, reduced by a box filter.

Coordinates are in bird units: x forwards, y downwards, the body's middle at the origin, about 1 from tail to bill. All
coordinates are rounded to whole canvas pixels before anything is drawn, and sines are rounded, so that images are
bit-exact on every platform. Random numbers do not depend on the image's size: the bird is the same at every size.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dmgan.data.sources.synthbirds.attributes import COLOURS, LARGE_PARTS
from dmgan.data.sources.synthbirds.backgrounds import BRANCH_BACKGROUNDS, draw_background, draw_perch

OVERSAMPLING = 4
SCALES = {"small": 0.64, "medium": 0.72, "large": 0.80}  # bird unit as a share of the frame

_OUTLINE = (34, 30, 32)
_LEG_LENGTH = 0.15
_EYE = (0.055, -0.035)  # from the middle of the head
_HEAD = (0.235, -0.195)  # middle of the head
_SHOULDER = (0.075, -0.015)  # centre of the wing's rotation
_RUMP = (-0.22, 0.12)  # centre of the tail's rotation


def _smooth(points, steps=6) -> np.ndarray:
    """Return a closed Catmull-Rom curve (n * steps, 2) through n points."""
    p1 = np.array(points, dtype=float)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    curve = [
        0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
        for t in (step / steps for step in range(steps))
    ]
    return np.stack(curve, axis=1).reshape(-1, 2)


_BODY = _smooth([(-0.29, 0.10), (-0.16, -0.08), (0.04, -0.17), (0.22, -0.17), (0.36, 0.0), (0.325, 0.18), (0.15, 0.285),
                 (-0.08, 0.285), (-0.23, 0.21)])  # fmt: skip
_HEAD_SHAPE = _smooth([(-0.165, 0.02), (-0.115, -0.12), (0.01, -0.17), (0.115, -0.12), (0.16, 0.0), (0.125, 0.11),
                       (0.01, 0.16), (-0.12, 0.13)])  # fmt: skip
_TAIL = np.array([(0.03, -0.055), (-0.12, -0.07), (-0.29, -0.085), (-0.32, -0.01), (-0.29, 0.07), (-0.12, 0.06),
                  (0.03, 0.06)])  # from the rump  # fmt: skip
_WING = _smooth([(0.05, -0.04), (0.035, 0.065), (-0.06, 0.125), (-0.20, 0.15), (-0.40, 0.135), (-0.31, 0.06),
                 (-0.18, -0.045), (-0.06, -0.09)])  # from the shoulder  # fmt: skip
# Regions that reach beyond the body or head and are clipped to it.
_BREAST = np.array([(0.03, -0.2), (0.5, -0.3), (0.5, 0.175), (0.22, 0.17), (0.03, 0.13)])
_BELLY = np.array([(-0.5, 0.16), (-0.24, 0.15), (-0.05, 0.13), (0.03, 0.13), (0.22, 0.17), (0.5, 0.175), (0.5, 0.5),
                   (-0.5, 0.5)])  # fmt: skip
_CROWN = np.array([(-0.3, 0.05), (-0.14, 0.02), (0.0, -0.015), (0.3, -0.03), (0.3, -0.4), (-0.3, -0.4)])
_THROAT = _smooth([(-0.025, 0.07), (0.08, 0.02), (0.24, 0.0), (0.24, 0.16), (0.09, 0.215), (-0.035, 0.17)], steps=4)
# Bills from the middle of the head, which hides their roots.
_BILLS = {
    "cone": np.array([(0.11, -0.085), (0.17, -0.07), (0.285, 0.01), (0.17, 0.07), (0.11, 0.07)]),
    "medium": np.array([(0.12, -0.06), (0.25, -0.03), (0.36, 0.01), (0.25, 0.04), (0.12, 0.055)]),
    "needle": np.array([(0.12, -0.04), (0.28, -0.018), (0.42, 0.01), (0.28, 0.03), (0.12, 0.045)]),
    "hooked": _smooth(
        [(0.12, -0.06), (0.22, -0.065), (0.31, -0.015), (0.325, 0.10), (0.27, 0.055), (0.21, 0.04), (0.12, 0.05)],
        steps=4,
    ),
}
# Patterns: stripes as (from, to), spots as middles; wing from the shoulder, breast in bird units.
_WING_STRIPES = [((-0.03, -0.12), (-0.10, 0.20)), ((-0.13, -0.10), (-0.20, 0.20)), ((-0.23, -0.06), (-0.30, 0.20))]
_WING_SPOTS = [(-0.02, 0.01), (-0.09, 0.075), (-0.105, -0.02), (-0.185, 0.035), (-0.185, 0.115), (-0.275, 0.095)]
_BREAST_STRIPES = [((0.0, y + 0.035), (0.42, y - 0.02)) for y in (-0.06, 0.03, 0.12)]
_BREAST_SPOTS = [(0.07, 0.045), (0.14, 0.02), (0.215, 0.04), (0.285, 0.025), (0.105, 0.105), (0.18, 0.105),
                 (0.255, 0.115), (0.33, 0.10)]  # fmt: skip
_STRIPE_WIDTH = {"wing": 0.036, "breast": 0.026}
_SPOT_RADIUS = {"wing": 0.025, "breast": 0.019}


@dataclass(frozen=True)
class Stance:
    """Position and rotation of a bird in its frame, in shares of the frame and radians."""

    facing: int  # 1: right, -1: left
    scale: float  # one bird unit as a share of the frame
    centre: tuple[float, float]
    tilt: float
    head_turn: float
    wing_turn: float
    tail_turn: float


def draw_bird(attributes: dict[str, str], image_size: int, rng: np.random.Generator) -> np.ndarray:
    """Return an image of a bird with these attributes before its background: uint8 RGB (image_size, image_size, 3)."""
    stance = _draw_stance(attributes, rng)
    colours = {name: _jittered(COLOURS[attributes[name]], rng) for name in _coloured(attributes)}
    canvas = Image.new("RGB", (image_size * OVERSAMPLING,) * 2)
    draw_background(canvas, attributes["background"], rng)
    bird = _Bird(canvas, stance)
    _draw_legs_and_perch(bird, attributes, colours, rng)
    _draw_tail(bird, colours)
    _draw_plumage(bird, attributes, colours)
    _draw_face(bird, attributes, colours)
    _draw_wing(bird, attributes, colours)
    return np.asarray(canvas.reduce(OVERSAMPLING))


class _Bird:
    """A canvas, and the conversion from bird units to canvas pixels."""

    def __init__(self, canvas: Image.Image, stance: Stance):
        self.canvas = canvas
        self.draw = ImageDraw.Draw(canvas)
        self.stance = stance
        self.unit = stance.scale * canvas.width

    def pixels(self, points, origin=(0.0, 0.0), turn=0.0) -> list[tuple[int, int]]:
        """Return points relative to `origin`, rotated about `origin`, as whole canvas pixels."""
        x, y = _turned(np.asarray(points, dtype=float).reshape(-1, 2).T, turn)
        x, y = _turned((x + origin[0], y + origin[1]), self.stance.tilt)
        x = np.floor(x * self.stance.facing * self.unit + self.stance.centre[0] * self.canvas.width + 0.5)
        y = np.floor(y * self.unit + self.stance.centre[1] * self.canvas.width + 0.5)
        return list(zip(x.astype(int).tolist(), y.astype(int).tolist()))

    def length(self, length: float) -> int:
        return max(1, int(length * self.unit + 0.5))

    def outline(self, pixels):
        self.draw.line([*pixels, *pixels[:2]], fill=_OUTLINE, width=self.length(0.026))

    def mask(self, *outlines, fill=255) -> Image.Image:
        mask = Image.new("L", self.canvas.size)
        for pixels in outlines:
            ImageDraw.Draw(mask).polygon(pixels, fill=fill)
        return mask

    def disc(self, draw, middle: tuple[int, int], radius: float, fill):
        r = self.length(radius)
        draw.ellipse((middle[0] - r, middle[1] - r, middle[0] + r, middle[1] + r), fill=fill)


def _turned(xy, angle: float):
    x, y = xy
    sine, cosine = round(math.sin(angle), 9), round(math.cos(angle), 9)
    return x * cosine - y * sine, x * sine + y * cosine


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _draw_stance(attributes: dict[str, str], rng: np.random.Generator) -> Stance:
    raised = attributes["pose"] == "wings raised"
    facing = 1 if rng.random() < 0.5 else -1
    scale = SCALES[attributes["size"]] * _between(rng, 0.97, 1.03)
    bill_tip = _HEAD[0] + _BILLS[attributes["bill_shape"]][:, 0].max()
    tail_tip = _RUMP[0] + _TAIL[:, 0].min()
    # Centre the middle between bill and tail, so that long bills stay inside the frame.
    x = _between(rng, 0.47, 0.53) - facing * scale * (bill_tip + tail_tip) / 2
    return Stance(
        facing=facing,
        scale=scale,
        centre=(x, _between(rng, 0.46, 0.51)),
        tilt=_between(rng, -0.25, 0.12),
        head_turn=_between(rng, -0.22, 0.22),
        wing_turn=_between(rng, 0.5, 0.85) if raised else _between(rng, -0.06, 0.08),
        tail_turn=_between(rng, -0.45, 0.25),
    )


def _coloured(attributes: dict[str, str]) -> list[str]:
    names = (*LARGE_PARTS, "bill", "legs", "wing_mark", "breast_mark", "eye_ring")
    return [name for name in names if attributes[name] != "none"]


def _jittered(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    brightness = int(rng.integers(92, 107))
    return tuple(min(255, max(0, (c * brightness + 50) // 100 + int(rng.integers(-7, 8)))) for c in colour)


def _shaded(colour: tuple[int, int, int], percent: int) -> tuple[int, int, int]:
    return tuple(c * percent // 100 for c in colour)


def _draw_legs_and_perch(bird: _Bird, attributes, colours, rng: np.random.Generator):
    hips = bird.pixels([(-0.02, 0.24), (0.09, 0.24)])
    drop = bird.length(_LEG_LENGTH)
    feet_y = max(y for _, y in hips) + drop
    feet_x = sum(x for x, _ in hips) // 2
    draw_perch(bird.canvas, attributes["background"], (feet_x, feet_y), bird.unit, rng)
    toe, width = bird.length(0.05), bird.length(0.03)
    down = toe // 2 if attributes["background"] in BRANCH_BACKGROUNDS else 0  # toes grip a branch
    for fill, extra in ((_OUTLINE, bird.length(0.016)), (colours["legs"], 0)):
        for x, y in hips:
            foot = (x, feet_y)
            bird.draw.line([(x, y), foot], fill=fill, width=width + extra)
            for side in (-1, 1):
                bird.draw.line([foot, (x + side * toe, feet_y + down)], fill=fill, width=width + extra)
            bird.disc(bird.draw, foot, (width + extra) / 2 / bird.unit, fill)


def _draw_tail(bird: _Bird, colours):
    turn = bird.stance.tail_turn
    tail = bird.pixels(_TAIL, _RUMP, turn)
    bird.outline(tail)
    bird.draw.polygon(tail, fill=colours["tail"])
    feathers = bird.pixels([(-0.1, -0.02), (-0.29, -0.025), (-0.1, 0.02), (-0.29, 0.03)], _RUMP, turn)
    for pair in (feathers[:2], feathers[2:]):
        bird.draw.line(pair, fill=_shaded(colours["tail"], 72), width=bird.length(0.01))


def _draw_plumage(bird: _Bird, attributes, colours):
    body = bird.pixels(_BODY)
    turn = bird.stance.head_turn
    head = bird.pixels(_HEAD_SHAPE, _HEAD, turn)
    bird.outline(body)
    bird.outline(head)
    _draw_bill(bird, attributes, colours)

    plumage = Image.new("RGB", bird.canvas.size, colours["back"])
    layer = ImageDraw.Draw(plumage)
    breast = bird.pixels(_BREAST)
    layer.polygon(breast, fill=colours["breast"])
    if attributes["breast_pattern"] != "solid":
        marks = plumage.copy()
        stripes, spots = bird.pixels(_BREAST_STRIPES), bird.pixels(_BREAST_SPOTS)
        _draw_pattern(bird, ImageDraw.Draw(marks), "breast", attributes, colours, stripes, spots)
        plumage.paste(marks, mask=bird.mask(breast))
    layer.polygon(bird.pixels(_BELLY), fill=colours["belly"])
    layer.polygon(head, fill=colours["back"])
    crowned = plumage.copy()
    ImageDraw.Draw(crowned).polygon(bird.pixels(_CROWN, _HEAD, turn), fill=colours["crown"])
    plumage.paste(crowned, mask=bird.mask(head))
    layer.polygon(bird.pixels(_THROAT, _HEAD, turn), fill=colours["throat"])
    bird.canvas.paste(plumage, mask=bird.mask(body, head))
    _shade_underside(bird, body)


def _shade_underside(bird: _Bird, body):
    """Darken a rim at the underside, so that the body looks round."""
    rim = bird.mask(body, fill=56)
    lift = bird.length(0.045)
    ImageDraw.Draw(rim).polygon([(x, y - lift) for x, y in body], fill=0)
    bird.canvas.paste(_OUTLINE, mask=rim)


def _draw_bill(bird: _Bird, attributes, colours):
    turn = bird.stance.head_turn
    bill = bird.pixels(_BILLS[attributes["bill_shape"]], _HEAD, turn)
    bird.outline(bill)
    bird.draw.polygon(bill, fill=colours["bill"])


def _draw_face(bird: _Bird, attributes, colours):
    turn = bird.stance.head_turn
    eye, glint = bird.pixels([_EYE, (_EYE[0] + 0.01, _EYE[1] - 0.012)], _HEAD, turn)
    if attributes["eye_ring"] != "none":
        bird.disc(bird.draw, eye, 0.062, _OUTLINE)
        bird.disc(bird.draw, eye, 0.054, colours["eye_ring"])
    bird.disc(bird.draw, eye, 0.030, _OUTLINE)
    bird.disc(bird.draw, glint, 0.010, (236, 236, 236))


def _draw_wing(bird: _Bird, attributes, colours):
    turn = bird.stance.wing_turn
    wing = bird.pixels(_WING, _SHOULDER, turn)
    bird.outline(wing)
    feathers = Image.new("RGB", bird.canvas.size, colours["wing"])
    layer = ImageDraw.Draw(feathers)
    if attributes["wing_pattern"] != "solid":
        stripes, spots = bird.pixels(_WING_STRIPES, _SHOULDER, turn), bird.pixels(_WING_SPOTS, _SHOULDER, turn)
        _draw_pattern(bird, layer, "wing", attributes, colours, stripes, spots)
    bird.canvas.paste(feathers, mask=bird.mask(wing))


def _draw_pattern(bird: _Bird, layer, part: str, attributes, colours, stripe_ends, spot_middles):
    colour = colours[f"{part}_mark"]
    if attributes[f"{part}_pattern"] == "striped":
        for start, end in zip(stripe_ends[::2], stripe_ends[1::2]):
            layer.line([start, end], fill=colour, width=bird.length(_STRIPE_WIDTH[part]))
    else:
        for middle in spot_middles:
            bird.disc(layer, middle, _SPOT_RADIUS[part], colour)
