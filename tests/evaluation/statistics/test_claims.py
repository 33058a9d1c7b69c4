"""Tests over seeds of training and their correction: their level, what they can find, and what they cannot."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from dmgan.evaluation.statistics.claims import ALPHA, difference_over_seeds, holm, least_claimable


def test_seeds_are_compared_by_welch():
    first, second = np.array([5.0, 5.2, 5.1]), np.array([4.0, 4.1, 4.3])
    (low, high), p = difference_over_seeds(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high)) and p == pytest.approx(expected.pvalue)
    assert 0.6 < low < 0.967 < high < 1.3 and p < 0.01


def test_unequal_numbers_of_seeds_hold_the_level_where_the_fewer_seeds_vary_more():
    """Two seeds vary three times as much as five of the other model: Welch's own level is twice the nominal one."""
    random, alarms, welch = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        first, second = random.normal(scale=3, size=2), random.normal(size=5)
        alarms += difference_over_seeds(first, second).p_value < 0.05
        welch += stats.ttest_ind(first, second, equal_var=False).pvalue < 0.05
    assert alarms / 1000 < 0.05 < 0.08 < welch / 1000


def test_values_that_do_not_vary_say_nothing_of_other_trainings():
    assert difference_over_seeds(np.array([10.0, 10.0]), np.array([30.0, 30.0])) == ((-20, -20), 1)
    assert difference_over_seeds(np.array([10.0, 10.0]), np.array([30.0, 30.1])).p_value < 0.01


def test_holm_corrects_for_the_number_of_comparisons():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).tolist() == []


@pytest.mark.parametrize(("seeds", "tests"), [((2, 2), 1), ((3, 3), 90), ((5, 5), 15), ((2, 5), 6)])
def test_the_least_claimable_difference_is_at_the_corrected_level(seeds, tests):
    def values(mean, count):  # of standard deviation 1
        pattern = np.arange(count) - (count - 1) / 2
        return mean + pattern / pattern.std(ddof=1)

    least = least_claimable(seeds, tests)
    p_value = difference_over_seeds(values(least, seeds[0]), values(0, seeds[1])).p_value
    assert p_value == pytest.approx(ALPHA / tests)


def test_two_seeds_cannot_show_what_five_can():
    """Of 90 tests, 15 pairs by 6 metrics: standard deviations over seeds that the first claim needs."""
    needed = [round(least_claimable((count, count), 90), 1) for count in (2, 3, 5)]
    assert needed == [42.4, 8.2, 3.5]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_six_equal_models_have_a_false_claim_in_at_most_5_percent_of_the_tables(seeds):
    random, pairs, tables = np.random.default_rng(seeds), list(combinations(range(6), 2)), 600
    false, uncorrected = 0, 0
    for _ in range(tables):
        values = random.normal(size=(6, seeds))
        p_values = np.array([difference_over_seeds(values[i], values[j]).p_value for i, j in pairs])
        false += holm(p_values).min() < ALPHA
        uncorrected += p_values.min() < ALPHA
    assert uncorrected / tables > 0.15  # what the correction is for
    assert stats.binomtest(false, tables, ALPHA, alternative="greater").pvalue > 0.01
