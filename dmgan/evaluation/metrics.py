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
from dmgan.runtime.randomness import generator

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
    folds: int  # that the spread is over
    interval_folds: int
    without: tuple[float, ...] = ()  # the value with each fold left out: two models' are compared pair by pair
    centre: float | None = None  # what interval and `without` are of, where that is another estimate than the value


# Folds and what they say of a number's uncertainty. Two ways to cut one image set: runs of single images give the
# papers' ±; folds of whole test images give intervals and paired tests, for images of one test image are dependent.


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


def clustered_folds(test_images: np.ndarray, seed: int) -> list[np.ndarray]:
    """The images of each of ten folds of whole test images (fewer where there are fewer), for intervals.

    test_images (N,) is the test image that each image was made for; all that was made for one lies in one fold.
    """
    names, of_each = np.unique(test_images, return_inverse=True)
    if len(names) < 2:
        raise UserError("every image is of one test image, so that no interval can be given; give images of several")
    fold_of_name = np.empty(len(names), dtype=np.int64)
    runs = fold_rows(generator(seed, "folds of test images").permutation(len(names)), min(FOLDS, len(names)))
    for fold, members in enumerate(runs):
        fold_of_name[members] = fold
    return rows_of_folds(fold_of_name[of_each])


def rows_of_folds(folds: np.ndarray) -> list[np.ndarray]:
    """The images of each fold, for folds (N,) the fold of each image."""
    return [np.flatnonzero(folds == fold) for fold in range(folds.max() + 1)]


def mean_over_folds(values: np.ndarray, clustered: np.ndarray) -> Score:
    """The papers' form: mean and population sd of ten fold values, with a t interval of the mean.

    values (10,) of folds of single images; the interval is from those of folds of whole test images, clustered (F,).
    """
    mean, spread, count = float(values.mean()), float(values.std()), len(clustered)
    half = _t_half(float(clustered.std(ddof=1)) / np.sqrt(count), count)
    over = f"the mean of {count} folds of whole test images (t distribution)"
    without = tuple(float(each) for each in (clustered.sum() - clustered) / (count - 1))
    spread_over, interval = f"{len(values)} folds of one image set", (mean - half, mean + half)
    return Score(mean, spread, spread_over, interval, over, len(values), count, without)


def whole_with_jackknife(
    value: float, alone: Sequence[float], without: Sequence[float], centre: float | None = None
) -> Score:
    """A statistic of all images, its sd over the folds, and a delete-one-fold jackknife interval.

    `alone`: the statistic of each fold of single images; `without`: of all images but those of each fold of whole test
    images. The value itself is of all images: FID of a fold is of fewer images and so biased upwards, and the mean over
    folds is not the metric. `centre`: the estimate of all images that these belong to, where it is not the value.
    """
    without = np.asarray(without)
    count = len(without)
    half = _t_half(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()), count)
    over = f"images clustered by test image (delete-one-fold jackknife, {count} folds of whole test images)"
    middle = value if centre is None else centre
    spread_over, interval = f"{len(alone)} folds of one image set", (middle - half, middle + half)
    spread, without = float(np.std(alone)), tuple(without.tolist())
    return Score(value, spread, spread_over, interval, over, len(alone), count, without, centre)


def _t_half(standard_error: float, folds: int) -> float:
    """Half the width of a 95 % interval whose standard error is from so many folds."""
    return float(stdtrit(folds - 1, 0.975) * standard_error)


# Inception Score.


def torch_fidelity_order(count: int) -> np.ndarray:
    """The order in which torch-fidelity cuts its ten splits."""
    return np.random.RandomState(LIBRARY_SEED).permutation(count)


def inception_score(logits: Rows, order: np.ndarray, clustered: list[np.ndarray]) -> Score:
    """IS (Salimans et al. 2016) of logits (N, classes): mean over ten consecutive splits of the images in `order`.

    `clustered`: the images of each fold of whole test images, for the interval.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    def of_each(folds: list[np.ndarray]) -> np.ndarray:
        splits = (torch.from_numpy(logits.take(rows)) for rows in folds)
        return np.array([isc_features_to_metric(each, splits=1, shuffle=False)[KEY_METRIC_ISC_MEAN] for each in splits])

    return mean_over_folds(of_each(fold_rows(order)), of_each(clustered))


# Fréchet distance.


def whole_batches(features: Rows, batch: int, what: str) -> Rows:
    """The rows that fill batches, as a loader that drops an incomplete last one leaves them."""
    if len(features) < batch:
        raise UserError(f"{what}: {len(features)} images do not fill a batch of {batch}, as torchvision-released needs")
    return features.subset(np.arange(len(features) // batch * batch))


def frechet_distance(features: Rows, reference: Rows, order: np.ndarray, clustered: list[np.ndarray]) -> Score:
    """FID of features (N, D) against a reference (M, D); folds and jackknife from the folds' own statistics.

    Folds are runs of `order`; the jackknife leaves out the images of each fold of whole test images, `clustered`.
    """
    real = moments_to_reference(rows_to_moments(reference))
    parts = [rows_to_moments(features.subset(rows)) for rows in fold_rows(order)]
    total = merge(parts)
    alone = [statistics_to_fid(part, real) for part in parts]
    del parts  # ten covariances
    left_out = (rows_to_moments(features.subset(rows)) for rows in clustered)
    without = [statistics_to_fid(total.without(part), real) for part in left_out]
    return whole_with_jackknife(statistics_to_fid(total, real), alone, without)


# Kernel distance.


def kernel_distance(features: Rows, reference: Rows, order: np.ndarray, clustered: list[np.ndarray]) -> Score:
    """KID (Binkowski et al. 2018) of features (N, D) against a reference (M, D).

    The value is torch-fidelity's: the mean over its 100 random subsets. Folds, jackknife and the centre of its interval
    are of the same kernel over all pairs, which the subsets are drawn from: they do not carry the noise of the draw.
    Folds are runs of `order`; the jackknife leaves out the images of each fold of whole test images, `clustered`.
    """
    of_images, of_clusters = _fold_kernel_sums(features, reference, [fold_rows(order), clustered])
    return whole_with_jackknife(
        subset_kernel_distance(features, reference),
        alone=[of_images.distance([fold]) for fold in of_images.folds],
        without=[
            of_clusters.distance([other for other in of_clusters.folds if other != fold]) for fold in of_clusters.folds
        ],
        centre=of_clusters.distance(of_clusters.folds),
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

    @property
    def folds(self) -> list[int]:
        """The number of every fold."""
        return list(range(len(self.counts)))

    def distance(self, folds: list[int]) -> float:
        """Unbiased squared MMD of the images of some folds."""
        count = self.counts[folds].sum()
        within = self.within[np.ix_(folds, folds)].sum() / (count * (count - 1))
        return float(within + self.real - 2 * self.across[folds].sum() / (count * self.real_count))


def _fold_kernel_sums(features: Rows, reference: Rows, cuts: Sequence[list[np.ndarray]]) -> list[_KernelSums]:
    """The sums for several ways of cutting one image set into folds, from one pass over its pairs."""
    members = torch.zeros(len(features), sum(map(len, cuts)))  # (N, all folds)
    for column, rows in enumerate(rows for folds in cuts for rows in folds):
        members[rows, column] = 1
    within = _sums_of_pairs(features, members)
    across = torch.zeros(members.shape[1], dtype=torch.float64)
    for some, block in zip(members.split(_BLOCK), features.blocks(_BLOCK), strict=True):
        for other in reference.blocks(_BLOCK):
            across += some.double().t() @ _kernel(block, other).sum(dim=1)
    count = len(reference)
    real = float(_sums_of_pairs(reference, torch.ones(count, 1))) / (count * (count - 1))
    counts, sums, start = members.double().sum(dim=0).numpy(), [], 0
    for folds in cuts:
        of_cut = slice(start, start + len(folds))
        sums.append(_KernelSums(counts[of_cut], within[of_cut, of_cut].numpy(), across[of_cut].numpy(), real, count))
        start += len(folds)
    return sums


def _sums_of_pairs(rows: Rows, members: torch.Tensor) -> torch.Tensor:
    """(F, F) sums of the kernel over the pairs of two different rows (N, D), by the folds that members (N, F) marks."""
    sums = torch.zeros(members.shape[1], members.shape[1], dtype=torch.float64)
    parts = members.split(_BLOCK)
    for i, left in enumerate(rows.blocks(_BLOCK)):
        for j, right in enumerate(rows.subset(np.arange(i * _BLOCK, len(rows))).blocks(_BLOCK), start=i):
            kernel = _kernel(left, right)
            if i == j:
                kernel.fill_diagonal_(0.0)
            part = parts[i].double().t() @ (kernel @ parts[j].double())
            sums += part if i == j else part + part.t()
    return sums


def _kernel(left: np.ndarray, right: np.ndarray) -> torch.Tensor:
    """(x.y / D + 1)^3 of rows (n, D) and (m, D): (n, m) float64, for sums cancel to a distance far below the kernel."""
    products = torch.from_numpy(left).double() @ torch.from_numpy(right).double().t()
    return products.div_(left.shape[1]).add_(1.0).pow_(3)


# Precision, recall, density, coverage.


def manifold_scores(
    features: Rows,
    reference: Rows,
    order: np.ndarray,
    clustered: list[np.ndarray],
    reference_order: np.ndarray,
    neighbours: int,
) -> dict[str, Score]:
    """Precision, recall, density and coverage of features (N, D) against a reference (M, D).

    Each is a mean over images of one side; its interval holds the other side and both manifolds fixed. Precision and
    density have it over folds of whole test images, `clustered`; real images are test images, each by itself.
    """
    manifolds = features_to_manifolds(features, reference, neighbours)
    generated, real = "generated images, manifolds held fixed", "real images, manifolds held fixed"
    folds, real_folds = _folds_of_several(order), _folds_of_several(reference_order)
    return {
        "precision": _mean_with_folds(manifolds.precision, folds, clustered, generated),
        "recall": _mean_with_folds(manifolds.recall, real_folds, real_folds, real),
        "density": _mean_with_folds(manifolds.density, folds, clustered, generated),
        "coverage": _mean_with_folds(manifolds.coverage, real_folds, real_folds, real),
    }


def _folds_of_several(order: np.ndarray) -> list[np.ndarray]:
    """Ten folds, fewer where a fold would hold one image."""
    return fold_rows(order, max(2, min(FOLDS, len(order) // 2)))


def _mean_with_folds(values: np.ndarray, folds: list[np.ndarray], clustered: list[np.ndarray], over: str) -> Score:
    """Mean over all images; sd over folds of single images, t interval over folds of whole test images."""
    value, spread = float(values.mean()), float(np.std([values[rows].mean() for rows in folds]))
    means, count = np.array([values[rows].mean() for rows in clustered]), len(clustered)
    half = _t_half(means.std(ddof=1) / np.sqrt(count), count)
    interval_over = f"{count} folds of whole test images of the {over} (t distribution)"
    spread_over, interval = f"{len(folds)} folds of the {over}", (value - half, value + half)
    return Score(value, spread, spread_over, interval, interval_over, len(folds), count)
