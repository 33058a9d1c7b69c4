"""Diversity: are a model's images as unlike each other as real ones are?"""

from typing import NamedTuple

import numpy as np
import torch

_BLOCK = 256  # images at a time: 30,000 images' distances are then 60 MB
LIBRARY = "this project's: mean pairwise distance of the images over that of the reference, float64"


class Diversity(NamedTuple):
    """The share of the real images' mean pairwise distance, with what its spread and jackknife are made of."""

    value: float  # of all images: 1 as diverse as the reference, 0 one image
    alone: list[float]  # of each fold
    without: list[float]  # of all images but each fold's


def diversity(features: np.ndarray, reference: np.ndarray, folds: np.ndarray) -> Diversity:
    """Diversity of features (N, D) in units of a reference (M, D); folds (N,) numbers each image's fold.

    Images of other captions and other noises: a generator that ignores its noise can still have the diversity of its
    captions. A fold needs two images or more.
    """
    real = mean_pairwise_distance(reference)
    numbers = np.unique(folds)
    sums = _fold_sums(features, folds, numbers)
    counts = np.array([np.count_nonzero(folds == number) for number in numbers])

    def of(chosen: list[int]) -> float:
        count = counts[chosen].sum()
        return float(sums[np.ix_(chosen, chosen)].sum() / (count * (count - 1)) / real)

    every = list(range(len(numbers)))
    return Diversity(
        of(every),
        alone=[of([fold]) for fold in every],
        without=[of([other for other in every if other != fold]) for fold in every],
    )


def mean_pairwise_distance(features: np.ndarray) -> float:
    """Mean Euclidean distance over the pairs of different rows of features (N, D)."""
    count = len(features)
    sums = _fold_sums(features, np.zeros(count, dtype=np.int64), np.zeros(1, dtype=np.int64))
    return float(sums[0, 0] / (count * (count - 1)))


def _fold_sums(features: np.ndarray, folds: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(F, F): sum of the distances between the images of two folds, every pair in both orders."""
    rows = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
    members = torch.from_numpy(folds[:, None] == numbers[None, :]).double()  # (N, F)
    sums = torch.zeros(len(numbers), len(numbers), dtype=torch.float64)
    for start in range(0, len(rows), _BLOCK):
        # The exact form: products would lose the small distances of a collapsed set.
        distances = torch.cdist(rows[start : start + _BLOCK], rows, compute_mode="donot_use_mm_for_euclid_dist")
        sums += members[start : start + _BLOCK].t() @ (distances @ members)
    return sums.numpy()
