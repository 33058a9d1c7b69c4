"""Canvas of a figure with fixed positions in inches from the top left corner."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.textpath import TextToPath

from dmgan.storage.files import write_with
from dmgan.storage.seals import write_sealed_json

DPI = 200
SIDE = 0.96  # side of an image, inches: 192 dots, a whole multiple of 64, 32 and 16 px
GAP = 0.05
MARGIN = 0.1
LABEL = 0.85  # width of the column of row labels
SMALL, MEDIUM = 6.0, 7.5  # font sizes, points
INK, GREY, BAR = "#222222", "#5f5f5f", "#4a76a8"
_LEAST_PX = 7.5  # size of legible text on a screen
_LINE = 1.25  # distance of lines, in font sizes
_STYLE = {"font.family": "DejaVu Sans", "pdf.fonttype": 42, "svg.fonttype": "none"}


def line_height(size: float) -> float:
    """Return the height in inches of a line of text of `size` points."""
    return size * _LINE / 72


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width in inches of a text of `size` points."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0] / 72


def wrap(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines of at most `width` inches; a wider word is broken too."""
    lines = [""]
    for word in text.split():
        for piece in _pieces(word, width, size):
            longer = f"{lines[-1]} {piece}".strip()
            if text_width(longer, size) <= width or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _pieces(word: str, width: float, size: float) -> list[str]:
    pieces = [""]
    for character in word:
        if pieces[-1] and text_width(pieces[-1] + character, size) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


class Canvas:
    """A white page of `width` x `height` inches."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        with matplotlib.rc_context(_STYLE):
            self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
            FigureCanvasAgg(self.figure)

    @property
    def minimum_px(self) -> int:
        """Least width in pixels at which the smallest text of a figure, SMALL, can be read."""
        return math.ceil(_LEAST_PX * self.width * 72 / SMALL)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes with the given box, in inches."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def image(self, left: float, top: float, pixels: np.ndarray) -> None:
        """Draw pixels (s, s, 3) uint8 as a square of SIDE inches; small images are enlarged without smoothing."""
        left, top = (round(each * DPI) / DPI for each in (left, top))  # whole dots: every pixel gets the same number
        axes = self.axes(left, top, SIDE, SIDE)
        interpolation = "nearest" if pixels.shape[0] <= SIDE * DPI else "antialiased"
        axes.imshow(pixels, interpolation=interpolation, aspect="auto")
        axes.set_axis_off()

    def lines(
        self, left: float, top: float, lines: Sequence[str], size: float, colour: str = INK, weight: str = "normal"
    ) -> None:
        """Draw lines of text, with the top of the first line at `top`."""
        for number, line in enumerate(lines):
            y = 1 - (top + (number + 0.82) * line_height(size)) / self.height
            self.figure.text(
                left / self.width, y, line, size=size, color=colour, weight=weight, va="baseline", family="DejaVu Sans",
                parse_math=False,
            )  # fmt: skip

    def box(self, left: float, top: float, width: float, height: float, fill: str, edge: str = GREY) -> None:
        """Draw a box with rounded corners."""
        corner = (left, self.height - top - height)
        style = "round,pad=0,rounding_size=0.03"
        self.figure.add_artist(
            FancyBboxPatch(corner, width, height, style, transform=self.figure.dpi_scale_trans, facecolor=fill,
                           edgecolor=edge, linewidth=0.6)
        )  # fmt: skip

    def cell(self, left: float, top: float, width: float, height: float, lightness: float) -> None:
        """Draw a grey cell of a table of values, from 0 (black) to 1 (white), with a white edge."""
        corner = (left, self.height - top - height)
        self.figure.add_artist(
            Rectangle(corner, width, height, transform=self.figure.dpi_scale_trans, facecolor=str(lightness),
                      edgecolor="white", linewidth=0.8)
        )  # fmt: skip

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a straight arrow between two points, each (left, top)."""
        ends = [(left, self.height - top) for left, top in (start, end)]
        self.figure.add_artist(
            FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=6, shrinkA=0, shrinkB=0, color=INK, linewidth=0.8,
                            transform=self.figure.dpi_scale_trans)
        )  # fmt: skip

    def row_label(self, top: float, label: str) -> None:
        """Draw a label at the left edge, vertically centred on an image whose top is `top`."""
        lines = [line for part in label.split("\n") for line in wrap(part, LABEL - 0.08, MEDIUM)]
        self.lines(MARGIN, top + (SIDE - len(lines) * line_height(MEDIUM)) / 2, lines, MEDIUM)

    def bars(self, left: float, top: float, width: float, labels: Sequence[str], values: Sequence[float]) -> None:
        """Draw horizontal bars with labels and values, in the height of an image, the first bar on top."""
        size = SMALL + 0.5
        room = max(text_width(label, size) for label in labels) + 0.06
        value_room = text_width("0.000", size) + 0.1
        axes = self.axes(left + room, top, width - room, SIDE)
        longest = max(*values, 1e-12)
        limit = longest * (width - room) / max(width - room - value_room, 0.1)
        rows = range(len(values))
        axes.barh(rows, values, height=0.62, color=BAR)
        axes.set(xlim=(0, limit), ylim=(len(values) - 0.5, -0.5), xticks=[])
        axes.set_yticks(rows, labels, size=size, color=INK, parse_math=False)
        axes.tick_params(left=False, pad=3)
        for row, value in zip(rows, values, strict=True):
            behind = value + 0.04 * limit / (width - room)
            axes.text(behind, row, f"{value:.3f}", size=size, va="center_baseline", color=GREY)
        for side in ("top", "right", "bottom"):
            axes.spines[side].set_visible(False)
        axes.spines["left"].set_color(GREY)

    def write(self, stem: Path, made_from: Mapping[str, object] | None = None) -> None:
        """Write STEM.png and STEM.pdf, and STEM.json with their hashes; the same content gives the same bytes.

        made_from: hashes of the inputs, which `verify` compares with those that are there.
        """
        with matplotlib.rc_context(_STYLE):
            for kind, undated in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
                save = partial(self.figure.savefig, format=kind, dpi=DPI, metadata=undated)
                write_with(stem.with_suffix(f".{kind}"), save)
        content = {"figure": stem.name, "made_from": made_from or {}}
        write_sealed_json(stem.with_suffix(".json"), content, [f"{stem.name}.png", f"{stem.name}.pdf"])
