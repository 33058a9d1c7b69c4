"""Pairing of two methods' images by their captions, whatever their order and number.

Images of two models of one sampling pair by number. Images of another program pair by caption: with all images if both
methods have the same captions, otherwise those of the captions that both have, for metrics with per-image values only.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dmgan.evaluation.paired_comparison import PerImage
from dmgan.evaluation.statistics.folds import FOLDS

FEWEST = 2 * FOLDS  # images that a comparison needs
_OF_IMAGES = ("test_images", "captions", "folds", "hits/", "counts/")  # arrays with a row per image


def pair_by_caption(
    first: Sequence[PerImage], second: Sequence[PerImage]
) -> tuple[list[PerImage], list[PerImage]] | None:
    """Return the evaluations of two methods with the same captions in the same order.

    None if fewer than FEWEST images, or images of a single test image, have the same captions.
    """
    one, other = first[0], second[0]
    if all(np.array_equal(one.arrays[name], other.arrays[name]) for name in ("test_images", "captions", "folds")):
        same = (one.arrays["captions"] >= 0).all()
        return (list(first), list(second)) if same and _of_one_set(one, other) else None
    if not _of_one_set(one, other):
        return None
    rows, others = _rows_by_caption(one), _rows_by_caption(other)
    shared = [key for key in rows if key in others]
    if len(shared) < FEWEST or len({image for image, _, _ in shared}) < 2:
        return None
    chosen = [np.array([each[key] for key in shared]) for each in (rows, others)]
    folds = (run.arrays["folds"][numbers] for run, numbers in zip((one, other), chosen, strict=True))
    whole = len(shared) == len(rows) == len(others) and np.array_equal(*folds)
    return tuple(
        [_with_rows(run, numbers, whole) for run in runs] for runs, numbers in zip((first, second), chosen, strict=True)
    )


def _of_one_set(one: PerImage, other: PerImage) -> bool:
    """Return whether the captions of two evaluations are numbered in the same set."""
    names = ("data", "captions_sha256")
    return all(one.inputs.get(name) == other.inputs.get(name) for name in names)


def _rows_by_caption(run: PerImage) -> dict[tuple[int, int, int], int]:
    """Return the row of every image by (test image, caption, how many images before it have this caption)."""
    before: Counter = Counter()
    found = {}
    for row, key in enumerate(zip(run.arrays["test_images"].tolist(), run.arrays["captions"].tolist(), strict=True)):
        if key[1] >= 0:
            found[*key, before[key]] = row
            before[key] += 1
    return found


def _with_rows(run: PerImage, rows: np.ndarray, whole: bool) -> PerImage:
    """Return an evaluation of the images `rows`; not whole: without the metrics that have no value per image."""
    arrays = {name: array[rows] if name.startswith(_OF_IMAGES) else array for name, array in run.arrays.items()}
    if whole:
        return run._replace(arrays=arrays)
    arrays = {name: array for name, array in arrays.items() if name.startswith(_OF_IMAGES)}
    keys = [name.removeprefix("hits/") for name in arrays if name.startswith("hits/")]
    values = {key: float(100 * arrays[f"hits/{key}"].sum() / arrays[f"counts/{key}"].sum()) for key in keys}
    return run._replace(values=values, arrays=arrays)
