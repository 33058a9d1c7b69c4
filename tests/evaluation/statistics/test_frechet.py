"""Fréchet distance: golden values, numpy's moments, and features from which it cannot be computed."""

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.evaluation.feature_store import Rows
from dmgan.evaluation.statistics.frechet import (
    moments_to_reference,
    rows_to_moments,
    statistics_to_fid,
    whole_batches,
)
from tests.golden.recipe import load, uniform


@pytest.mark.parametrize(("name", "rows"), [("fid_50x16_60x16", (50, 60)), ("fid_rankdeficient_10x16_12x16", (10, 12))])
def test_fid_of_the_golden_features(name, rows):
    first = rows_to_moments(Rows(uniform("fid/act1", (50, 16))[: rows[0]]))
    second = rows_to_moments(Rows((1.2 * uniform("fid/act2", (60, 16)) + 0.1)[: rows[1]]))
    value = statistics_to_fid(first, moments_to_reference(second))
    assert value == pytest.approx(load("metrics.json")[name], rel=2e-5)


def test_too_few_images_for_the_released_batches_are_refused():
    with pytest.raises(UserError, match="49 images do not fill a batch of 50"):
        whole_batches(Rows(np.zeros((49, 2), np.float32)), 50, "dmgan")


def test_real_images_with_equal_features_are_an_error():
    """A dead network would otherwise give every set the same, perfect distance."""
    with pytest.raises(UserError, match="real images all have the same features"):
        moments_to_reference(rows_to_moments(Rows(np.ones((30, 4), np.float32))))
    with pytest.raises(UserError, match="1 image has no covariance"):
        moments_to_reference(rows_to_moments(Rows(np.ones((1, 4), np.float32))))


def test_statistics_are_float64_of_float32_features():
    """A large mean and a small spread: sums of squares, or float32 anywhere, would lose it."""
    values = (1000 + np.random.default_rng(0).normal(size=(5000, 3))).astype(np.float32)
    moments = rows_to_moments(Rows(values))
    np.testing.assert_allclose(moments.covariance(), np.cov(values.astype(np.float64), rowvar=False), rtol=1e-10)


def test_a_rank_of_one_and_features_that_do_not_vary():
    line = Rows(np.outer(np.arange(30), [1, 2, 3]).astype(np.float32))
    shifted = Rows(line.all() + np.float32([1, 0, 0]))
    reference = moments_to_reference(rows_to_moments(line))
    assert statistics_to_fid(rows_to_moments(shifted), reference) == pytest.approx(1.0, abs=1e-9)
    constant = Rows(np.full((30, 3), 7, dtype=np.float32))
    spread = float(np.var(line.all(), axis=0, ddof=1).sum())
    step = float(np.square(line.all().mean(axis=0) - 7).sum())
    assert statistics_to_fid(rows_to_moments(constant), reference) == pytest.approx(step + spread)
