"""Diversity against loops, and at its ends: one image, and real images."""

import math

import numpy as np
import pytest

from dmgan.evaluation.statistics import pairwise as module
from dmgan.evaluation.statistics.pairwise import diversity, mean_pairwise_distance

RANDOM = np.random.default_rng(0)
FEATURES, REFERENCE = RANDOM.standard_normal((30, 5)), 2 * RANDOM.standard_normal((17, 5))
fold_of = RANDOM.permutation(np.arange(30) % 10)
FOLDS = [np.flatnonzero(fold_of == fold) for fold in range(10)]
CLUSTERED = np.array_split(np.arange(30), 7)


def looped(features) -> float:
    pairs = [(i, j) for i in range(len(features)) for j in range(i)]
    return sum(math.dist(features[i], features[j]) for i, j in pairs) / len(pairs)


@pytest.mark.parametrize("block", [1024, 7])
def test_mean_pairwise_distance_against_the_loop(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    assert mean_pairwise_distance(FEATURES) == pytest.approx(looped(FEATURES), rel=1e-12)


def test_value_folds_and_jackknife_are_those_of_the_chosen_images():
    found = diversity(FEATURES, REFERENCE, FOLDS, CLUSTERED)
    real = looped(REFERENCE)
    assert found.value == pytest.approx(looped(FEATURES) / real, rel=1e-12)
    for fold in range(10):
        assert found.of_folds[fold] == pytest.approx(looped(FEATURES[fold_of == fold]) / real, rel=1e-12)
    for fold, rows in enumerate(CLUSTERED):
        without = np.delete(FEATURES, rows, axis=0)
        assert found.without[fold] == pytest.approx(looped(without) / real, rel=1e-12)


def test_one_image_has_none_and_the_reference_has_one():
    assert diversity(np.repeat(FEATURES[:1], 30, axis=0), REFERENCE, FOLDS, CLUSTERED).value == 0
    assert diversity(FEATURES, FEATURES, FOLDS, CLUSTERED).value == pytest.approx(1, rel=1e-12)


def test_an_almost_collapsed_set_keeps_its_small_distances():
    far = 1e4 + 1e-6 * FEATURES
    assert mean_pairwise_distance(far) == pytest.approx(1e-6 * looped(FEATURES), rel=1e-4)
