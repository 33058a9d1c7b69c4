"""R-precision: does an image find its own caption among 99 mismatched ones? (AttnGAN, section 4)

Everything here works on encodings: what encodes images and captions is a judge (judges.py).
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.runtime.randomness import generator

CANDIDATES = 100
MISMATCHED = "captions of test images of another class (of another image where a set has no classes), with replacement"
_CHUNK = 256  # images at a time: 256 x 100 candidates


def mismatched_captions(class_ids: np.ndarray, pool_classes: np.ndarray, seed: int) -> np.ndarray:
    """For each image, 99 positions in the pool of captions, drawn with replacement from other classes.

    class_ids (N,) of the images, pool_classes (P,) of the pool's captions; returns (N, 99) int64. Row i depends on
    `seed` and i alone. A set without classes numbers its images: then other classes are other images.
    """
    return np.concatenate([block for _, block in mismatched_blocks(class_ids, pool_classes, seed)])


def mismatched_blocks(class_ids: np.ndarray, pool_classes: np.ndarray, seed: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of `mismatched_captions`, block after block: which they are, and the rows."""
    order = np.argsort(pool_classes, kind="stable")
    ordered = pool_classes[order]
    starts, ends = np.searchsorted(ordered, class_ids, "left"), np.searchsorted(ordered, class_ids, "right")
    others = len(pool_classes) - (ends - starts)
    if not others.all():
        raise UserError(
            "R-precision: every caption is of one class, so there is no mismatched one; use a set with more classes"
        )
    random = generator(seed, "mismatched captions")
    for start in range(0, len(class_ids), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(class_ids)))
        draws = (random.random((rows.stop - start, CANDIDATES - 1)) * others[rows, None]).astype(np.int64)
        # A draw counts the pool without the image's own class: step over that class's block.
        draws += np.where(draws >= starts[rows, None], (ends - starts)[rows, None], 0)
        yield rows, order[draws]


def retrieval_hits(codes: np.ndarray, captions: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Whether each image's own caption has the greatest cosine of its candidates; a tie goes to its own.

    codes (N, E) of the images, captions (C, E), candidates (N, K) rows of `captions`, the first the image's own;
    returns (N,) bool. Every cosine is summed in the same order, so that a rival with the same encoding ties exactly.
    """
    lengths = np.linalg.norm(captions.astype(np.float64), axis=1)
    captions_of_length_1 = captions / np.maximum(lengths, 1e-8)[:, None]
    hits = np.empty(len(codes), dtype=bool)
    for start in range(0, len(codes), _CHUNK):
        rows = slice(start, start + _CHUNK)
        # An image's own length scales all its cosines alike, and is left out.
        cosines = np.einsum("ne,nke->nk", codes[rows].astype(np.float64), captions_of_length_1[candidates[rows]])
        hits[rows] = cosines[:, 0] >= cosines[:, 1:].max(axis=1)
    return hits


def counted_images(folds: np.ndarray, permutation: np.ndarray, rule: str) -> np.ndarray:
    """Which images count, (N,) bool: all, or by the rule `released` all but the last of each fold.

    `folds` (N,) gives the fold of each image, `permutation` (N,) the shuffled order that was cut into them. The
    released code's slice leaves the last image of each fold out, 2,999 of 3,000.
    """
    counted = np.ones(len(folds), dtype=bool)
    if rule == "released":
        last_of_each = np.flatnonzero(np.diff(folds[permutation], append=-1))
        counted[permutation[last_of_each]] = False
    return counted


def precision_of_folds(hits: np.ndarray, folds: np.ndarray, permutation: np.ndarray, rule: str) -> np.ndarray:
    """R-precision in percent of each fold, (folds,), of the images that count by the rule (counted_images)."""
    counted = counted_images(folds, permutation, rule)
    return np.array([100 * hits[counted & (folds == fold)].mean() for fold in range(folds.max() + 1)])


def pool_of_test_captions(dataset: PreparedDataset) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Every caption of the test split, as (image, which of its captions), and the class of each (P,)."""
    test = dataset.indices("test")
    counts = [dataset.caption_count(image) for image in test]
    pool = [(int(image), caption) for image, count in zip(test, counts, strict=True) for caption in range(count)]
    return pool, np.repeat(dataset.class_ids[test], counts)


def distinct(captions: Sequence[Hashable]) -> tuple[list[Hashable], np.ndarray]:
    """The different captions in the order of their first occurrence, and for each given one its row among them."""
    row_of: dict[Hashable, int] = {}
    rows = np.array([row_of.setdefault(caption, len(row_of)) for caption in captions], dtype=np.int32)
    return list(row_of), rows
