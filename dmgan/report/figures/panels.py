"""Panels of images: a title, heads above the columns, and rows of images with labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dmgan.report.figures.canvas import GAP, GREY, LABEL, MARGIN, MEDIUM, SIDE, SMALL, Canvas, line_height, wrap

_STEP = SIDE + GAP
_BETWEEN = 0.14  # inches between two panels
_ABOVE_IMAGES = 0.06  # between the heads and the images


class Panel(NamedTuple):
    """A grid of images; rows may be shorter than the heads."""

    title: str
    heads: Sequence[str]  # one above each column, such as a caption
    rows: Sequence[tuple[str, Sequence[np.ndarray]]]  # label, and images (s, s, 3) uint8

    @property
    def label_width(self) -> float:
        """Width in inches of the column of labels; 0 without labels."""
        return LABEL if any(label for label, _ in self.rows) else 0.0

    @property
    def wrapped_heads(self) -> list[list[str]]:
        """The heads in lines that fit above an image."""
        return [wrap(head, SIDE - 0.04, SMALL) for head in self.heads]

    @property
    def first_row(self) -> float:
        """Distance in inches from the top of the panel to its first row of images."""
        title = line_height(MEDIUM) + 0.08 if self.title else 0.0
        return title + max(len(lines) for lines in self.wrapped_heads) * line_height(SMALL) + _ABOVE_IMAGES

    @property
    def height(self) -> float:
        """Height in inches."""
        return self.first_row + len(self.rows) * _STEP - GAP

    def draw(self, canvas: Canvas, top: float) -> None:
        """Draw the panel at the left margin of a page."""
        canvas.lines(MARGIN, top, [self.title] if self.title else [], MEDIUM)
        first = top + self.first_row
        for column, lines in enumerate(self.wrapped_heads):
            # Heads are aligned at the bottom, directly above the images.
            above = first - _ABOVE_IMAGES - len(lines) * line_height(SMALL)
            canvas.lines(MARGIN + self.label_width + column * _STEP, above, lines, SMALL)
        for row, (label, images) in enumerate(self.rows):
            if label:
                canvas.row_label(first + row * _STEP, label)
            for column, image in enumerate(images):
                canvas.image(MARGIN + self.label_width + column * _STEP, first + row * _STEP, image)


def draw_panels(heading: str, panels: Sequence[Panel], foot: str = "") -> Canvas:
    """Draw panels below each other, with a heading above and a note below."""
    width = 2 * MARGIN + max(panel.label_width + len(panel.heads) * _STEP for panel in panels) - GAP
    above, notes = wrap(heading, width - 2 * MARGIN, MEDIUM), wrap(foot, width - 2 * MARGIN, SMALL) if foot else []
    top = MARGIN + len(above) * line_height(MEDIUM) + 0.08
    below = top + sum(panel.height for panel in panels) + _BETWEEN * (len(panels) - 1)
    canvas = Canvas(width, below + MARGIN + (GAP + len(notes) * line_height(SMALL) if notes else 0))
    canvas.lines(MARGIN, MARGIN, above, MEDIUM)
    canvas.lines(MARGIN, below + GAP, notes, SMALL, GREY)
    for panel in panels:
        panel.draw(canvas, top)
        top += panel.height + _BETWEEN
    return canvas


def draw_gallery(
    heading: str, captions: Sequence[str], rows: Sequence[tuple[str, Sequence[np.ndarray]]], foot: str = ""
) -> Canvas:
    """Draw one panel, with captions above its columns and labels left of its rows."""
    return draw_panels(heading, [Panel("", captions, rows)], foot)
