"""Retrieval of captions by images: mismatched captions, hits, and R-precision of folds (AttnGAN, section 4)."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.runtime.randomness import generator

CANDIDATES = 100
MISMATCHED = "captions of test images of another class (of another image where a set has no classes), with replacement"
_CHUNK = 256  # images at a time: 256 x 100 candidates


def mismatched_captions(class_ids: np.ndarray, pool_classes: np.ndarray, seed: int) -> np.ndarray:
    """Return, for each image, 99 positions in the pool of captions, drawn with replacement from other classes.

    class_ids (N,) of the images, pool_classes (P,) of the pool's captions; returns (N, 99) int64. Row i depends only on
    `seed` and i. In a data set without classes every image is a class.
    """
    return np.concatenate([block for _, block in mismatched_blocks(class_ids, pool_classes, seed)])


def mismatched_blocks(class_ids: np.ndarray, pool_classes: np.ndarray, seed: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of `mismatched_captions` block after block, with their slice."""
    order = np.argsort(pool_classes, kind="stable")
    ordered = pool_classes[order]
    starts, ends = np.searchsorted(ordered, class_ids, "left"), np.searchsorted(ordered, class_ids, "right")
    others = len(pool_classes) - (ends - starts)
    if not others.all():
        raise UserError(
            "R-precision: all captions are of one class, so no caption is mismatched; use a set with more classes"
        )
    random = generator(seed, "mismatched captions")
    for start in range(0, len(class_ids), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(class_ids)))
        draws = (random.random((rows.stop - start, CANDIDATES - 1)) * others[rows, None]).astype(np.int64)
        # A draw counts the pool without the image's own class: step over that class's block.
        draws += np.where(draws >= starts[rows, None], (ends - starts)[rows, None], 0)
        yield rows, order[draws]


def retrieval_hits(embeddings: np.ndarray, captions: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return, for each image, whether its own caption has the greatest cosine of its candidates; a tie is a hit.

    embeddings (N, E) of the images, captions (C, E), candidates (N, K) rows of `captions`, first the own caption;
    returns (N,) bool. Every cosine is summed in the same order: a candidate with an equal embedding ties exactly.
    """
    lengths = np.linalg.norm(captions.astype(np.float64), axis=1)
    captions_of_length_1 = captions / np.maximum(lengths, 1e-8)[:, None]
    hits = np.empty(len(embeddings), dtype=bool)
    for start in range(0, len(embeddings), _CHUNK):
        rows = slice(start, start + _CHUNK)
        # The length of an image's embedding scales all its cosines by the same factor and is left out.
        cosines = np.einsum("ne,nke->nk", embeddings[rows].astype(np.float64), captions_of_length_1[candidates[rows]])
        hits[rows] = cosines[:, 0] >= cosines[:, 1:].max(axis=1)
    return hits


def counted_images(folds: np.ndarray, permutation: np.ndarray, rule: str) -> np.ndarray:
    """Return the mask (N,) bool of images that count: all, or by the rule `released` all but the last of each fold.

    `folds` (N,) gives the fold of each image, `permutation` (N,) the shuffled order that was cut into them. The
    released code's slice leaves the last image of each fold out, 2,999 of 3,000.
    """
    counted = np.ones(len(folds), dtype=bool)
    if rule == "released":
        last_of_each = np.flatnonzero(np.diff(folds[permutation], append=-1))
        counted[permutation[last_of_each]] = False
    return counted


def precision_of_folds(hits: np.ndarray, folds: np.ndarray, permutation: np.ndarray, rule: str) -> np.ndarray:
    """Return the R-precision in percent of each fold, (folds,), over the images that count (counted_images)."""
    counted = counted_images(folds, permutation, rule)
    return np.array([100 * hits[counted & (folds == fold)].mean() for fold in range(folds.max() + 1)])


def pool_of_test_captions(dataset: PreparedDataset) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return every caption of the test split as (image, number of the caption), and their classes (P,)."""
    test = dataset.indices("test")
    counts = [dataset.caption_count(image) for image in test]
    pool = [(int(image), caption) for image, count in zip(test, counts, strict=True) for caption in range(count)]
    return pool, np.repeat(dataset.class_ids[test], counts)


def distinct(captions: Sequence[Hashable]) -> tuple[list[Hashable], np.ndarray]:
    """Return the distinct captions in the order of first occurrence, and the row of every given caption."""
    row_of: dict[Hashable, int] = {}
    rows = np.array([row_of.setdefault(caption, len(row_of)) for caption in captions], dtype=np.int32)
    return list(row_of), rows
