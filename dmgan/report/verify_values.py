"""Verification of the values in metrics.json: they follow from the arrays that the evaluation wrote beside it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import facts_of
from dmgan.evaluation.paired_comparison import PER_IMAGE, VALUE, beside
from dmgan.evaluation.statistics.folds import t_half_width
from dmgan.storage.npy import read_arrays

_TOLERANCE = 1e-6  # relative: the interval is recomputed in another order of operations


def altered_values(path: Path, content: Mapping) -> Iterator[str]:
    """Yield what in the metrics of a metrics.json does not follow from its per_image.npz; nothing without that file.

    A value is compared with the value that the evaluation stored in the arrays, a share with the hits of every image,
    and an interval with the values that leave a fold out.
    """
    file = beside(path, PER_IMAGE)
    if not file.exists():
        return
    try:
        arrays = read_arrays(file, "evaluate again")
    except UserError:  # its hash in metrics.json names the damage
        return
    for key, measure in content["metrics"].items():
        if measure is not None:
            yield from (f"{key}: {reason}" for reason in _altered(key, measure, arrays))


def _altered(key: str, measure: Mapping, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    value, (low, high) = measure["value"], measure["interval"]
    if (stored := arrays.get(f"{VALUE}/{key}")) is not None:
        if stored.tolist() != [value, measure["spread"], low, high]:
            yield f"its value {value:.6g} is not the one that was computed, {stored[0]:.6g}"
        return
    if (hits := arrays.get(f"hits/{key}")) is not None:
        share = 100 * float(hits.sum() / arrays[f"counts/{key}"].sum())
        # Folds of unequal size, or without the last images, weigh the images unequally.
        if abs(value - share) > 100 * measure["folds"] / len(hits):
            yield f"its value {value:.6g} is not the share of the images' hits, {share:.6g}"
    if (without := arrays.get(f"without/{key}")) is not None:
        ends = _interval(measure.get("interval_centre", value), without)
        possible = facts_of(key.partition("(")[0]).clipped(ends, "")[0]
        near = _TOLERANCE * max(abs(end) for end in ends)
        for end, choices in zip((low, high), zip(ends, possible, strict=True), strict=True):
            if min(abs(end - each) for each in choices) > near:
                yield f"an end of its interval, {end:.6g}, does not follow from its value and folds"


def _interval(centre: float, without: np.ndarray) -> tuple[float, float]:
    """Return the jackknife interval of a value from the values that leave a fold out."""
    count = len(without)
    half = t_half_width(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()), count)
    return centre - half, centre + half
