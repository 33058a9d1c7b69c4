"""IS, FID and KID from features; torch-fidelity does the mathematics.

The functions below torch-fidelity's command line are used as they are (version pinned, parity tested).
"""

import importlib.metadata
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from dmgan.errors import UserError

FOLDS = 10
KID_SUBSETS, KID_SUBSET_SIZE = 100, 100
LIBRARY = f"torch-fidelity {importlib.metadata.version('torch-fidelity')}"


class Score(NamedTuple):
    """A metric of one image set, with what its spread and interval are over."""

    value: float
    spread: float
    spread_over: str
    interval: tuple[float, float]  # 95 %
    interval_over: str


def fold_of_each(num_images: int, permutation: np.ndarray) -> np.ndarray:
    """Fold 0 ... 9 of each image: the permuted images cut into ten runs of like length."""
    folds = np.empty(num_images, dtype=np.int64)
    folds[permutation] = np.arange(num_images) * FOLDS // num_images
    return folds


def mean_over_folds(values: np.ndarray) -> Score:
    """The papers' form: mean and population sd of ten fold values, with a t interval of the mean."""
    mean, spread = float(values.mean()), float(values.std())
    half = stats.t.ppf(0.975, FOLDS - 1) * float(values.std(ddof=1)) / np.sqrt(FOLDS)
    over = f"the mean of {FOLDS} folds of one image set (t distribution)"
    return Score(mean, spread, f"{FOLDS} folds of one image set", (mean - half, mean + half), over)


def whole_with_jackknife(statistic, folds: np.ndarray) -> Score:
    """statistic(rows) on all images, its sd over the folds, and a delete-one-fold jackknife interval.

    `statistic` takes a boolean mask (N,) of the images to use. The value itself is of all images: FID and
    KID of a fold are of fewer images and, for FID, biased upwards, so their mean is not the metric.
    """
    value = statistic(np.ones(len(folds), dtype=bool))
    alone = np.array([statistic(folds == fold) for fold in range(FOLDS)])
    without = np.array([statistic(folds != fold) for fold in range(FOLDS)])
    error = np.sqrt((FOLDS - 1) / FOLDS * np.square(without - without.mean()).sum())
    half = stats.t.ppf(0.975, FOLDS - 1) * error
    over = f"images of one set (delete-one-fold jackknife, {FOLDS} folds)"
    return Score(value, float(alone.std()), f"{FOLDS} folds of one image set", (value - half, value + half), over)


def inception_score(logits: Tensor, folds: np.ndarray) -> Score:
    """IS (Salimans et al. 2016) of logits (N, classes): mean over ten folds."""
    values = [_one_inception_score(logits[torch.from_numpy(folds == fold)]) for fold in range(FOLDS)]
    return mean_over_folds(np.array(values))


def _one_inception_score(logits: Tensor) -> float:
    scores = isc_features_to_metric(logits, splits=1, shuffle=False)
    return scores["inception_score_mean"]


def frechet_distance(features: Tensor, reference: Tensor, folds: np.ndarray) -> Score:
    """FID (Heusel et al. 2017) of features (N, D) against a reference (M, D)."""
    reference_statistics = fid_features_to_statistics(reference)

    def statistic(rows: np.ndarray) -> float:
        statistics = fid_features_to_statistics(features[torch.from_numpy(rows)])
        return fid_statistics_to_metric(statistics, reference_statistics, verbose=False)["frechet_inception_distance"]

    return whole_with_jackknife(statistic, folds)


def kernel_distance(features: Tensor, reference: Tensor, folds: np.ndarray) -> Score:
    """KID (Binkowski et al. 2018) of features (N, D) against a reference (M, D): mean over random subsets."""

    def statistic(rows: np.ndarray) -> float:
        chosen = features[torch.from_numpy(rows)]
        subset = min(KID_SUBSET_SIZE, len(chosen), len(reference))
        scores = kid_features_to_metric(
            chosen, reference, kid_subsets=KID_SUBSETS, kid_subset_size=subset, verbose=False
        )
        return scores["kernel_inception_distance_mean"]

    return whole_with_jackknife(statistic, folds)


def refuse_non_finite(features: Tensor, what: str) -> None:
    """UserError where a feature is NaN or infinite."""
    bad = int((~torch.isfinite(features)).any(dim=1).sum())
    if bad:
        raise UserError(
            f"{what}: {bad} of {len(features)} images have features that are not finite; train the network again"
        )
