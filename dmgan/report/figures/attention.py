"""Uniformity of attention: the entropy of its weights relative to the greatest possible entropy."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from dmgan.report.figures.scene import Scene
from dmgan.sampling.trained_model import TrainedModel

NEARLY_UNIFORM = 0.95  # relative entropy from which attention chooses nothing
CRITERION = (
    f"From {NEARLY_UNIFORM} on, attention is nearly uniform: the order of its words is then no choice of the model."
)
CAPTIONS = 8  # mean over the first captions of the figures


class Uniformity(NamedTuple):
    """The relative entropy of the attention of one refinement, from 0 (one word) to 1 (all words alike)."""

    entropy: float
    over: str  # what the weights sum to one over: "words" or "pixels"

    @property
    def nearly_uniform(self) -> bool:
        """Whether the attention chooses no word, or no pixel."""
        return self.entropy >= NEARLY_UNIFORM

    def __str__(self) -> str:
        return f"{self.entropy:.2f}, nearly uniform" if self.nearly_uniform else f"{self.entropy:.2f}"


def relative_entropy(attention: Tensor, axis: str) -> float:
    """Return the mean entropy of attention (T, s, s), divided by the logarithm of the number of weights.

    axis: TextToImageGAN.attention_axis. "word": over the words, mean over pixels; else over pixels, mean over words.
    A single weight has no choice and counts as 1.
    """
    weights = attention.double().flatten(1).t() if axis == "word" else attention.double().flatten(1)
    if weights.shape[1] == 1:
        return 1.0
    shares = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)
    entropy = -(shares * shares.clamp_min(1e-12).log()).sum(dim=1)
    return float(entropy.mean() / math.log(weights.shape[1]))


def uniformity(scene: Scene, run: TrainedModel) -> list[Uniformity]:
    """Return the uniformity of every refinement of a run, as the mean over the first captions."""
    over = "words" if run.model.attention_axis == "word" else "pixels"
    per_caption = []
    for number in scene.caption_numbers(CAPTIONS):
        maps = scene.generate(run, [number]).attention  # of one caption, so that no word is padding
        per_caption.append([relative_entropy(each[0], run.model.attention_axis) for each in maps])
    return [Uniformity(sum(column) / len(column), over) for column in zip(*per_caption, strict=True)]


def describe(found: Sequence[tuple[str, Uniformity]]) -> str:
    """Return a note of the uniformity of named refinements, such as "AttnGAN, refinement 1"."""
    if not found:
        return ""
    values = "; ".join(f"{name}: {each}" for name, each in found)
    return f"Entropy of the attention relative to its maximum, mean of {CAPTIONS} captions: {values}. {CRITERION}"
