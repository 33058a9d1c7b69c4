"""IS, FID, KID and PRDC from stored features.

torch-fidelity does the mathematics of IS and KID (version pinned); the tests compare every number with it, with
clean-fid and with prdc.
"""

import importlib.metadata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import stdtrit  # scipy.stats, which has it as t.ppf, takes a second to import

from dmgan.errors import UserError
from dmgan.evaluation.features import Rows
from dmgan.evaluation.prdc import features_to_manifolds
from dmgan.evaluation.statistics import merge, moments_to_reference, rows_to_moments, statistics_to_fid
from dmgan.randomness import generator

FOLDS = 10
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000  # torch-fidelity's
LIBRARY_SEED = 2020  # torch-fidelity's, of its permutation for IS and its subsets for KID
LIBRARY = f"torch-fidelity {importlib.metadata.version('torch-fidelity')}"
_BLOCK = 1024  # rows at a time


class Score(NamedTuple):
    """A metric of one image set, with what its spread and interval are over."""

    value: float
    spread: float
    spread_over: str
    interval: tuple[float, float]  # 95 %
    interval_over: str
    without: tuple[float, ...] = ()  # the value with each fold left out: two models' are compared pair by pair


# Folds and what they say of a number's uncertainty.


def fold_order(count: int, seed: int) -> np.ndarray:
    """The permutation of the images that folds are cut from: the same for every metric and every set of this size."""
    return generator(seed, "folds").permutation(count)


def fold_rows(permutation: np.ndarray, folds: int | None = None) -> list[np.ndarray]:
    """Consecutive runs (default: ten) of a permutation of the images, cut where torch-fidelity cuts its splits."""
    count, folds = len(permutation), folds or FOLDS
    return [permutation[fold * count // folds : (fold + 1) * count // folds] for fold in range(folds)]


def fold_of_each(num_images: int, permutation: np.ndarray) -> np.ndarray:
    """Fold 0 ... 9 of each image: the permuted images cut into ten runs of like length."""
    folds = np.empty(num_images, dtype=np.int64)
    for fold, rows in enumerate(fold_rows(permutation)):
        folds[rows] = fold
    return folds


def mean_over_folds(values: np.ndarray) -> Score:
    """The papers' form: mean and population sd of ten fold values, with a t interval of the mean."""
    mean, spread = float(values.mean()), float(values.std())
    half = _t_half(float(values.std(ddof=1)) / np.sqrt(FOLDS), FOLDS)
    over = f"the mean of {FOLDS} folds of one image set (t distribution)"
    without = tuple(float(each) for each in (values.sum() - values) / (len(values) - 1))
    return Score(mean, spread, f"{FOLDS} folds of one image set", (mean - half, mean + half), over, without)


def whole_with_jackknife(value: float, alone: Sequence[float], without: Sequence[float]) -> Score:
    """A statistic of all images, its sd over the folds, and a delete-one-fold jackknife interval.

    `alone`: the statistic of each fold; `without`: of all images but each fold's. The value itself is of all images:
    FID of a fold is of fewer images and so biased upwards, and the mean over folds is not the metric.
    """
    without = np.asarray(without)
    half = _t_half(np.sqrt((FOLDS - 1) / FOLDS * np.square(without - without.mean()).sum()), FOLDS)
    over = f"images of one set (delete-one-fold jackknife, {FOLDS} folds)"
    spread_over, interval = f"{FOLDS} folds of one image set", (value - half, value + half)
    return Score(value, float(np.std(alone)), spread_over, interval, over, tuple(without.tolist()))


def _t_half(standard_error: float, folds: int) -> float:
    """Half the width of a 95 % interval whose standard error is from so many folds."""
    return float(stdtrit(folds - 1, 0.975) * standard_error)


# Inception Score.


def torch_fidelity_order(count: int) -> np.ndarray:
    """The order in which torch-fidelity cuts its ten splits."""
    return np.random.RandomState(LIBRARY_SEED).permutation(count)


def inception_score(logits: Rows, order: np.ndarray) -> Score:
    """IS (Salimans et al. 2016) of logits (N, classes): mean over ten consecutive splits of the images in `order`."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    splits = (torch.from_numpy(logits.take(rows)) for rows in fold_rows(order))
    return mean_over_folds(
        np.array([isc_features_to_metric(each, splits=1, shuffle=False)[KEY_METRIC_ISC_MEAN] for each in splits])
    )


# Fréchet distance.


def whole_batches(features: Rows, batch: int, what: str) -> Rows:
    """The rows that fill batches, as a loader that drops an incomplete last one leaves them."""
    if len(features) < batch:
        raise UserError(f"{what}: {len(features)} images do not fill a batch of {batch}, as torchvision-released needs")
    return features.subset(np.arange(len(features) // batch * batch))


def frechet_distance(features: Rows, reference: Rows, order: np.ndarray) -> Score:
    """FID of features (N, D) against a reference (M, D); folds and jackknife from the folds' own statistics."""
    real = moments_to_reference(rows_to_moments(reference))
    parts = [rows_to_moments(features.subset(rows)) for rows in fold_rows(order)]
    total = merge(parts)
    return whole_with_jackknife(
        statistics_to_fid(total, real),
        alone=[statistics_to_fid(part, real) for part in parts],
        without=[statistics_to_fid(total.without(part), real) for part in parts],
    )


# Kernel distance.


def kernel_distance(features: Rows, reference: Rows, order: np.ndarray) -> Score:
    """KID (Binkowski et al. 2018) of features (N, D) against a reference (M, D).

    The value is torch-fidelity's: the mean over its 100 random subsets. Folds and jackknife are of the same kernel over
    all pairs, which the subsets are drawn from: they do not carry the noise of the draw.
    """
    pairs = _fold_kernel_sums(features, reference, order)
    everyone = list(range(FOLDS))
    return whole_with_jackknife(
        subset_kernel_distance(features, reference),
        alone=[pairs.distance([fold]) for fold in everyone],
        without=[pairs.distance([other for other in everyone if other != fold]) for fold in everyone],
    )


def kid_subset_size(count: int, reference_count: int) -> int:
    """torch-fidelity's 1,000, or as many as there are."""
    return min(KID_SUBSET_SIZE, count, reference_count)


def subset_kernel_distance(features: Rows, reference: Rows) -> float:
    """torch-fidelity's KID. Its subsets are drawn here, in its way, so that only their rows need be in memory."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    size = kid_subset_size(len(features), len(reference))
    random = np.random.RandomState(LIBRARY_SEED)
    distances = []
    for _ in range(KID_SUBSETS):
        fakes = features.take(random.choice(len(features), size, replace=False))
        reals = reference.take(random.choice(len(reference), size, replace=False))
        scores = kid_features_to_metric(
            torch.from_numpy(fakes), torch.from_numpy(reals), kid_subsets=1, kid_subset_size=size, verbose=False
        )
        distances.append(scores[KEY_METRIC_KID_MEAN])
    return float(np.mean(distances))


class _KernelSums(NamedTuple):
    """Sums of the polynomial kernel over pairs, by fold."""

    counts: np.ndarray  # (F,) images
    within: np.ndarray  # (F, F) over pairs of two different images
    across: np.ndarray  # (F,) over pairs of an image and a real one
    real: float  # mean over pairs of two different real images
    real_count: int

    def distance(self, folds: list[int]) -> float:
        """Unbiased squared MMD of the images of some folds."""
        count = self.counts[folds].sum()
        within = self.within[np.ix_(folds, folds)].sum() / (count * (count - 1))
        return float(within + self.real - 2 * self.across[folds].sum() / (count * self.real_count))


def _fold_kernel_sums(features: Rows, reference: Rows, order: np.ndarray) -> _KernelSums:
    folds = [features.subset(rows) for rows in fold_rows(order)]
    within = np.zeros((FOLDS, FOLDS))
    for i in range(FOLDS):
        for j in range(i, FOLDS):
            within[i, j] = within[j, i] = _kernel_sum(folds[i], folds[j], skip_diagonal=i == j)
    across = np.array([_kernel_sum(fold, reference) for fold in folds])
    count = len(reference)
    real = _kernel_sum(reference, reference, skip_diagonal=True) / (count * (count - 1))
    return _KernelSums(np.array([len(fold) for fold in folds]), within, across, real, count)


def _kernel_sum(left: Rows, right: Rows, skip_diagonal: bool = False) -> float:
    """Sum of (x.y / D + 1)^3 over all pairs of rows; skip_diagonal: of two different rows of one set."""
    total = 0.0
    for i, first in enumerate(left.blocks(_BLOCK)):
        first = torch.from_numpy(first)
        for j, second in enumerate(right.blocks(_BLOCK)):
            kernel = (first @ torch.from_numpy(second).t()).div_(left.width).add_(1.0)
            kernel = kernel * kernel * kernel
            if skip_diagonal and i == j:
                kernel.fill_diagonal_(0.0)
            total += float(kernel.sum(dtype=torch.float64))
    return total


# Precision, recall, density, coverage.


def manifold_scores(
    features: Rows, reference: Rows, order: np.ndarray, reference_order: np.ndarray, neighbours: int
) -> dict[str, Score]:
    """Precision, recall, density and coverage of features (N, D) against a reference (M, D).

    Each is a mean over images of one side; its interval holds the other side and both manifolds fixed.
    """
    manifolds = features_to_manifolds(features, reference, neighbours)
    generated, real = "generated images, manifolds held fixed", "real images, manifolds held fixed"
    return {
        "precision": _mean_with_folds(manifolds.precision, order, generated),
        "recall": _mean_with_folds(manifolds.recall, reference_order, real),
        "density": _mean_with_folds(manifolds.density, order, generated),
        "coverage": _mean_with_folds(manifolds.coverage, reference_order, real),
    }


def _mean_with_folds(values: np.ndarray, order: np.ndarray, over: str) -> Score:
    """Mean over all images; sd and t interval over ten folds of them, fewer where a fold would hold one image."""
    count = max(2, min(FOLDS, len(order) // 2))
    folds = np.array([values[rows].mean() for rows in fold_rows(order, count)])
    value, half = float(values.mean()), _t_half(folds.std(ddof=1) / np.sqrt(count), count)
    spread_over = f"{count} folds of the {over}"
    return Score(
        value, float(folds.std()), spread_over, (value - half, value + half), f"{spread_over} (t distribution)"
    )
