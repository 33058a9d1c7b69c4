"""KID's kernel distance (Binkowski et al. 2018)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from dmgan.evaluation.feature_store import Rows
from dmgan.evaluation.statistics.folds import (
    REAL_IMAGES,
    TORCH_FIDELITY_SEED,
    Score,
    fold_rows,
    whole_with_jackknife,
)

SUBSETS, SUBSET_SIZE = 100, 1000  # torch-fidelity's
_BLOCK = 1024  # rows at a time


def kernel_distance(features: Rows, reference: Rows, order: np.ndarray, clustered: list[np.ndarray]) -> Score:
    """Return KID (Binkowski et al. 2018) of features (N, D) against a reference (M, D).

    The value is torch-fidelity's: the mean over its 100 random subsets. Folds, jackknife and the centre of its interval
    use the same kernel over all pairs, so that they do not have the noise of the random subsets.
    Folds are slices of `order`; the jackknife leaves out each fold of whole test images, `clustered`.
    """
    of_images, of_clusters = _fold_kernel_sums(features, reference, [fold_rows(order), clustered])
    return whole_with_jackknife(
        subset_kernel_distance(features, reference),
        of_folds=[of_images.distance([fold]) for fold in of_images.folds],
        without=[
            of_clusters.distance([other for other in of_clusters.folds if other != fold]) for fold in of_clusters.folds
        ],
        centre=of_clusters.distance(of_clusters.folds),
        held_fixed=REAL_IMAGES,
    )


def subset_size(count: int, reference_count: int) -> int:
    """Return torch-fidelity's 1,000, or the number of images of the smaller side."""
    return min(SUBSET_SIZE, count, reference_count)


def subset_kernel_distance(features: Rows, reference: Rows) -> float:
    """Return torch-fidelity's KID, drawing the same subsets one at a time, so that only one subset is in RAM."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    size = subset_size(len(features), len(reference))
    random = np.random.RandomState(TORCH_FIDELITY_SEED)
    distances = []
    for _ in range(SUBSETS):
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
    across: np.ndarray  # (F,) over pairs of an image and a real image
    real: float  # mean over pairs of two different real images
    real_count: int

    @property
    def folds(self) -> list[int]:
        """Numbers of all folds."""
        return list(range(len(self.counts)))

    def distance(self, folds: list[int]) -> float:
        """Return the unbiased squared MMD of the images of some folds."""
        count = self.counts[folds].sum()
        within = self.within[np.ix_(folds, folds)].sum() / (count * (count - 1))
        return float(within + self.real - 2 * self.across[folds].sum() / (count * self.real_count))


def _fold_kernel_sums(features: Rows, reference: Rows, cuts: Sequence[list[np.ndarray]]) -> list[_KernelSums]:
    """Return the kernel sums of several cuts into folds, from one pass over the pairs of images."""
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
    """Return (F, F) sums of the kernel over pairs of different rows (N, D); members (N, F) marks the rows of folds."""
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
    """Return (x.y / D + 1)^3 (n, m) of rows (n, D) and (m, D); float64, because KID is a small difference of sums."""
    products = torch.from_numpy(left).double() @ torch.from_numpy(right).double().t()
    return products.div_(left.shape[1]).add_(1.0).pow_(3)
