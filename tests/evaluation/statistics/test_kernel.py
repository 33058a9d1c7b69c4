"""KID: float64 sums, and an interval of all pairs."""

import numpy as np
import pytest

from dmgan.evaluation.feature_store import Rows
from dmgan.evaluation.statistics import kernel as module
from dmgan.evaluation.statistics.folds import clustered_folds, fold_rows


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(x.y / D + 1)^3 of rows (n, D) and (m, D)."""
    return (a.astype(np.float64) @ b.astype(np.float64).T / a.shape[1] + 1) ** 3


def distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD over all pairs."""
    within = (
        (kernel(each, each).sum() - np.trace(kernel(each, each))) / len(each) / (len(each) - 1) for each in (x, y)
    )
    return sum(within) - 2 * kernel(x, y).mean()


def test_the_kernel_is_summed_in_float64(monkeypatch):
    """Large features that differ little: the sums cancel, and float32 would lose the distance in them."""
    random = np.random.default_rng(0)
    x, y = (random.normal(mean, 1, size=(60, 8)).astype(np.float32) for mean in (50, 50.01))
    monkeypatch.setattr(module, "_BLOCK", 17)
    (sums,) = module._fold_kernel_sums(Rows(x), Rows(y), [fold_rows(random.permutation(60))])
    exact = distance(x, y)
    assert abs(exact) < 1e-5 * kernel(x, y).mean()
    assert sums.distance(sums.folds) == pytest.approx(exact, rel=1e-6)


def test_the_interval_of_kid_is_of_all_pairs_as_its_jackknife_is(monkeypatch):
    monkeypatch.setattr(module, "SUBSETS", 2)
    monkeypatch.setattr(module, "SUBSET_SIZE", 5)
    random = np.random.default_rng(0)
    x, y = (random.normal(mean, 1, size=(60, 4)).astype(np.float32) for mean in (0, 1))
    clustered = clustered_folds(np.arange(60) // 3, seed=0)
    score = module.kernel_distance(Rows(x), Rows(y), np.arange(60), clustered)
    assert score.value == module.subset_kernel_distance(Rows(x), Rows(y))
    assert score.centre == pytest.approx(distance(x, y), rel=1e-9) and abs(score.centre / score.value - 1) > 0.1
    assert np.mean(score.interval) == pytest.approx(score.centre)
    assert score.without == pytest.approx([distance(np.delete(x, rows, axis=0), y) for rows in clustered], rel=1e-9)
