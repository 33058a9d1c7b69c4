"""R-precision from embeddings: against the literal loop, on golden embeddings, and its rules for captions and folds."""

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.evaluation.statistics.retrieval import (
    counted_images,
    distinct,
    mismatched_captions,
    pool_of_test_captions,
    precision_of_folds,
    retrieval_hits,
)
from tests.golden.recipe import load, uniform


def literal_hit(embedding: np.ndarray, own: np.ndarray, mismatched: list[np.ndarray]) -> bool:
    """One image as the paper words it: a cosine for each of 100 captions, the own one first, argmax."""
    image, captions = embedding.astype(np.float64), np.stack([own, *mismatched]).astype(np.float64)
    cosines = (captions * image).sum(axis=1) / (np.sqrt((image**2).sum()) * np.sqrt((captions**2).sum(axis=1)))
    return int(np.argmax(cosines)) == 0


def test_retrieval_equals_the_loop():
    random = np.random.default_rng(0)
    captions = random.normal(size=(2300, 24)).astype(np.float32)
    candidates = random.integers(2300, size=(2000, 100))
    images = (captions[candidates[:, 0]] + 2 * random.normal(size=(2000, 24))).astype(np.float32)
    hits = retrieval_hits(images, captions, candidates)
    loop = [
        literal_hit(images[i], captions[row[0]], [captions[j] for j in row[1:]]) for i, row in enumerate(candidates)
    ]
    assert hits.tolist() == loop
    assert 400 < hits.sum() < 1600


def test_a_mismatched_caption_with_the_same_embedding_does_not_win():
    random = np.random.default_rng(1)
    captions = random.normal(size=(300, 37)).astype(np.float32)
    captions = np.concatenate([captions, captions])  # the same captions, elsewhere in memory
    own = np.arange(300)
    candidates = np.stack([own, *[own + 300] * 99], axis=1)
    assert retrieval_hits(random.normal(size=(300, 37)), captions, candidates).all()
    assert retrieval_hits(random.normal(size=(300, 37)), captions, candidates[:, ::-1]).all()


def test_retrieval_of_the_golden_embeddings():
    candidates = uniform("rp/sent", (40, 100, 32))
    images = uniform("rp/img", (40, 32))
    candidates[:, 0] += 0.6 * images
    hits = retrieval_hits(images, candidates.reshape(-1, 32), np.arange(4000).reshape(40, 100))
    assert hits.astype(int).tolist() == [int(hit) for hit in load("metrics.json")["rprecision_hits"]]


def test_mismatched_captions_are_of_other_classes_and_uniform():
    pool_classes = np.random.default_rng(0).integers(5, size=60)
    drawn = mismatched_captions(np.arange(5).repeat(40), pool_classes, seed=3)
    assert drawn.shape == (200, 99)
    for own, row in zip(np.arange(5).repeat(40), drawn, strict=True):
        assert not (pool_classes[row] == own).any()
    counts = np.bincount(drawn[:40].ravel(), minlength=60)[pool_classes != 0]
    assert counts.min() > 0.6 * counts.mean() and counts.max() < 1.4 * counts.mean()
    assert np.array_equal(drawn[7:8], mismatched_captions(np.arange(5).repeat(40)[:8], pool_classes, seed=3)[7:])


def test_without_classes_mismatched_captions_are_of_other_images():
    pool_images = np.arange(6).repeat(5)  # COCO: every image is its own class, with five captions
    drawn = mismatched_captions(np.arange(6), pool_images, seed=0)
    for image, row in enumerate(drawn):
        assert set(pool_images[row]) == set(range(6)) - {image}


def test_r_precision_needs_other_classes():
    with pytest.raises(UserError, match="all captions are of one class"):
        mismatched_captions(np.zeros(3, int), np.zeros(9, int), seed=0)


def test_released_folds_leave_the_last_of_each_out():
    """The released code: np.random.shuffle(R); np.mean(R[i * 3000 : (i + 1) * 3000 - 1]) for ten folds."""
    random = np.random.default_rng(0)
    hits, permutation = random.random(300) < 0.6, random.permutation(300)
    folds = np.empty(300, dtype=int)
    folds[permutation] = np.arange(300) * 10 // 300
    shuffled = hits[permutation]
    released = [100 * shuffled[i * 30 : (i + 1) * 30 - 1].mean() for i in range(10)]
    corrected = [100 * shuffled[i * 30 : (i + 1) * 30].mean() for i in range(10)]
    assert precision_of_folds(hits, folds, permutation, "released").tolist() == released
    assert precision_of_folds(hits, folds, permutation, "corrected").tolist() == corrected
    assert released != corrected
    counts = [counted_images(folds, permutation, rule).sum() for rule in ("released", "corrected")]
    assert counts == [290, 300]


def test_the_pool_holds_every_test_caption_with_its_class(dataset):
    pool, classes = pool_of_test_captions(dataset)
    assert len(pool) == 3 * len(dataset.indices("test"))
    assert {image for image, _ in pool} == set(dataset.indices("test"))
    assert [dataset.class_ids[image] for image, _ in pool] == classes.tolist()


def test_captions_are_encoded_once():
    captions, rows = distinct([(3, 1), (2,), (3, 1), (5,)])
    assert captions == [(3, 1), (2,), (5,)] and rows.tolist() == [0, 1, 0, 2]
