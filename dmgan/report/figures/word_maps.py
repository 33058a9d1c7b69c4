"""Figure 6: the words with the greatest weight in attention, memory writing and key addressing."""

from typing import NamedTuple

import numpy as np

from dmgan.data.batches import to_uint8
from dmgan.models.dmgan import DMGAN
from dmgan.report.figures.attention import describe, uniformity
from dmgan.report.figures.canvas import GAP, GREY, LABEL, MARGIN, MEDIUM, SIDE, SMALL, Canvas, line_height, wrap
from dmgan.report.figures.scene import MAIN, RIVAL, Scene, title
from dmgan.sampling.trained_model import TrainedModel
from dmgan.sampling.word_maps import darkened, top_words, unique_labels, word_weights

_STEP = SIDE + GAP
_HEAD = line_height(SMALL) + 0.04  # height of the label above an image
_ROW = _HEAD + SIDE + 0.1
_BARS = 1.95  # inches of one list of words with bars
_WIDTH = 2 * MARGIN + LABEL + 3 * _STEP + 2 * _BARS + 0.2
_TOP_WORDS = 5
_FOOT = (
    "Attention, dynamic memory, key addressing: a word's weight summed over pixels, as a share of all words' weight. "
    "Memory writing: the word's gate, 0 to 1. Maps: bright where the word has a great weight."
)


class Choice(NamedTuple):
    """One refinement of one image, with the words and their weights."""

    before: np.ndarray  # (s, s, 3) uint8
    after: np.ndarray  # (2s, 2s, 3) uint8
    words: list[str]
    attention: np.ndarray  # (T,) share of each word
    maps: np.ndarray  # (T, s, s)
    gates: np.ndarray | None  # (T,)


def refinement_choice(scene: Scene, run: TrainedModel, number: int, refinement: int) -> Choice:
    """Return images and word weights of a refinement (0 the first, -1 the last) of a sampled caption."""
    generated = scene.generate(run, [number])
    at = range(len(generated.attention))[refinement]
    tokens = scene.tokens(run, number)
    weights = word_weights(generated, 0, len(tokens))[at]
    return Choice(
        before=to_uint8(generated.images[at])[0],
        after=to_uint8(generated.images[at + 1])[0],
        words=run.damsm.vocabulary.decode(tokens),
        attention=weights.shares,
        maps=weights.maps,
        gates=weights.gates,
    )


def draw_words(scene: Scene) -> Canvas:
    """Draw (a) attention and dynamic memory in the first refinement, (b) writing and addressing in the last."""
    first, second = scene.caption_numbers(8)[1:3]
    width = _WIDTH - 2 * MARGIN
    parts = [f"(a) {scene.caption(first)}", f"(b) {scene.caption(second)}"]
    captions = [wrap(part, width, MEDIUM) for part in parts]
    foot = wrap(f"{_FOOT} {_uniformity_note(scene)}", width, SMALL)
    spaces = [len(lines) * line_height(MEDIUM) + 0.08 for lines in captions]
    height = 2 * MARGIN + sum(spaces) + 3 * _ROW + 0.1 + len(foot) * line_height(SMALL)
    canvas = Canvas(_WIDTH, height)

    top = MARGIN
    canvas.lines(MARGIN, top, captions[0], MEDIUM)
    top += spaces[0]
    _draw_first_refinement(canvas, top, scene, first, RIVAL, "Attention")
    _draw_first_refinement(canvas, top + _ROW, scene, first, MAIN, "Dynamic memory")
    top += 2 * _ROW + 0.1
    canvas.lines(MARGIN, top, captions[1], MEDIUM)
    top += spaces[1]
    _draw_two_steps(canvas, top, scene, second)
    canvas.lines(MARGIN, top + _ROW, foot, SMALL, GREY)
    return canvas


def _uniformity_note(scene: Scene) -> str:
    """Return how uniform the attention of the shown refinements is."""
    rival, memory, written = _attending_run(scene), _memory_run(scene), _memory_run(scene, write_gate=True)
    shown = [(run, 0) for run in (rival, memory) if run is not None]
    shown += [(written, -1)] if written is not None else []
    found = {}
    for run, place in shown:
        values = uniformity(scene, run)
        found[f"{title(run.name)}, refinement {range(1, len(values) + 1)[place]}"] = values[place]
    return describe(list(found.items()))


def _draw_first_refinement(canvas: Canvas, top: float, scene: Scene, number: int, name: str, heading: str) -> None:
    """Draw two images, the maps of the two words with the greatest weight, and bars of the top words."""
    run = _attending_run(scene) if name == RIVAL else _memory_run(scene)
    if run is None:
        _draw_missing(canvas, top, scene, name)
        return
    choice = refinement_choice(scene, run, number, 0)
    _draw_images(canvas, top, run, choice, maps=2)
    _draw_bars(canvas, top, MARGIN + LABEL + 4 * _STEP + 0.1, heading, choice.words, choice.attention)


def _draw_two_steps(canvas: Canvas, top: float, scene: Scene, number: int) -> None:
    """Draw two images, the map of the word with the greatest weight, and bars of memory writing and key addressing."""
    run = _memory_run(scene, write_gate=True)
    if run is None:
        _draw_missing(canvas, top, scene, MAIN)
        return
    choice = refinement_choice(scene, run, number, -1)
    _draw_images(canvas, top, run, choice, maps=1)
    left = MARGIN + LABEL + 3 * _STEP + 0.1
    _draw_bars(canvas, top, left, "Memory writing", choice.words, choice.gates)
    _draw_bars(canvas, top, left + _BARS + 0.1, "Key addressing", choice.words, choice.attention)


def _attending_run(scene: Scene) -> TrainedModel | None:
    return next((run for run in scene.runs if run.name == RIVAL and _refines(run)), None)


def _memory_run(scene: Scene, write_gate: bool = False) -> TrainedModel | None:
    """Return DM-GAN, else the first variant with a key-value memory; with `write_gate` also with a sigmoid gate.

    An unbounded gate, and attention over pixels, give no shares of words to draw.
    """
    found = [run for run in scene.runs if isinstance(run.model, DMGAN) and _refines(run) and run.model.memory.key_value]
    found = [run for run in found if run.model.attention_axis == "word"]
    if write_gate:
        found = [run for run in found if run.model.memory.write_gate == "sigmoid"]
    return next((run for run in found if run.name == MAIN), found[0] if found else None)


def _refines(run: TrainedModel) -> bool:
    return run.model.architecture.stages > 1


def _draw_missing(canvas: Canvas, top: float, scene: Scene, name: str) -> None:
    """Print why a panel is empty."""
    why = "its only stage refines nothing" if any(run.name == name for run in scene.runs) else "not run"
    canvas.lines(MARGIN, top + _HEAD + SIDE / 2 - line_height(MEDIUM) / 2, [f"{title(name)}: {why}"], MEDIUM, GREY)


def _draw_images(canvas: Canvas, top: float, run: TrainedModel, choice: Choice, maps: int) -> None:
    """Draw the images before and after the refinement, then the maps of the words with the greatest share."""
    instead = "" if run.name in (MAIN, RIVAL) else f"\n({title(MAIN)}: not run)"
    canvas.row_label(top + _HEAD, f"{title(run.name)}\nseed {run.options['seed']}{instead}")
    heaviest = top_words(choice.words, choice.attention, maps)
    shown = [(f"{each.shape[0]} × {each.shape[0]} px", each) for each in (choice.before, choice.after)]
    for label, each in zip(unique_labels(heaviest, choice.words), heaviest, strict=True):
        shown.append((f"“{label}”", darkened(choice.after, choice.maps[each.position])))
    for column, (label, pixels) in enumerate(shown):
        left = MARGIN + LABEL + column * _STEP
        canvas.lines(left, top, [label], SMALL, GREY)
        canvas.image(left, top + _HEAD, pixels)


def _draw_bars(canvas: Canvas, top: float, left: float, heading: str, words: list[str], weights: np.ndarray) -> None:
    """Draw bars of the words with the greatest weight under a heading."""
    chosen = top_words(words, weights, _TOP_WORDS)
    canvas.lines(left, top, [heading], SMALL, GREY)
    canvas.bars(left, top + _HEAD, _BARS, unique_labels(chosen, words), [each.weight for each in chosen])
