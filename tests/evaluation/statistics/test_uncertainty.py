"""Uncertainty: intervals cover as often as they say, also where images share a caption; tests hold their level."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from dmgan.evaluation.statistics import folds, uncertainty
from dmgan.evaluation.statistics.uncertainty import (
    bootstrap_inception_score,
    bootstrap_share,
    cohens_h,
    paired_difference_of_folds,
    paired_difference_of_shares,
    swap_p_value,
)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(uncertainty, "RESAMPLES", 400)


def clustered_hits(random, clusters=120, each=8, share=0.6, noise=None):
    """Hits that are nearly all or nothing in a cluster: the clusters' own rates scatter."""
    rates = random.beta(share, 1 - share, size=clusters).repeat(each)
    return random.random(clusters * each) < rates, np.arange(clusters).repeat(each)


def test_the_bootstrap_of_a_share_covers_it_although_images_share_captions():
    random, covered, naive = np.random.default_rng(0), 0, 0
    for trial in range(200):
        hits, clusters = clustered_hits(random)
        ones = np.ones(len(hits))
        low, high = bootstrap_share(hits, ones, clusters, trial).interval
        covered += low <= 60 <= high
        low, high = bootstrap_share(hits, ones, np.arange(len(hits)), trial).interval if trial < 40 else (0, 0)
        naive += low <= 60 <= high
    assert 0.90 < covered / 200 < 0.985
    assert naive / 40 < 0.85  # images drawn one by one promise too much


def test_the_share_is_that_of_all_that_was_counted():
    hits, counts = np.array([2, 0, 3]), np.array([4, 1, 3])
    outcome = bootstrap_share(hits, counts, np.array([7, 7, 2]), 0)
    assert outcome.value == pytest.approx(100 * 5 / 8)
    assert outcome.interval == pytest.approx((100 * 2 / 5, 100))  # all draws of the one cluster or of the other


def test_the_weighted_inception_score_is_that_of_the_drawn_images():
    random = np.random.default_rng(1)
    logits, clusters = random.normal(size=(60, 5)) * 2, np.arange(20).repeat(3)
    outcome = bootstrap_inception_score(np.array_split(logits, 7), clusters, 3)

    def score(rows):
        p = torch.from_numpy(logits[rows]).softmax(dim=1)
        return float((p * (p.log() - p.mean(dim=0).log())).sum(dim=1).mean().exp())

    assert outcome.value == pytest.approx(score(np.arange(60)), abs=1e-9)
    drawn = np.concatenate(list(uncertainty.resampled_counts(20, 3)))
    values = [score(np.repeat(np.arange(60), row.astype(int).repeat(3))) for row in drawn]
    low, high = np.quantile(values, [0.025, 0.975])
    assert outcome.interval == pytest.approx((2 * outcome.value - high, 2 * outcome.value - low), abs=1e-9)


def test_the_paired_difference_holds_its_level_and_finds_what_is_there():
    random, false_alarms, found = np.random.default_rng(2), 0, 0
    for trial in range(200):
        first, clusters = clustered_hits(random, 60, 5)
        flip = random.random(len(first)) < 0.3
        second = np.where(flip, random.random(len(first)) < first.mean(), first)
        outcome = paired_difference_of_shares(first[None], second[None], np.ones(len(first)), clusters, trial)
        false_alarms += outcome.p_value < 0.05
        worse = second & (random.random(len(first)) < 0.8)
        outcome = paired_difference_of_shares(first[None], worse[None], np.ones(len(first)), clusters, trial)
        found += outcome.interval[0] > 0
    assert false_alarms / 200 < 0.11
    assert found > 190


def test_without_clusters_the_p_value_is_mcnemar_s():
    first = np.array([1] * 30 + [0] * 14 + [1] * 50)
    second = np.array([0] * 30 + [1] * 14 + [1] * 50)
    assert swap_p_value(first - second) == pytest.approx(stats.binomtest(30, 44).pvalue, rel=1e-9)


def test_the_p_value_counts_all_changes_of_sign():
    random = np.random.default_rng(4)
    for _ in range(5):
        differences = random.integers(-4, 5, size=12)
        sums = np.array(list(product((-1, 1), repeat=12))) @ differences
        assert swap_p_value(differences) == pytest.approx((abs(sums) >= abs(differences.sum())).mean(), abs=1e-11)


def test_a_large_family_can_have_a_significant_p_value():
    """Draws of 10,000 changes of sign could not fall below 1e-4, which 500 comparisons correct to 0.05."""
    assert swap_p_value(np.full(900, 1)) < 1e-11
    assert swap_p_value(np.random.default_rng(0).integers(-3, 5, size=900)) < 1e-6


def test_seeds_are_counted_together_whatever_their_number():
    """Two trainings of one model against three of the other: hits are averaged, exchanges are exact."""
    random, clusters = np.random.default_rng(6), np.arange(8)
    first, second = random.integers(2, size=(2, 8)), random.integers(2, size=(3, 8))
    outcome = paired_difference_of_shares(first, second, np.ones(8), clusters, 0)
    differences = first.mean(axis=0) - second.mean(axis=0)
    sums = np.array(list(product((-1, 1), repeat=8))) @ differences
    assert outcome.p_value == pytest.approx((abs(sums) >= abs(differences.sum()) - 1e-9).mean(), abs=1e-11)
    assert outcome.value == pytest.approx(100 * differences.mean())


def test_equal_models_do_not_differ():
    hits = np.array([1.0, 0.0, 1.0, 1.0])
    outcome = paired_difference_of_shares(hits[None], hits[None], np.ones(4), np.arange(4), 0)
    assert (outcome.value, outcome.interval, outcome.p_value, outcome.effect) == (0, (0, 0), 1, 0)


def test_the_jackknife_of_a_difference_of_means_is_the_paired_t_test():
    random = np.random.default_rng(0)
    first, second = random.normal(0.3, 1, size=(10, 50)), random.normal(size=(10, 50))
    difference = first - second
    without = np.array([np.delete(difference, fold, axis=0).mean() for fold in range(10)])
    outcome = paired_difference_of_folds(difference.mean(), without)
    expected = stats.ttest_rel(first.mean(axis=1), second.mean(axis=1))
    interval = expected.confidence_interval(0.95)
    assert outcome.p_value == pytest.approx(expected.pvalue)
    assert outcome.interval == pytest.approx((interval.low, interval.high))


def test_the_jackknife_holds_its_level_although_images_share_captions():
    """Two equal models, ten images of each of 60 captions, which explain half of the variance of their difference."""
    random, clusters = np.random.default_rng(5), np.arange(60).repeat(10)
    single = folds.fold_rows(folds.fold_order(600, 0))
    alarms = {"whole test images": 0, "single images": 0}
    for trial in range(300):
        difference = random.normal(size=60).repeat(10) + random.normal(size=600)
        whole = folds.clustered_folds(clusters, trial)
        for name, cut in (("whole test images", whole), ("single images", single)):
            without = np.array([np.delete(difference, rows).mean() for rows in cut])
            alarms[name] += paired_difference_of_folds(difference.mean(), without).p_value < 0.05
    assert 0.02 < alarms["whole test images"] / 300 < 0.08
    assert alarms["single images"] / 300 > 0.25  # as the papers cut them, they find what is not there


def test_cohens_h():
    assert cohens_h(0.5, 0.25) == pytest.approx(np.pi / 2 - np.pi / 3)
    assert cohens_h(0.3, 0.3) == 0
