"""Weights of a caption's words in the refinements of an image, and images darkened by the weights."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from dmgan.models.interface import Generated

_LONGEST = 18  # characters of a label


class WordWeights(NamedTuple):
    """Weights of T words in one refinement of one image."""

    shares: np.ndarray  # (T,) share of each word
    maps: np.ndarray  # (T, s, s)
    gates: np.ndarray | None  # (T,) mean of each word's gate values; None: no memory writing gate


def word_weights(generated: Generated, row: int, length: int) -> list[WordWeights]:
    """Return the weights of the first `length` words, without padding, in every attending refinement of image `row`."""
    found = []
    for place, attention in enumerate(generated.attention):
        own = attention[row, :length]
        gates = generated.gates[place][row, :, :length].float().mean(dim=0).cpu().numpy() if generated.gates else None
        found.append(WordWeights(attention_weights(own), own.float().cpu().numpy(), gates))
    return found


def refined_image(stages: Sequence[np.ndarray], weights: WordWeights) -> np.ndarray:
    """Return the image (2s, 2s, 3) that a refinement with maps (T, s, s) made; the last image if it is not returned."""
    wanted = 2 * weights.maps.shape[1]
    return next((image for image in stages if image.shape[0] == wanted), stages[-1])


def darkened(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the image (s, s, 3) uint8, darkened where a word's map (t, t) is low, unchanged at the maximum."""
    span = weights.max() - weights.min()
    scaled = (weights - weights.min()) / span if span > 0 else np.ones_like(weights)
    side = pixels.shape[0]
    light = np.asarray(Image.fromarray(scaled.astype(np.float32)).resize((side, side), Image.BILINEAR))
    return (pixels * (0.15 + 0.85 * light[:, :, None])).astype(np.uint8)


class ChosenWord(NamedTuple):
    """A word of a caption with its weight."""

    word: str
    weight: float
    position: int  # in the caption, from 0


def attention_weights(attention: Tensor) -> np.ndarray:
    """Return the share (T,) of each word in a map (T, s, s), summed over pixels; the shares sum to 1."""
    weights = attention.double().sum(dim=(1, 2)).cpu().numpy()
    return weights / weights.sum()


def top_words(words: Sequence[str], weights: np.ndarray, count: int = 5) -> list[ChosenWord]:
    """Return the `count` words with the greatest weight, descending; repeated words are counted by position."""
    order = np.argsort(-np.asarray(weights), kind="stable")[:count]
    return [ChosenWord(words[position], float(weights[position]), int(position)) for position in order]


def unique_labels(chosen: Sequence[ChosenWord], words: Sequence[str]) -> list[str]:
    """Return the labels of chosen words; a long word is cut, a repeated word is numbered, as "wing (2nd)"."""
    return [_label(each, words) for each in chosen]


def _label(chosen: ChosenWord, words: Sequence[str]) -> str:
    shown = chosen.word if len(chosen.word) <= _LONGEST else f"{chosen.word[: _LONGEST - 1]}…"
    if list(words).count(chosen.word) == 1:
        return shown
    number = list(words[: chosen.position + 1]).count(chosen.word)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
    return f"{shown} ({number}{ending})"
