"""Paired comparison of two models: image n of both has the same caption and the same noise.

Sampling is a pure function of its seed and the image's number, so that what two models make of one caption and noise
can be compared image by image, which takes the captions' own difficulty out of the difference.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmgan.errors import UserError
from dmgan.evaluation.uncertainty import (
    Difference,
    difference_over_seeds,
    paired_difference_of_folds,
    paired_difference_of_shares,
)
from dmgan.storage import files

METRICS = "metrics.json"  # what one evaluation writes, unless another name is given
PER_IMAGE = "per_image.npz"  # beside it
IMAGES_SHA256 = "images_sha256"  # of the pixels, in both
_HINT = "evaluate both again: python -m dmgan evaluate"
_SAME = ("sampling_seed", "data")  # inputs that two models must share for their images to pair


class PerImage(NamedTuple):
    """What one evaluation says image by image."""

    file: Path  # its metrics.json
    values: dict[str, float]  # by METRIC(JUDGE): what the interval is centred on, as KID over all pairs of images
    inputs: dict[str, object]
    arrays: Mapping[str, np.ndarray]  # as `evaluate` wrote them

    @property
    def compared(self) -> list[str]:
        """Metrics that a paired comparison can read: a mean over images, or one that was taken with folds left out."""
        kept = [key for key in self.values if f"hits/{key}" in self.arrays or f"without/{key}" in self.arrays]
        return [key for key in kept if not key.startswith("diversity(")]  # of which more is not better


def beside(file: Path, name: str) -> Path:
    """What belongs to an evaluation: NAME beside metrics.json, and OTHER.NAME beside OTHER.json."""
    return file.with_name(name if file.name == METRICS else f"{file.stem}.{name}")


def read_per_image(file: Path) -> PerImage:
    """Read metrics.json and what lies beside it; UserError where the two are not of the same images."""
    file = Path(file)
    content = files.read_json(file, _HINT)
    path = beside(file, PER_IMAGE)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {_HINT}") from error
    if str(arrays.pop(IMAGES_SHA256, None)) != content["inputs"].get(IMAGES_SHA256):
        raise UserError(f"{path}: is not of the images that {file} was measured on; {_HINT}")
    if "folds" not in arrays:
        raise UserError(f"{path}: does not say its folds of whole test images; {_HINT}")
    measures = {key: measure for key, measure in content["metrics"].items() if measure is not None}
    values = {key: measure.get("interval_centre", measure["value"]) for key, measure in measures.items()}
    return PerImage(file, values, content["inputs"], arrays)


def check_pairs(runs: Sequence[PerImage]) -> None:
    """UserError naming two files whose images do not have the same captions and noises, one by one."""
    for other in runs[1:]:
        for name in ("test_images", "captions", "folds"):
            if not np.array_equal(runs[0].arrays[name], other.arrays[name]):
                raise UserError(
                    f"{runs[0].file} and {other.file}: their images do not pair (other {name}); sample both from one "
                    "data set, with one seed and one number of images"
                )
        for name in _SAME:
            if runs[0].inputs[name] != other.inputs[name]:
                raise UserError(
                    f"{runs[0].file} and {other.file}: their images do not pair (other {name}); sample both alike"
                )


class Comparison(NamedTuple):
    """One metric of two models."""

    metric: str
    first: float  # means over seeds of training
    second: float
    difference: Difference  # over images
    seeds: tuple[int, int]
    over_seeds: tuple[tuple[float, float], float] | None  # interval and p-value; None with one seed of either


def compare(first: Sequence[PerImage], second: Sequence[PerImage], metric: str, seed: int) -> Comparison:
    """First minus second on one metric, each a model's evaluations, one per seed of training."""
    values = [np.array([run.values[metric] for run in runs]) for runs in (first, second)]
    means = [float(each.mean()) for each in values]
    if f"hits/{metric}" in first[0].arrays:
        hits = [np.mean([run.arrays[f"hits/{metric}"] for run in runs], axis=0) for runs in (first, second)]
        arrays = first[0].arrays
        difference = paired_difference_of_shares(*hits, arrays[f"counts/{metric}"], arrays["test_images"], seed)
    else:
        without = [np.mean([run.arrays[f"without/{metric}"] for run in runs], axis=0) for runs in (first, second)]
        difference = paired_difference_of_folds(means[0] - means[1], without[0] - without[1])
    several = min(len(first), len(second)) > 1
    return Comparison(
        metric, *means, difference, (len(first), len(second)), difference_over_seeds(*values) if several else None
    )


def holds(comparison: Comparison, corrected_p: float) -> bool:
    """Whether the two models may be said to differ.

    The interval over images leaves 0 out, the p-value corrected for all pairs is below 0.05, and where both have
    several seeds of training the interval over seeds leaves 0 out on the same side.
    """
    low, high = comparison.difference.interval
    if low <= 0 <= high or corrected_p >= 0.05:
        return False
    if comparison.over_seeds is None:
        return True
    seeds_low, seeds_high = comparison.over_seeds[0]
    return seeds_low > 0 if low > 0 else seeds_high < 0
