"""Folds of an image set: how they are cut, and the intervals that they give."""

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.evaluation.statistics import folds


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """95 % of t intervals over ten folds hold the true rate."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        shares = random.binomial(100, 0.3, size=10) / 100
        low, high = folds.mean_over_folds(shares, shares).interval
        covered += low <= 0.3 <= high
    assert 0.91 < covered / 400 < 0.985


def test_the_jackknife_of_a_mean_is_the_t_interval_of_its_folds():
    values = np.random.default_rng(0).normal(size=1000)
    cut = folds.fold_rows(np.arange(1000))
    of_folds = [values[rows].mean() for rows in cut]
    without = [np.delete(values, rows).mean() for rows in cut]
    jackknife = folds.whole_with_jackknife(values.mean(), of_folds, without)
    assert jackknife.interval == pytest.approx(folds.mean_over_folds(np.array(of_folds), np.array(of_folds)).interval)


def test_folds_hold_every_image_once_and_are_of_like_length():
    of_each = folds.fold_of_each(103, np.random.default_rng(0).permutation(103))
    assert sorted(np.bincount(of_each)) == [10] * 7 + [11] * 3


def test_folds_for_intervals_are_of_whole_test_images():
    test_images = np.random.default_rng(0).permutation(np.repeat(np.arange(100, 123), 7))
    cut = folds.clustered_folds(test_images, seed=3)
    assert sorted(np.concatenate(cut)) == list(range(161))
    held = [set(test_images[rows]) for rows in cut]
    assert sorted(map(len, held)) == [2] * 7 + [3] * 3 and sum(map(len, held)) == len(set().union(*held))
    assert len(folds.clustered_folds(test_images % 4, seed=3)) == 4
    with pytest.raises(UserError, match="all images are of one test image"):
        folds.clustered_folds(np.full(30, 5), seed=3)
