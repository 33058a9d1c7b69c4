"""Diversity: are a model's images as unlike each other as real ones are?"""

from typing import NamedTuple

import numpy as np
import torch

_BLOCK = 1024  # images at a time: their distances to as many others are 8 MB
LIBRARY = "this project's: mean pairwise distance of the images over that of the reference, float64"


class Diversity(NamedTuple):
    """The share of the real images' mean pairwise distance, with what its spread and jackknife are made of."""

    value: float  # of all images: 1 as diverse as the reference, 0 one image
    alone: list[float]  # of each fold
    without: list[float]  # of all images but those of each fold of whole test images


def diversity(
    features: np.ndarray, reference: np.ndarray, folds: list[np.ndarray], clustered: list[np.ndarray]
) -> Diversity:
    """Diversity of features (N, D) in units of a reference (M, D).

    Images of other captions and other noises: a generator that ignores its noise can still have the diversity of its
    captions. `folds` and `clustered` are the images of each fold, of single images and of whole test images; each way
    of cutting holds every image once. One of `folds` needs two images or more.
    """
    real = mean_pairwise_distance(reference)
    sums = _fold_sums(features, [*folds, *clustered])
    counts = np.array([len(rows) for rows in (*folds, *clustered)])

    def of(chosen: list[int]) -> float:
        count = counts[chosen].sum()
        return float(sums[np.ix_(chosen, chosen)].sum() / (count * (count - 1)) / real)

    single, whole = list(range(len(folds))), list(range(len(folds), len(counts)))
    return Diversity(
        of(single),
        alone=[of([fold]) for fold in single],
        without=[of([other for other in whole if other != fold]) for fold in whole],
    )


def mean_pairwise_distance(features: np.ndarray) -> float:
    """Mean Euclidean distance over the pairs of different rows of features (N, D)."""
    count = len(features)
    sums = _fold_sums(features, [np.arange(count)])
    return float(sums[0, 0] / (count * (count - 1)))


def _fold_sums(features: np.ndarray, folds: list[np.ndarray]) -> np.ndarray:
    """(F, F): sum of the distances between the images of two folds, every pair in both orders."""
    rows = torch.from_numpy(np.ascontiguousarray(features))
    members = torch.zeros(len(rows), len(folds), dtype=torch.float64)
    for column, numbers in enumerate(folds):
        members[numbers, column] = 1
    sums = torch.zeros(len(folds), len(folds), dtype=torch.float64)
    parts = list(zip(rows.split(_BLOCK), members.split(_BLOCK), strict=True))
    for left, of_left in parts:
        for right, of_right in parts:
            # The exact form: products would lose the small distances of a collapsed set.
            distances = torch.cdist(left.double(), right.double(), compute_mode="donot_use_mm_for_euclid_dist")
            sums += of_left.t() @ (distances @ of_right)
    return sums.numpy()
