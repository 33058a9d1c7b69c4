"""The page of `serve`, as HTML: a card per image with its stages, words, scores and nearest training image."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from dmgan.inspection.drawings import describe_weights
from dmgan.inspection.inspector import InspectedImage, Refinement, Word
from dmgan.inspection.nearest import NearestImage
from dmgan.inspection.scores import MEANINGS

STYLE = """
.dmgan-cards {display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr));}
.dmgan-card {border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px; min-width: 0;}
.dmgan-card h3 {margin: 0 0 4px; font-size: 16px; font-weight: 600; overflow-wrap: anywhere;}
.dmgan-card h4 {margin: 12px 0 4px; font-size: 14px; font-weight: 600;}
.dmgan-row {display: flex; flex-wrap: wrap; gap: 8px; align-items: flex-end;}
.dmgan-row figure {margin: 0; max-width: 100%;}
.dmgan-row img {display: block; max-width: 100%; height: auto; image-rendering: pixelated;}
.dmgan-row figcaption, .dmgan-note {font-size: 12px; line-height: 1.35; color: var(--body-text-color);}
.dmgan-row figcaption, .dmgan-words, .dmgan-card th {opacity: 0.8;}
.dmgan-word figcaption {overflow-wrap: anywhere;}
.dmgan-word {width: 80px;}
.dmgan-card table {border-collapse: collapse; font-size: 13px;}
.dmgan-card td, .dmgan-card th {padding: 2px 12px 2px 0; text-align: left; vertical-align: top; font-weight: normal;}
.dmgan-card td {font-variant-numeric: tabular-nums;}
.dmgan-message {border-left: 4px solid #b45309; padding: 4px 12px; margin: 0 0 12px; overflow-wrap: anywhere;}
"""
_SMALLEST_STAGE, _LARGEST_STAGE = 80, 256  # px on the page
_WORD = 80  # px on the page
_NEAREST = 128  # px on the page
_GATE_HINT = "share of all words' attention; gate: mean value of the memory writing gate"


def message(text: str) -> str:
    """Return a message to the user."""
    return f'<p class="dmgan-message" role="alert">{escape(text)}</p>'


def note(text: str) -> str:
    """Return a line of small text."""
    return f'<p class="dmgan-note">{escape(text)}</p>'


def cards(parts: Sequence[str]) -> str:
    """Return the cards side by side, as many as fit."""
    return f'<div class="dmgan-cards">{"".join(parts)}</div>'


def words_line(used: Sequence[str], unknown: Sequence[str]) -> str:
    """Return the words that a model reads, and its unknown words, struck out."""
    parts = [f"Words read: {escape(' '.join(used))}."]
    if unknown:
        parts.append("Unknown words, left out: " + ", ".join(f"<del>{escape(word)}</del>" for word in unknown) + ".")
    return f'<p class="dmgan-note dmgan-words">{" ".join(parts)}</p>'


def card(title: str, words: str, image: InspectedImage) -> str:
    """Return the card of one image; words: the line of words_line."""
    stages = [_figure(each, f"{each.shape[0]} px", _stage_side(each.shape[0])) for each in image.stages]
    parts = [f"<h3>{escape(title)}</h3>", words, "<h4>Stages</h4>", _row(stages)]
    if image.retrieved is not None:
        parts += [
            "<h4>Retrieved training image</h4>",
            _row([_figure(image.retrieved, "the generator reads its features", _NEAREST)]),
        ]
    if image.scores:
        parts += ["<h4>Scores</h4>", _table(image.scores)]
    if image.nearest is not None:
        parts += ["<h4>Nearest training image</h4>", _nearest(image.stages[-1], image.nearest)]
    for number, refinement in enumerate(image.refinements, 1):
        parts += _refinement(number, refinement)
    return f'<section class="dmgan-card">{"".join(parts)}</section>'


def _stage_side(side: int) -> int:
    return min(max(side, _SMALLEST_STAGE), _LARGEST_STAGE)


def _row(figures: Sequence[str]) -> str:
    return f'<div class="dmgan-row">{"".join(figures)}</div>'


def _table(scores: dict[str, float]) -> str:
    rows = []
    for key, value in scores.items():
        shown = f"{value}" if isinstance(value, int) else f"{value:.3f}"
        meaning = MEANINGS[key.partition("(")[0]]
        rows.append(f'<tr title="{escape(meaning)}"><th>{escape(key)}</th><td>{shown}</td></tr>')
    return f"<table>{''.join(rows)}</table>"


def _nearest(output: np.ndarray, nearest: NearestImage) -> str:
    distances = [f"in features {nearest.distance:.3g}"]
    if nearest.pixel_distance is not None:
        distances.append(f"in pixels {nearest.pixel_distance:.3g}")
    pair = [_figure(output, "generated", _NEAREST), _figure(nearest.pixels, "nearest", _NEAREST)]
    return _row(pair) + note(f"{nearest.name}: “{nearest.caption}” Distance {', '.join(distances)}.")


def _refinement(number: int, refinement: Refinement) -> list[str]:
    heading = f"Refinement {number}: words on the image of {refinement.image_side} px"
    return [f'<h4 title="{escape(_GATE_HINT)}">{heading}</h4>', _row([_word(word) for word in refinement.words])]


def _word(word: Word) -> str:
    return (
        f'<figure class="dmgan-word">{_image(word.pixels, f"attention of {word.label}", _WORD)}'
        f"<figcaption><b>{escape(word.label)}</b><br>{describe_weights(word)}</figcaption></figure>"
    )


def _figure(pixels: np.ndarray, caption: str, side: int) -> str:
    return f"<figure>{_image(pixels, caption, side)}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(pixels: np.ndarray, text: str, side: int) -> str:
    """Return an image (s, s, 3), shown with `side` px, as HTML that holds its pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" width="{side}" height="{side}" alt="{escape(text)}">'
