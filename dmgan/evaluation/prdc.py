"""Precision, recall, density and coverage (Kynkäänniemi et al. 2019; Naeem et al. 2020), in flat memory.

The equations are those of the `prdc` package, which the tests compare with; it holds all distances at once.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.errors import UserError
from dmgan.evaluation.features import Rows

_BLOCK = 1024  # rows at a time: three such blocks of rows and one of distances are in memory


class Manifolds(NamedTuple):
    """Per image, what the four numbers are means of."""

    precision: np.ndarray  # (N,) whether a generated image lies in the manifold of the real ones
    recall: np.ndarray  # (M,) whether a real image lies in the manifold of the generated ones
    density: np.ndarray  # (N,) how many real images' neighbourhoods hold a generated image, over k
    coverage: np.ndarray  # (M,) whether a real image's neighbourhood holds a generated image


def features_to_manifolds(generated: Rows, real: Rows, neighbours: int) -> Manifolds:
    """Compare features (N, D) with those of real images (M, D); an image's neighbourhood reaches to its k-th neighbour.

    UserError where a side has no k-th neighbour.
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
    """Squared distance (N,) float64 from each row to its k-th nearest other row; each pair of blocks once."""
    # The k + 1 smallest distances so far; the row itself, at no distance, is among them.
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
    """The smallest of both, ascending, as many as were kept."""
    count = kept.shape[1]
    new = new.topk(min(count, new.shape[1]), dim=1, largest=False).values
    return torch.cat([kept, new], dim=1).topk(count, dim=1, largest=False, sorted=True).values


def _blocks(rows: Rows, start: int = 0):
    """(slice, float64 rows) a block at a time."""
    for first in range(start, len(rows), _BLOCK):
        where = slice(first, min(first + _BLOCK, len(rows)))
        yield where, torch.from_numpy(rows.take(np.arange(where.start, where.stop))).double()


def _squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """(n, m) float64, not below 0."""
    products = left @ right.t()
    return (left.square().sum(dim=1)[:, None] + right.square().sum(dim=1) - 2 * products).clamp_(min=0)
