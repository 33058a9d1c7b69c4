"""Which words of its caption a generator chose: weights of attention and of the writing gate."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor


class ChosenWord(NamedTuple):
    """A word of a caption with its weight."""

    word: str
    weight: float
    position: int  # in the caption, from 0


def attention_weights(attention: Tensor) -> np.ndarray:
    """Share (T,) of each word in a map (T, s, s): summed over pixels, all words together 1."""
    weights = attention.double().sum(dim=(1, 2)).cpu().numpy()
    return weights / weights.sum()


def top_words(words: Sequence[str], weights: np.ndarray, count: int = 5) -> list[ChosenWord]:
    """The `count` heaviest words, heaviest first; of a word that stands twice each place counts alone."""
    order = np.argsort(-np.asarray(weights), kind="stable")[:count]
    return [ChosenWord(words[position], float(weights[position]), int(position)) for position in order]


def told_apart(chosen: Sequence[ChosenWord], words: Sequence[str]) -> list[str]:
    """Labels of chosen words; one that the caption holds more than once says which it is, as "wing (2nd)"."""
    return [_label(each, words) for each in chosen]


def _label(chosen: ChosenWord, words: Sequence[str]) -> str:
    if list(words).count(chosen.word) == 1:
        return chosen.word
    number = list(words[: chosen.position + 1]).count(chosen.word)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
    return f"{chosen.word} ({number}{ending})"
