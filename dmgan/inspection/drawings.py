"""Pictures for `generate`: contact sheets with captions, sheets of word attention, animations of the stages."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from dmgan.inspection.inspector import InspectedImage, Word

_SMALLEST = 128  # px; smaller images are enlarged without smoothing
_GAP, _MARGIN = 6, 16
_LARGE, _SMALL = 15, 12  # font sizes, px
_LINE = 1.35  # distance of lines, in font sizes
_INK, _GREY = "#222222", "#6b6b6b"
_NARROWEST = 480  # px; room for a caption above a single image
_COLUMNS = 8  # images side by side
_SECONDS_PER_STAGE, _SECONDS_OF_LAST = 0.8, 2.4
SHEET_ROWS = 20  # of one contact sheet, so that its height is within the limit of JPEG


class SheetRow(NamedTuple):
    """A text with the images under it."""

    text: str
    labels: list[str]  # of the images, of one or more lines
    images: list[np.ndarray]  # (s, s, 3) uint8, of one side


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def enlarged(pixels: np.ndarray, smallest: int = _SMALLEST) -> np.ndarray:
    """Return an image (s, s, 3), enlarged by a whole factor without smoothing to at least `smallest` px."""
    factor = -(-smallest // pixels.shape[0])
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def rows_of_caption(text: str, labels: Sequence[str], images: Sequence[np.ndarray]) -> list[SheetRow]:
    """Return the rows of a sheet that show the images of one caption; only the first row has the text."""
    starts = range(0, len(images), _COLUMNS)
    cut = [(list(labels[start : start + _COLUMNS]), list(images[start : start + _COLUMNS])) for start in starts]
    return [SheetRow(text if not number else "", *each) for number, each in enumerate(cut)]


def draw_sheet(heading: str, rows: Sequence[SheetRow]) -> Image.Image:
    """Draw a heading and rows of images under their texts, on a white ground."""
    side = max(enlarged(image).shape[0] for row in rows for image in row.images)
    width = max(_NARROWEST, 2 * _MARGIN + max(len(row.images) for row in rows) * (side + _GAP) - _GAP)
    heading_lines = _wrapped(heading, _font(_LARGE), width - 2 * _MARGIN)
    texts = [_wrapped(row.text, _font(_LARGE), width - 2 * _MARGIN) for row in rows]
    labels = [[label.split("\n") for label in row.labels] for row in rows]
    label_height = _height(max(len(lines) for each in labels for lines in each), _SMALL)
    heights = [_height(len(text), _LARGE) + label_height + side + 2 * _GAP for text in texts]
    page = Image.new("RGB", (width, 2 * _MARGIN + _height(len(heading_lines), _LARGE) + _GAP + sum(heights)), "white")
    draw = ImageDraw.Draw(page)
    top = _write(draw, _MARGIN, _MARGIN, heading_lines, _LARGE, _GREY) + _GAP
    for row, text, row_labels, height in zip(rows, texts, labels, heights, strict=True):
        below = _write(draw, _MARGIN, top, text, _LARGE, _INK)
        for column, (lines, image) in enumerate(zip(row_labels, row.images, strict=True)):
            left = _MARGIN + column * (side + _GAP)
            _write(draw, left, below, [_cut(line, _font(_SMALL), side) for line in lines], _SMALL, _GREY)
            page.paste(Image.fromarray(enlarged(image, side)), (left, below + label_height))
        top += height
    return page


def draw_attention(heading: str, image: InspectedImage) -> Image.Image:
    """Draw the darkened images of all words, in the order of the caption, a block per refinement."""
    rows = []
    for number, refinement in enumerate(image.refinements, 1):
        text = f"Refinement {number}: attention maps of {refinement.side} px on the image of {refinement.image_side} px"
        labels = [f"{word.label}\n{describe_weights(word)}" for word in refinement.words]
        rows += rows_of_caption(text, labels, [word.pixels for word in refinement.words])
    return draw_sheet(heading, rows)


def describe_weights(word: Word) -> str:
    """Return a word's share of the attention and its gate, as far as the model has them, as "21 %, gate 0.43"."""
    share = [] if word.share is None else [f"{100 * word.share:.0f} %"]
    return ", ".join([*share, *([] if word.gate is None else [f"gate {word.gate:.2f}"])])


def stage_frames(stages: Sequence[np.ndarray]) -> tuple[list[Image.Image], list[int]]:
    """Return the frames of an animation of the stages, all of the last stage's side, and their times in ms."""
    side = max(_SMALLEST, stages[-1].shape[0])
    frames = [Image.fromarray(stage).resize((side, side), Image.NEAREST).quantize(256) for stage in stages]
    times = [_SECONDS_PER_STAGE] * (len(stages) - 1) + [_SECONDS_OF_LAST]
    return frames, [round(1000 * seconds) for seconds in times]


def _height(lines: int, size: int) -> int:
    return round(lines * size * _LINE)


def _write(draw: ImageDraw.ImageDraw, left: int, top: int, lines: Sequence[str], size: int, colour: str) -> int:
    """Draw lines of text, and return the position below the last line."""
    for number, line in enumerate(lines):
        draw.text((left, top + _height(number, size)), line, fill=colour, font=_font(size))
    return top + _height(len(lines), size)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into lines of at most `width` px; a wider word is broken too."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
            continue
        lines.append("")
        for character in word:
            if font.getlength(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def _cut(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return a text that is at most `width` px wide, cut with an ellipsis if needed."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
