"""Pairing of two methods' images by caption: order, number, folds, and what does not pair."""

from pathlib import Path

import numpy as np
import pytest

from dmgan.evaluation.paired_comparison import PerImage
from dmgan.evaluation.pairing import pair_by_caption

HITS, FID = "R-precision(x)", "FID(x)"


def method(keys, hits=None, folds=None, **inputs) -> list[PerImage]:
    """A method whose images have the captions `keys`, (test image, caption) each."""
    images, captions = (np.array(each) for each in zip(*keys, strict=True))
    hits = np.arange(len(keys)) % 2 if hits is None else np.asarray(hits)
    arrays = {
        "test_images": images, "captions": captions, "folds": images % 10 if folds is None else folds,
        f"hits/{HITS}": hits, f"counts/{HITS}": np.ones(len(keys), int), f"without/{FID}": np.arange(10.0),
    }  # fmt: skip
    values = {HITS: 50.0, FID: 3.0}
    return [PerImage(Path("metrics.json"), values, {"data": {"x": "1"}, **inputs}, arrays)]


KEYS = [(n % 10, n % 3) for n in range(40)]


def test_another_order_of_the_same_captions_is_put_into_the_first_s_order():
    order = np.random.default_rng(0).permutation(40)
    other = method([KEYS[n] for n in order], hits=order)
    first, second = pair_by_caption(method(KEYS), other)
    assert np.array_equal(first[0].arrays["captions"], second[0].arrays["captions"])
    assert np.array_equal(first[0].arrays["test_images"], second[0].arrays["test_images"])
    numbers = {}
    for row in order:  # the first image of a caption pairs with the first image of that caption
        numbers.setdefault(KEYS[row], []).append(row)
    assert second[0].arrays[f"hits/{HITS}"].tolist() == [numbers[key].pop(0) for key in KEYS]
    assert set(first[0].compared) == set(second[0].compared) == {HITS, FID} and second[0].values[FID] == 3.0


def test_captions_that_both_have_are_compared_by_metrics_of_single_images_only():
    first, second = pair_by_caption(method(KEYS), method(KEYS[:25], hits=[1] * 20 + [0] * 5))
    assert first[0].compared == second[0].compared == [HITS]
    assert second[0].values == {HITS: 80.0} and first[0].values == {HITS: 48.0}
    assert len(first[0].arrays["captions"]) == len(second[0].arrays["captions"]) == 25


def test_folds_of_another_seed_leave_only_metrics_of_single_images():
    first, _ = pair_by_caption(method(KEYS), method(KEYS[::-1], folds=np.arange(40) % 7))
    assert first[0].compared == [HITS]


@pytest.mark.parametrize(
    "other",
    [
        method(KEYS[:19]),
        method([(n + 100, 0) for n in range(40)]),
        method([(n % 10, -1) for n in range(40)]),
        method(KEYS[::-1], captions_sha256="other"),
        method(KEYS, data={"x": "2"}),
        method([(0, 0)] * 40),
    ],
    ids=["too few", "other images", "without captions", "captions of its own", "other data", "one test image"],
)
def test_methods_without_common_captions_do_not_pair(other):
    assert pair_by_caption(method(KEYS + [(0, 0)] * 40), other) is None
    assert pair_by_caption(other, method(KEYS + [(0, 0)] * 40)) is None


def test_two_methods_without_captions_do_not_pair():
    without = [(n, -1) for n in range(40)]
    assert pair_by_caption(method(without), method(without)) is None
