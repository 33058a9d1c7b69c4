"""Claims about models: the test over seeds of training, and the correction for a family of tests.

A claim about a model has to hold for trainings that were not run, so its test is over seeds of training. Some of many
uncorrected tests find a difference between equal models: of 15 pairs, in a third of all tables. The family of a table
is all its pairs by all its metrics.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

ALPHA = 0.05  # largest chance of one or more false claims in a family


class OverSeeds(NamedTuple):
    """Difference of two models over seeds of training: 95 % interval of this comparison alone, and its p-value."""

    interval: tuple[float, float]
    p_value: float  # not corrected


def difference_over_seeds(first: np.ndarray, second: np.ndarray) -> OverSeeds:
    """Return Welch's t interval and p-value of mean(first) - mean(second); values of two or more seeds of training.

    With unequal numbers of seeds, the degrees of freedom are those of the smaller number (Hsu 1938), because Welch's
    are too many if the model with fewer seeds varies more. Values that vary in neither model, as of two copies of one
    run, do not show how trainings vary: their p-value is 1.
    """
    difference = float(first.mean() - second.mean())
    parts = np.array([first.var(ddof=1) / len(first), second.var(ddof=1) / len(second)])
    if not (np.ptp(first) or np.ptp(second)):
        return OverSeeds((difference, difference), 1.0)
    own = np.array([len(first) - 1, len(second) - 1])
    freedom = float(parts.sum() ** 2 / (parts**2 / own).sum()) if own[0] == own[1] else float(own.min())
    error = float(np.sqrt(parts.sum()))
    half = float(special.stdtrit(freedom, 0.975)) * error
    p_value = float(2 * special.stdtr(freedom, -abs(difference) / error))
    return OverSeeds((difference - half, difference + half), p_value)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return the p-values (M,) corrected for M tests (Holm 1979), valid however the tests depend on one another."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    corrected = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)).clip(max=1.0)
    result = np.empty_like(corrected)
    result[order] = corrected
    return result


def least_claimable(seeds: tuple[int, int], tests: int) -> float:
    """Return the smallest difference that the first of `tests` corrected tests over seeds can claim.

    In standard deviations over seeds, if both models have the same; seeds: trainings of either model, two or more.
    """
    freedom = 2 * (seeds[0] - 1) if seeds[0] == seeds[1] else min(seeds) - 1
    critical = -special.stdtrit(freedom, ALPHA / (2 * tests))
    return float(critical * np.sqrt(1 / seeds[0] + 1 / seeds[1]))
