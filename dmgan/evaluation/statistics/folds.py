"""Folds of an image set, and spread and interval over folds.

An image set is cut in two ways: folds of single images give the papers' ±; folds of whole test images give intervals
and paired tests, since images of one test image are dependent.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # the same as scipy.stats.t.ppf, but scipy.stats takes a second to import

from dmgan.errors import UserError
from dmgan.runtime.randomness import generator

FOLDS = 10
REAL_IMAGES = "real images"  # held fixed by the intervals of FID, KID and diversity
TORCH_FIDELITY_SEED = 2020  # torch-fidelity's seed of the permutation for IS and of the subsets for KID


class Score(NamedTuple):
    """Value of one image set, with its spread and interval and descriptions of both."""

    value: float
    spread: float
    spread_over: str
    interval: tuple[float, float]  # 95 %
    interval_over: str
    folds: int  # number of folds of the spread
    interval_folds: int  # number of folds of the interval
    without: tuple[float, ...] = ()  # the value with each fold left out, for paired comparisons
    centre: float | None = None  # centre of the interval, if it is not the value


def fold_order(count: int, seed: int) -> np.ndarray:
    """Return the permutation of the images that folds are cut from: the same for all metrics and sets of this size."""
    return generator(seed, "folds").permutation(count)


def fold_rows(permutation: np.ndarray, folds: int | None = None) -> list[np.ndarray]:
    """Cut a permutation of the images into folds (default: ten), where torch-fidelity cuts its splits."""
    count, folds = len(permutation), folds or FOLDS
    return [permutation[fold * count // folds : (fold + 1) * count // folds] for fold in range(folds)]


def fold_of_each(num_images: int, permutation: np.ndarray) -> np.ndarray:
    """Return the fold, 0 ... 9, of each image: the permuted images are cut into ten folds of nearly equal size."""
    folds = np.empty(num_images, dtype=np.int64)
    for fold, rows in enumerate(fold_rows(permutation)):
        folds[rows] = fold
    return folds


def clustered_folds(test_images: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the images of each of ten folds of whole test images (fewer folds for fewer test images), for intervals.

    test_images (N,) is the test image that each image was made for; images of one test image share a fold.
    """
    names, of_each = np.unique(test_images, return_inverse=True)
    if len(names) < 2:
        raise UserError("all images are of one test image, so no interval can be given; give images of several")
    fold_of_name = np.empty(len(names), dtype=np.int64)
    runs = fold_rows(generator(seed, "folds of test images").permutation(len(names)), min(FOLDS, len(names)))
    for fold, members in enumerate(runs):
        fold_of_name[members] = fold
    return rows_of_folds(fold_of_name[of_each])


def rows_of_folds(folds: np.ndarray) -> list[np.ndarray]:
    """Return the images of each fold; folds (N,) is the fold of each image."""
    return [np.flatnonzero(folds == fold) for fold in range(folds.max() + 1)]


def mean_over_folds(values: np.ndarray, clustered: np.ndarray) -> Score:
    """Return mean and population sd of ten fold values, as in the papers, with a t interval of the mean.

    values (10,): of folds of single images. clustered (F,): of folds of whole test images, for the interval.
    """
    mean, spread, count = float(values.mean()), float(values.std()), len(clustered)
    half = t_half_width(float(clustered.std(ddof=1)) / np.sqrt(count), count)
    over = f"the mean of {count} folds of whole test images (t distribution)"
    without = tuple(float(each) for each in (clustered.sum() - clustered) / (count - 1))
    spread_over, interval = f"{len(values)} folds of one image set", (mean - half, mean + half)
    return Score(mean, spread, spread_over, interval, over, len(values), count, without)


def whole_with_jackknife(
    value: float,
    of_folds: Sequence[float],
    without: Sequence[float],
    centre: float | None = None,
    held_fixed: str = "",
) -> Score:
    """Return a statistic of all images, its sd over the folds, and a delete-one-fold jackknife interval.

    `of_folds`: the statistic of each fold of single images; `without`: the statistic with each fold of whole test
    images left out. The value is not the mean over folds: FID of a fold uses fewer images and is biased upwards.
    `centre`: the centre of the interval, if it is not the value. `held_fixed`: what the interval does not vary, such as
    REAL_IMAGES.
    """
    without = np.asarray(without)
    count = len(without)
    half = t_half_width(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()), count)
    fixed = f", {held_fixed} held fixed" if held_fixed else ""
    over = f"images clustered by test image{fixed} (delete-one-fold jackknife, {count} folds of whole test images)"
    middle = value if centre is None else centre
    spread_over, interval = f"{len(of_folds)} folds of one image set", (middle - half, middle + half)
    spread, without = float(np.std(of_folds)), tuple(without.tolist())
    return Score(value, spread, spread_over, interval, over, len(of_folds), count, without, centre)


def t_half_width(standard_error: float, folds: int) -> float:
    """Return half the width of a 95 % t interval whose standard error is from `folds` folds."""
    return float(stdtrit(folds - 1, 0.975) * standard_error)
