"""Paired comparison of two models: image n of both has the same caption and the same noise.

Sampling is a pure function of its seed and the image's number. Two models' images of the same caption and noise can
therefore be compared image by image, which removes the difficulty of the captions from the difference.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import facts_of
from dmgan.evaluation.statistics.claims import ALPHA, OverSeeds, difference_over_seeds, holm
from dmgan.evaluation.statistics.uncertainty import (
    Difference,
    paired_difference_of_folds,
    paired_difference_of_shares,
)
from dmgan.storage.npy import read_arrays
from dmgan.storage.reading import check_entries, read_object

METRICS = "metrics.json"  # default name of an evaluation's output
PER_IMAGE = "per_image.npz"  # in the same folder
IMAGES_SHA256 = "images_sha256"  # key of the pixels' hash in both files
VALUE = "value"  # per_image.npz holds VALUE/KEY: value, spread and both ends of the interval of a metric
_HINT = "evaluate both again: python -m dmgan evaluate"
_ENTRIES = {"metrics": dict, "inputs": {IMAGES_SHA256 + "?": str, "sampling_seed?": object, "data?": object}}
_MEASURE = {"value": float, "interval_centre?": float}
_SAME = ("sampling_seed", "data")  # inputs that two models must share for their images to pair


class PerImage(NamedTuple):
    """Per-image values of one evaluation."""

    file: Path  # its metrics.json
    values: dict[str, float]  # by NAME(READER): the centre of the interval, such as KID over all pairs of images
    inputs: dict[str, object]
    arrays: Mapping[str, np.ndarray]  # as `evaluate` wrote them

    def with_keys(self, renamed: Mapping[str, str]) -> "PerImage":
        """Return the values with other keys of metrics, {old: new}."""
        values = {renamed.get(key, key): value for key, value in self.values.items()}
        arrays = {}
        for name, array in self.arrays.items():
            kind, _, key = name.partition("/")
            arrays[f"{kind}/{renamed[key]}" if key in renamed else name] = array
        return self._replace(values=values, arrays=arrays)

    @property
    def compared(self) -> list[str]:
        """Keys of the metrics that rank and have per-image values or values with folds left out."""
        kept = [key for key in self.values if f"hits/{key}" in self.arrays or f"without/{key}" in self.arrays]
        return [key for key in kept if facts_of(key.partition("(")[0]).better]


def beside(file: Path, name: str) -> Path:
    """Return the path of file `name` of an evaluation: NAME next to metrics.json, OTHER.NAME next to OTHER.json."""
    return file.with_name(name if file.name == METRICS else f"{file.stem}.{name}")


def read_per_image(file: Path, check: bool = True) -> PerImage:
    """Read metrics.json and its per-image values; raise UserError if the files are of different images.

    UserError also if metrics.json was altered after it was written, unless check=False.
    """
    file = Path(file)
    content = read_object(file, _HINT, _ENTRIES, check)
    path = beside(file, PER_IMAGE)
    arrays = read_arrays(path, _HINT)
    if str(arrays.pop(IMAGES_SHA256, None)) != content["inputs"].get(IMAGES_SHA256):
        raise UserError(f"{path}: is of other images than {file}; {_HINT}")
    if missing := [name for name in ("folds", "test_images", "captions") if name not in arrays]:
        what = {"folds": "folds of whole test images"}.get(missing[0], missing[0])
        raise UserError(f"{path}: has no {what}; {_HINT}")
    _check_arrays(arrays, path)
    measures = {key: measure for key, measure in content["metrics"].items() if measure is not None}
    for key, measure in measures.items():
        check_entries({key: measure}, {key: _MEASURE}, file, _HINT)
    values = {key: measure.get("interval_centre", measure["value"]) for key, measure in measures.items()}
    return PerImage(file, values, content["inputs"], arrays)


def _check_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Raise UserError if the arrays are not those of one image set: numbers, as many as images or folds."""
    images = len(arrays["folds"]) if arrays["folds"].ndim else 0
    for name in ("folds", "test_images", "captions"):
        if name not in arrays or arrays[name].dtype.kind not in "iu" or arrays[name].shape != (images,):
            raise UserError(f"{path}: is damaged ({name} are not whole numbers, one for each image); {_HINT}")
    for name, array in arrays.items():
        kind, _, key = name.partition("/")
        counted = kind == "hits" and f"counts/{key}" not in arrays
        if array.dtype.kind not in "iufb" or not array.ndim or not np.isfinite(array).all() or counted:
            raise UserError(f"{path}: is damaged ({name} are not finite numbers with their counts); {_HINT}")


def check_pairs(runs: Sequence[PerImage]) -> None:
    """Raise UserError naming two files if their images do not have the same captions and noises in the same order."""
    for other in runs[1:]:
        for name in ("test_images", "captions", "folds"):
            if not np.array_equal(runs[0].arrays[name], other.arrays[name]):
                raise UserError(
                    f"{runs[0].file} and {other.file}: their images cannot be paired (different {name}); sample both "
                    "from one data set, with the same seed and number of images"
                )
        for name in _SAME:
            if runs[0].inputs.get(name) != other.inputs.get(name):
                raise UserError(
                    f"{runs[0].file} and {other.file}: their images cannot be paired (different {name}); sample both "
                    "in the same way"
                )


class Comparison(NamedTuple):
    """The difference of two models by one metric."""

    metric: str
    first: float  # means over seeds of training
    second: float
    difference: Difference  # over images
    seeds: tuple[int, int]
    over_seeds: OverSeeds | None  # None if a model has one seed


class Corrected(NamedTuple):
    """p-values of a comparison, corrected for all comparisons of its family."""

    images: float
    seeds: float | None  # corrected for all comparisons of several seeds; None if a model has one seed


def compare(first: Sequence[PerImage], second: Sequence[PerImage], metric: str, seed: int) -> Comparison:
    """Return first minus second by one metric; each argument holds a model's evaluations, one per seed of training."""
    values = [np.array([run.values[metric] for run in runs]) for runs in (first, second)]
    means = [float(each.mean()) for each in values]
    if f"hits/{metric}" in first[0].arrays:
        hits = [np.stack([run.arrays[f"hits/{metric}"] for run in runs]) for runs in (first, second)]
        arrays = first[0].arrays
        difference = paired_difference_of_shares(*hits, arrays[f"counts/{metric}"], arrays["test_images"], seed)
    else:
        without = [np.mean([run.arrays[f"without/{metric}"] for run in runs], axis=0) for runs in (first, second)]
        difference = paired_difference_of_folds(means[0] - means[1], without[0] - without[1])
    several = min(len(first), len(second)) > 1
    return Comparison(
        metric, *means, difference, (len(first), len(second)), difference_over_seeds(*values) if several else None
    )


def correct(family: Sequence[Comparison]) -> list[Corrected]:
    """Return the corrected p-values (Holm) of all comparisons of a table, over images and over seeds of training."""
    over_images = holm([each.difference.p_value for each in family])
    tested = [number for number, each in enumerate(family) if each.over_seeds is not None]
    over_seeds = dict(zip(tested, holm([family[number].over_seeds.p_value for number in tested]), strict=True))
    return [
        Corrected(float(p), float(over_seeds[number]) if number in over_seeds else None)
        for number, p in enumerate(over_images)
    ]


def holds(comparison: Comparison, corrected: Corrected) -> bool:
    """Return whether the difference is significant.

    Significant means: the interval over images excludes 0, the corrected p-value over images is below 0.05 and, if both
    models have several training seeds, so is the corrected p-value over seeds, with a difference on the same side.
    """
    low, high = comparison.difference.interval
    if low <= 0 <= high or corrected.images >= ALPHA:
        return False
    if corrected.seeds is None:
        return True
    return corrected.seeds < ALPHA and (sum(comparison.over_seeds.interval) > 0) == (low > 0)
