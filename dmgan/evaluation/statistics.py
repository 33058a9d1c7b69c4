"""Mean and covariance of features, float64, streamed and mergeable; the Fréchet distance between two of them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.errors import UserError
from dmgan.evaluation.features import Rows

_BLOCK = 1024  # rows at a time


class Moments(NamedTuple):
    """Of n rows: their mean (D,) and the sum of outer products about it (D, D), float64."""

    count: int
    mean: Tensor
    scatter: Tensor

    def covariance(self) -> Tensor:
        """Unbiased covariance (D, D); UserError below two rows."""
        if self.count < 2:
            raise UserError(f"{self.count} image has no covariance; FID needs two or more on either side")
        return self.scatter / (self.count - 1)

    def merged(self, other: "Moments") -> "Moments":
        """Moments of both sets of rows together (Chan et al. 1979)."""
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        scatter = self.scatter + other.scatter + torch.outer(step, step) * (self.count * other.count / count)
        return Moments(count, mean, scatter)

    def without(self, part: "Moments") -> "Moments":
        """Moments of these rows but those of `part`, which are among them."""
        count = self.count - part.count
        mean = (self.mean * self.count - part.mean * part.count) / count
        step = part.mean - mean
        scatter = self.scatter - part.scatter - torch.outer(step, step) * (count * part.count / self.count)
        return Moments(count, mean, scatter)


def rows_to_moments(rows: Rows) -> Moments:
    """Moments of rows (N, D), a block at a time."""
    total = None
    for block in rows.blocks(_BLOCK):
        values = torch.from_numpy(block).double()
        mean = values.mean(dim=0)
        values -= mean
        part = Moments(len(block), mean, values.t() @ values)
        total = part if total is None else total.merged(part)
    if total is None:
        raise UserError("no image, so there is no mean of features; give two or more on either side")
    return total


def merge(parts: list[Moments]) -> Moments:
    """Moments of several sets of rows together."""
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
    """UserError where every image has the same features: every distance to such a set would look like a number."""
    covariance = moments.covariance()
    variances, vectors = torch.linalg.eigh(covariance)
    largest = float(variances[-1])
    if largest <= 0:
        raise UserError("the real images all have the same features; the feature network is broken, make it again")
    kept = variances > largest * len(variances) * np.finfo(np.float64).eps
    return Reference(moments, covariance, vectors[:, kept] * variances[kept].sqrt())


# Heusel et al. 2017: |m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2))
def statistics_to_fid(moments: Moments, reference: Reference) -> float:
    """Fréchet distance of features to a reference.

    With S2 = A A^T the trace of (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of A^T S1 A: symmetric, so
    that they are real, also where there are fewer images than features. scipy's sqrtm of the product, and the
    eigenvalues of the product itself, lose up to 2e-5 there, and sqrtm may turn complex.
    """
    covariance = moments.covariance()
    variances = torch.linalg.eigvalsh(reference.root.t() @ covariance @ reference.root)
    trace = float(variances.clamp(min=0).sqrt().sum())
    step = moments.mean - reference.moments.mean
    return float(step @ step + covariance.trace() + reference.covariance.trace()) - 2 * trace
