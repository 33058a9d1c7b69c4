"""Bootstrap intervals over test images, and paired tests of two models over images.

Images of one test image share its captions and are not independent: the bootstrap draws whole test images (clusters),
never single images, and the jackknife leaves out folds of whole test images. The papers' folds of single images measure
the variation between parts of one image set, seeds the variation between trainings; the two are different quantities.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import special  # stdtrit and stdtr as scipy.stats.t, which takes a second to import

from dmgan.runtime.randomness import generator

LEVEL = 0.95
RESAMPLES = 2000
OVER_IMAGES = "images, clustered by test image"
_ROWS = 64  # resamples at a time
_TRANSFORM_ERROR = 1e-12  # rounding of an exact p-value


class Bootstrap(NamedTuple):
    """A value on all images and its interval over test images."""

    value: float
    interval: tuple[float, float]

    def as_json(self) -> dict[str, object]:
        """Return the `bootstrap` entry of a metric in metrics.json."""
        return {
            "value": self.value,
            "interval": list(self.interval),
            "interval_level": LEVEL,
            "over": OVER_IMAGES,
            "resamples": RESAMPLES,
        }


def cluster_sums(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return sums (K, ...) of values (N, ...) over the K clusters, in the order of their numbers."""
    names, of_each = np.unique(clusters, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, of_each, values)
    return sums


def resampled_counts(count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks (rows, count) with the number of draws of each of `count` clusters, one resample per row."""
    random = generator(seed, "bootstrap of clusters")
    for start in range(0, RESAMPLES, _ROWS):
        rows = min(_ROWS, RESAMPLES - start)
        yield random.multinomial(count, np.full(count, 1 / count), size=rows).astype(np.float64)


def percentile_interval(resampled: np.ndarray) -> tuple[float, float]:
    """Return the middle 95 % of resampled values."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bootstrap_share(hits: np.ndarray, counts: np.ndarray, clusters: np.ndarray, seed: int) -> Bootstrap:
    """Return the share sum(hits) / sum(counts) in percent with its interval; all (N,), a row per image."""
    hit, counted = cluster_sums(hits, clusters), cluster_sums(counts, clusters)
    shares = np.concatenate([100 * (w @ hit) / (w @ counted) for w in resampled_counts(len(hit), seed)])
    return Bootstrap(float(100 * hit.sum() / counted.sum()), percentile_interval(shares))


def bootstrap_inception_score(blocks: Iterable[np.ndarray], clusters: np.ndarray, seed: int) -> Bootstrap:
    """Return the IS of all images at once with its interval, from blocks of logits (N, classes).

    A resample holds fewer different images, so its IS is lower than the IS of the set, by about the bias of the latter.
    The basic bootstrap reflects the interval about the value, which removes that bias.
    """
    names, of_each = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(of_each).astype(np.float64)
    marginal_sums, negentropy_sums, start = None, np.zeros(len(names)), 0
    for logits in blocks:
        rows = of_each[start : start + len(logits)]
        logarithms = special.log_softmax(logits.astype(np.float64), axis=1)
        probabilities = np.exp(logarithms)
        if marginal_sums is None:
            marginal_sums = np.zeros((len(names), logits.shape[1]))
        np.add.at(marginal_sums, rows, probabilities)
        np.add.at(negentropy_sums, rows, (probabilities * logarithms).sum(axis=1))
        start += len(logits)

    def scores(weights: np.ndarray) -> np.ndarray:
        total = weights @ sizes
        marginal = (weights @ marginal_sums) / total[:, None]
        return np.exp((weights @ negentropy_sums) / total - special.xlogy(marginal, marginal).sum(axis=1))

    value = float(scores(np.ones((1, len(sizes))))[0])
    low, high = percentile_interval(np.concatenate([scores(w) for w in resampled_counts(len(sizes), seed)]))
    return Bootstrap(value, (2 * value - high, 2 * value - low))


class Difference(NamedTuple):
    """First minus second, on the same captions and noises."""

    value: float
    interval: tuple[float, float]
    p_value: float
    over: str
    test: str
    effect: float
    effect_name: str


def paired_difference_of_shares(
    first: np.ndarray, second: np.ndarray, counts: np.ndarray, clusters: np.ndarray, seed: int
) -> Difference:
    """Compare the shares of two models in percent: hits (seeds, N) of either, whole numbers, over `counts` (N,).

    Image n of all trainings has the same caption and noise; the models may have different numbers of seeds. Interval:
    bootstrap of clusters. p-value: exact permutation test that exchanges the models' results within clusters.
    """
    hits = cluster_sums(np.stack([first.mean(axis=0), second.mean(axis=0)], axis=1), clusters)
    counted = cluster_sums(counts, clusters)
    difference = hits[:, 0] - hits[:, 1]
    total = counted.sum()
    value = 100 * difference.sum() / total
    resampled = np.concatenate([100 * (w @ difference) / (w @ counted) for w in resampled_counts(len(counted), seed)])
    shares = hits.sum(axis=0) / total
    whole = first.sum(axis=0) * len(second) - second.sum(axis=0) * len(first)
    return Difference(
        value=float(value),
        interval=percentile_interval(resampled),
        p_value=swap_p_value(cluster_sums(whole, clusters)),
        over=f"bootstrap over {OVER_IMAGES}",
        test="permutation: the models' results are exchanged within test images, all exchanges",
        effect=cohens_h(*shares),
        effect_name="Cohen's h",
    )


def swap_p_value(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the sum of differences (K,), whole numbers, under all 2^K changes of sign.

    The distribution of the sum is the Fourier transform of the product of cos(angle * difference), which drawn changes
    of sign would only approximate: a corrected p-value needs more digits than draws can give.
    """
    sizes, counts = np.unique(np.abs(np.rint(differences[differences != 0])), return_counts=True)
    observed, largest = int(abs(np.rint(differences.sum()))), int(sizes @ counts)
    if observed == 0:
        return 1.0
    angles = 2 * np.pi * np.arange(2 * largest + 1) / (2 * largest + 1)
    transform = np.ones_like(angles)
    for size, count in zip(sizes, counts, strict=True):
        transform *= np.cos(angles * size) ** int(count)
    probabilities = np.fft.fft(transform).real[observed : largest + 1] / len(angles)
    return float(min(1.0, 2 * max(0.0, probabilities.sum()) + _TRANSFORM_ERROR))


def cohens_h(first: float, second: float) -> float:
    """Return Cohen's h of two shares, the difference of arcsine transforms; 0.2 is small, 0.5 medium, 0.8 large."""
    return float(2 * np.arcsin(np.sqrt(first)) - 2 * np.arcsin(np.sqrt(second)))


def paired_difference_of_folds(value: float, without: np.ndarray) -> Difference:
    """Return the difference of two models by a paired jackknife, for metrics that are not means over images (FID, KID).

    `without` (folds,) is the difference with each fold of whole test images left out of both sets.
    """
    count = len(without)
    pseudo = count * value - (count - 1) * without
    error = float(pseudo.std(ddof=1)) / np.sqrt(count)
    half = float(special.stdtrit(count - 1, (1 + LEVEL) / 2)) * error
    spread = float(pseudo.std(ddof=1))
    return Difference(
        value=float(value),
        interval=(float(value - half), float(value + half)),
        p_value=float(2 * special.stdtr(count - 1, -abs(value) / error)) if error else float(value == 0),
        over=f"paired delete-one-fold jackknife, {count} folds of whole test images",
        test=f"t of the paired jackknife, {count - 1} degrees of freedom",
        effect=float(value / spread) if spread else 0.0,
        effect_name="difference over the standard deviation of its jackknife pseudo-values",
    )
