"""Attention and writing gates over the words of one caption, for every model that attends to words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dmgan.report.figures.attention import CAPTIONS, CRITERION, uniformity
from dmgan.report.figures.canvas import GREY, INK, MARGIN, MEDIUM, SMALL, Canvas, line_height, text_width, wrap
from dmgan.report.figures.scene import Scene, named
from dmgan.sampling.trained_model import TrainedModel
from dmgan.sampling.word_maps import attention_weights

_CELL, _CELL_HEIGHT = 0.4, 0.2  # inches
_LABEL = 2.1  # width of the row labels
_BETWEEN = 0.14  # between two models
_DARKEST = 0.75  # greatest darkness of a cell, from 0 (white) to 1 (black)
_FULL = 4  # times the equal share, from which a share of the attention has the darkest cell


class Row(NamedTuple):
    """One row of weights."""

    label: str
    weights: np.ndarray  # (T,)
    darkness: np.ndarray  # (T,) of the cells, from 0 to 1


class Weights(NamedTuple):
    """The weights of one model over the words that it reads."""

    title: str
    words: list[str]
    rows: list[Row]

    @property
    def heads(self) -> list[list[str]]:
        """The words in lines that fit above a cell."""
        return [wrap(word, _CELL - 0.03, SMALL) for word in self.words]

    @property
    def head_height(self) -> float:
        return line_height(MEDIUM) + max(map(len, self.heads)) * line_height(SMALL) + 0.04

    @property
    def height(self) -> float:
        return self.head_height + len(self.rows) * _CELL_HEIGHT


def draw_weights(scene: Scene) -> Canvas:
    """Draw, for the first caption, a table of cells for each model: a word a column, a refinement a row."""
    (number,) = scene.caption_numbers(1)
    found = [weights_of(scene, run, number) for run in scene.runs]
    found = [each for each in found if each.rows]
    words = max((len(each.words) for each in found), default=1)
    width = max(2 * MARGIN + _LABEL + words * _CELL, 4.0)
    room = width - 2 * MARGIN
    heading = wrap(f"Caption: {scene.caption(number)}", room, MEDIUM)
    notes = wrap(_foot(scene, found), room, SMALL)
    top = MARGIN + len(heading) * line_height(MEDIUM) + 0.1
    height = top + sum(each.height + _BETWEEN for each in found) + len(notes) * line_height(SMALL) + MARGIN
    canvas = Canvas(width, height)
    canvas.lines(MARGIN, MARGIN, heading, MEDIUM)
    for each in found:
        _draw_model(canvas, top, each)
        top += each.height + _BETWEEN
    canvas.lines(MARGIN, top, notes, SMALL, GREY)
    return canvas


def weights_of(scene: Scene, run: TrainedModel, number: int) -> Weights:
    """Return the weights of a run for a sampled caption; without rows if the model does not attend to words."""
    generated = scene.generate(run, [number])
    words = run.damsm.vocabulary.decode(scene.tokens(run, number))
    rows = []
    entropies = uniformity(scene, run) if generated.attention else []
    for place, (attention, entropy) in enumerate(zip(generated.attention, entropies, strict=True), 1):
        shares = attention_weights(attention[0])
        label = f"attention {place} (entropy {entropy})"
        rows.append(Row(label, shares, np.minimum(shares * len(shares) / _FULL, 1)))
    for place, gate in enumerate(generated.gates, 1):
        values = gate[0].double().mean(dim=0).cpu().numpy()
        rows.append(Row(f"writing gate {place}", values, np.clip(values, 0, 1)))
    return Weights(named(run), words, rows)


def _foot(scene: Scene, found: Sequence[Weights]) -> str:
    without = [named(run) for run in scene.runs if named(run) not in {each.title for each in found}]
    text = (
        "Attention: a word's weight summed over pixels, as a share of all words' weight. Writing gate: 0 keeps the "
        "image's mean in the memory slot, 1 writes the word; a gate without a sigmoid has no bounds. A darker cell has "
        f"a greater weight: {_FULL} times the equal share, or a gate of 1, is darkest. Entropy: of the attention "
        f"relative to its maximum, mean of {CAPTIONS} captions. {CRITERION}"
    )
    return text + (f" Without attention to words: {'; '.join(without)}." if without else "")


def _draw_model(canvas: Canvas, top: float, weights: Weights) -> None:
    canvas.lines(MARGIN, top, [weights.title], MEDIUM, weight="bold")
    first = top + weights.head_height
    for column, lines in enumerate(weights.heads):
        left, above = MARGIN + _LABEL + column * _CELL, first - 0.04 - len(lines) * line_height(SMALL)
        canvas.lines(left + 0.02, above, lines, SMALL)
    for place, row in enumerate(weights.rows):
        y = first + place * _CELL_HEIGHT
        canvas.lines(MARGIN, y + (_CELL_HEIGHT - line_height(SMALL)) / 2, [row.label], SMALL)
        for column, (value, darkness) in enumerate(zip(row.weights, row.darkness, strict=True)):
            left = MARGIN + _LABEL + column * _CELL
            canvas.cell(left, y, _CELL, _CELL_HEIGHT, 1 - _DARKEST * darkness)
            text, ink = f"{value:.2f}", "white" if darkness > 0.75 else INK
            inside = (_CELL - text_width(text, SMALL)) / 2
            canvas.lines(left + inside, y + (_CELL_HEIGHT - line_height(SMALL)) / 2, [text], SMALL, ink)
