"""Diversity: mean pairwise distance of a model's images over that of real images."""

from typing import NamedTuple

import numpy as np
import torch

_BLOCK = 1024  # images at a time: a block of 1024 x 1024 distances is 8 MB


class Diversity(NamedTuple):
    """Diversity of all images, of every fold, and with every fold left out."""

    value: float  # of all images: 1 if as diverse as the reference, 0 if all images are equal
    of_folds: list[float]  # of each fold
    without: list[float]  # with each fold of whole test images left out


def diversity(
    features: np.ndarray, reference: np.ndarray, folds: list[np.ndarray], clustered: list[np.ndarray]
) -> Diversity:
    """Return the diversity of features (N, D) in units of a reference (M, D).

    The images differ in caption and in noise: a generator that ignores its noise can still have the diversity of its
    captions. `folds` and `clustered` are the images of each fold, of single images and of whole test images; both cuts
    hold every image once. Every fold of `folds` needs at least two images.
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
        of_folds=[of([fold]) for fold in single],
        without=[of([other for other in whole if other != fold]) for fold in whole],
    )


def mean_pairwise_distance(features: np.ndarray) -> float:
    """Return the mean Euclidean distance over the pairs of different rows of features (N, D)."""
    count = len(features)
    sums = _fold_sums(features, [np.arange(count)])
    return float(sums[0, 0] / (count * (count - 1)))


def _fold_sums(features: np.ndarray, folds: list[np.ndarray]) -> np.ndarray:
    """Return (F, F), the sum of the distances between the images of two folds, every pair in both orders."""
    rows = torch.from_numpy(np.ascontiguousarray(features))
    members = torch.zeros(len(rows), len(folds), dtype=torch.float64)
    for column, numbers in enumerate(folds):
        members[numbers, column] = 1
    sums = torch.zeros(len(folds), len(folds), dtype=torch.float64)
    parts = list(zip(rows.split(_BLOCK), members.split(_BLOCK), strict=True))
    for left, of_left in parts:
        for right, of_right in parts:
            # Exact distances: the matrix product form would lose the small distances of a collapsed set.
            distances = torch.cdist(left.double(), right.double(), compute_mode="donot_use_mm_for_euclid_dist")
            sums += of_left.t() @ (distances @ of_right)
    return sums.numpy()
