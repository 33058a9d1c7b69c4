"""Precision, recall, density and coverage (Kynkäänniemi et al. 2019; Naeem et al. 2020), computed block by block.

The equations are those of the `prdc` package, the reference of the tests, which holds all distances in RAM.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.errors import UserError
from dmgan.evaluation.feature_store import Rows
from dmgan.evaluation.statistics.folds import FOLDS, Score, fold_rows, t_half_width

_BLOCK = 1024  # rows at a time: three blocks of rows and one block of distances are in RAM


class Manifolds(NamedTuple):
    """Per-image values whose means are the four metrics."""

    precision: np.ndarray  # (N,) whether a generated image lies in the manifold of the real ones
    recall: np.ndarray  # (M,) whether a real image lies in the manifold of the generated ones
    density: np.ndarray  # (N,) how many real images' neighbourhoods hold a generated image, over k
    coverage: np.ndarray  # (M,) whether a real image's neighbourhood holds a generated image


def features_to_manifolds(generated: Rows, real: Rows, neighbours: int) -> Manifolds:
    """Compare features (N, D) with those of real images (M, D); an image's neighbourhood reaches to its k-th neighbour.

    Raise UserError if there are too few generated or real images for a k-th neighbour.
    """
    for rows, which in ((generated, "generated"), (real, "real")):
        if not 1 <= neighbours < len(rows):
            raise UserError(
                f"--neighbours {neighbours}: {len(rows)} {which} images do not have that many; "
                "give fewer neighbours, or more images"
            )
    generated_radii, real_radii = neighbour_radii(generated, neighbours), neighbour_radii(real, neighbours)
    holding = torch.zeros(len(generated), dtype=torch.int64)  # real neighbourhoods that hold each generated image
    recalled = torch.zeros(len(real), dtype=torch.bool)
    nearest = torch.full((len(real),), torch.inf, dtype=torch.float64)
    for i, fakes in _blocks(generated):
        for j, reals in _blocks(real):
            distances = _squared_distances(fakes, reals)
            holding[i] += (distances < real_radii[j]).sum(dim=1)
            recalled[j] |= (distances < generated_radii[i][:, None]).any(dim=0)
            nearest[j] = torch.minimum(nearest[j], distances.amin(dim=0))
    return Manifolds(
        precision=(holding > 0).numpy(),
        recall=recalled.numpy(),
        density=holding.numpy() / neighbours,
        coverage=(nearest < real_radii).numpy(),
    )


def neighbour_radii(rows: Rows, neighbours: int) -> Tensor:
    """Return the squared distance (N,) float64 from each row to its k-th nearest other row."""
    # The k + 1 smallest distances so far, including the distance 0 of the row to itself.
    smallest = torch.full((len(rows), neighbours + 1), torch.inf, dtype=torch.float64)
    for i, left in _blocks(rows):
        for j, right in _blocks(rows, start=i.start):
            distances = _squared_distances(left, right)
            if i == j:
                distances.fill_diagonal_(0.0)
            else:
                smallest[j] = _smallest(smallest[j], distances.t())
            smallest[i] = _smallest(smallest[i], distances)
    return smallest[:, neighbours]


def _smallest(kept: Tensor, new: Tensor) -> Tensor:
    """Return the smallest values of `kept` and `new`, ascending, as many as `kept` has columns."""
    count = kept.shape[1]
    new = new.topk(min(count, new.shape[1]), dim=1, largest=False).values
    return torch.cat([kept, new], dim=1).topk(count, dim=1, largest=False, sorted=True).values


def _blocks(rows: Rows, start: int = 0):
    """Yield (slice, float64 rows), a block at a time."""
    for first in range(start, len(rows), _BLOCK):
        where = slice(first, min(first + _BLOCK, len(rows)))
        yield where, torch.from_numpy(rows.take(np.arange(where.start, where.stop))).double()


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Return squared distances (n, m) float64, not below 0."""
    products = left @ right.t()
    return (left.square().sum(dim=1)[:, None] + right.square().sum(dim=1) - 2 * products).clamp_(min=0)


def manifold_scores(
    features: Rows,
    reference: Rows,
    order: np.ndarray,
    clustered: list[np.ndarray],
    reference_order: np.ndarray,
    neighbours: int,
) -> dict[str, Score]:
    """Return precision, recall, density and coverage of features (N, D) against a reference (M, D).

    Every metric is a mean over generated or real images; its interval holds the other images and both manifolds fixed.
    Intervals of precision and density are over folds of whole test images, `clustered`; intervals of recall and
    coverage are over folds of real images.
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
    """Return ten folds, or fewer with at least two images each."""
    return fold_rows(order, max(2, min(FOLDS, len(order) // 2)))


def _mean_with_folds(values: np.ndarray, folds: list[np.ndarray], clustered: list[np.ndarray], over: str) -> Score:
    """Return the mean over all images, its sd over folds of single images and its t interval over clustered folds."""
    value, spread = float(values.mean()), float(np.std([values[rows].mean() for rows in folds]))
    means, count = np.array([values[rows].mean() for rows in clustered]), len(clustered)
    half = t_half_width(means.std(ddof=1) / np.sqrt(count), count)
    interval_over = f"{count} folds of whole test images of the {over} (t distribution)"
    spread_over, interval = f"{len(folds)} folds of the {over}", (value - half, value + half)
    return Score(value, spread, spread_over, interval, interval_over, len(folds), count)
