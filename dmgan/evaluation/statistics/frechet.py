"""Mean and covariance of features, float64, streamed and mergeable; the Fréchet distance between two of them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.errors import UserError
from dmgan.evaluation.feature_store import Rows
from dmgan.evaluation.statistics.folds import REAL_IMAGES, Score, fold_rows, whole_with_jackknife

_BLOCK = 1024  # rows at a time


class Moments(NamedTuple):
    """Mean (D,) of `count` rows and sum of outer products about the mean (D, D), float64."""

    count: int
    mean: Tensor
    scatter: Tensor

    def covariance(self) -> Tensor:
        """Return the unbiased covariance (D, D); raise UserError for fewer than two rows."""
        if self.count < 2:
            raise UserError(f"{self.count} image has no covariance; FID needs two or more on either side")
        return self.scatter / (self.count - 1)

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of rows together (Chan et al. 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        scatter = self.scatter + other.scatter + torch.outer(step, step) * (self.count * other.count / count)
        return Moments(count, mean, scatter)

    def without(self, part: "Moments") -> "Moments":
        """Return the moments of these rows without the rows of `part`, which must be among them."""
        count = self.count - part.count
        mean = (self.mean * self.count - part.mean * part.count) / count
        step = part.mean - mean
        scatter = self.scatter - part.scatter - torch.outer(step, step) * (count * part.count / self.count)
        return Moments(count, mean, scatter)


def rows_to_moments(rows: Rows) -> Moments:
    """Return the moments of rows (N, D), computed a block at a time."""
    total = None
    for block in rows.blocks(_BLOCK):
        values = torch.from_numpy(block).double()
        mean = values.mean(dim=0)
        values -= mean
        part = Moments(len(block), mean, values.t() @ values)
        total = part if total is None else total.merged(part)
    if total is None:
        raise UserError("no images, so there is no mean of features; give two or more on either side")
    return total


def merge(parts: list[Moments]) -> Moments:
    """Return the moments of several sets of rows together."""
    total = parts[0]
    for part in parts[1:]:
        total = total.merged(part)
    return total


class Reference(NamedTuple):
    """The real side of a Fréchet distance: its moments and a root A of its covariance S = A A^T, A (D, rank)."""

    moments: Moments
    covariance: Tensor
    root: Tensor


def moments_to_reference(moments: Moments) -> Reference:
    """Return the reference of real features; raise UserError if all rows are equal, as of a broken network."""
    return _with_root(moments, moments.covariance())


def statistics_to_reference(mean: np.ndarray, covariance: np.ndarray) -> Reference:
    """Return the reference of a stored mean (D,) and covariance (D, D) of an unknown number of real images."""
    mean, covariance = (torch.from_numpy(np.asarray(each, dtype=np.float64)) for each in (mean, covariance))
    # Two rows stand for the unknown number: their covariance is their scatter.
    return _with_root(Moments(2, mean, covariance), covariance)


def _with_root(moments: Moments, covariance: Tensor) -> Reference:
    variances, vectors = torch.linalg.eigh(covariance)
    largest = float(variances[-1])
    if largest <= 0:
        raise UserError("the real images all have the same features; the feature network is broken, make it again")
    kept = variances > largest * len(variances) * np.finfo(np.float64).eps
    return Reference(moments, covariance, vectors[:, kept] * variances[kept].sqrt())


# Heusel et al. 2017: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))
def statistics_to_fid(moments: Moments, reference: Reference) -> float:
    """Return the Fréchet distance of features to a reference.

    With S2 = A A^T the trace of (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of A^T S1 A. This matrix is
    symmetric, so the eigenvalues are real. With fewer images than features, scipy's sqrtm of S1 S2 and the eigenvalues
    of S1 S2 have errors up to 2e-5, and sqrtm may return complex numbers.
    """
    covariance = moments.covariance()
    variances = torch.linalg.eigvalsh(reference.root.t() @ covariance @ reference.root)
    trace = float(variances.clamp(min=0).sqrt().sum())
    step = moments.mean - reference.moments.mean
    return float(step @ step + covariance.trace() + reference.covariance.trace()) - 2 * trace


def whole_batches(features: Rows, batch: int, name: str) -> Rows:
    """Return the rows that fill batches of `batch`; an incomplete last batch is dropped."""
    if len(features) < batch:
        raise UserError(f"{name}: {len(features)} images do not fill a batch of {batch}, as torchvision-released needs")
    return features.subset(np.arange(len(features) // batch * batch))


def frechet_distance(features: Rows, reference: Rows, order: np.ndarray, clustered: list[np.ndarray]) -> Score:
    """Return the FID of features (N, D) against a reference (M, D), with folds and jackknife from merged moments.

    Folds are slices of `order`; the jackknife leaves out each fold of whole test images, `clustered`.
    """
    return distance_to_reference(features, moments_to_reference(rows_to_moments(reference)), order, clustered)


def distance_to_reference(features: Rows, real: Reference, order: np.ndarray, clustered: list[np.ndarray]) -> Score:
    """Return the FID of features (N, D) against the statistics of real features, as `frechet_distance` does."""
    parts = [rows_to_moments(features.subset(rows)) for rows in fold_rows(order)]
    total = merge(parts)
    of_folds = [statistics_to_fid(part, real) for part in parts]
    del parts  # free ten covariance matrices
    left_out = (rows_to_moments(features.subset(rows)) for rows in clustered)
    without = [statistics_to_fid(total.without(part), real) for part in left_out]
    return whole_with_jackknife(statistics_to_fid(total, real), of_folds, without, held_fixed=REAL_IMAGES)
