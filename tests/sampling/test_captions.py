"""Which captions are sampled: any number of images is balanced over the test images."""

import numpy as np
import pytest

from dmgan.sampling.captions import choose_test_caption


class Captioned:
    """A data set of `count` test images with ten captions of two words each."""

    def __init__(self, count: int):
        self._test = np.arange(count) + 7

    def indices(self, split: str) -> np.ndarray:
        return self._test

    def caption_count(self, image: int) -> int:
        return 10

    def tokens(self, image: int, caption: int) -> np.ndarray:
        return np.array([image, caption])


def images_of(count: int, num_images: int, seed: int = 100) -> np.ndarray:
    """The positions of the sampled test images, in the order of sampling."""
    dataset = Captioned(count)
    return np.array([choose_test_caption(dataset, number, seed, 5).image for number in range(num_images)]) - 7


# The demo; CUB in the papers; a part of one pass over COCO's kind of set.
@pytest.mark.parametrize(("count", "num_images", "classes"), [(900, 2000, 50), (2933, 30_000, 50), (4050, 3000, 50)])
def test_a_part_of_a_pass_is_of_all_classes(count, num_images, classes):
    """Test images lie class by class; in that order, the classes at the front had half as many again (or all)."""
    species = np.arange(count) * classes // count
    shown = species[images_of(count, num_images)]
    rest = num_images % count
    in_order = np.bincount(species[:rest], minlength=classes)
    of_rest = np.bincount(shown[-rest:], minlength=classes)
    expected = rest / classes
    assert abs(of_rest - expected).max() < 4 * expected**0.5
    assert in_order.min() == 0 and of_rest.min() > 0


@pytest.mark.parametrize("num_images", [5, 40, 41, 100])
def test_every_prefix_has_every_test_image_equally_often(num_images):
    counts = np.bincount(images_of(40, 100)[:num_images], minlength=40)
    assert counts.max() - counts.min() <= 1


def test_the_first_images_are_any_images_of():
    """Over seeds, every test image is as often among the first five of twenty."""
    first = np.concatenate([images_of(20, 5, seed) for seed in range(400)])
    frequency = np.bincount(first, minlength=20) / 400
    assert abs(frequency - 0.25).max() < 4 * (0.25 * 0.75 / 400) ** 0.5


def test_a_caption_is_a_pure_function_of_seed_and_number():
    dataset = Captioned(30)
    forwards = [choose_test_caption(dataset, number, 3, 5) for number in range(70)]
    for number in (69, 0, 31, 12):
        again = choose_test_caption(dataset, number, 3, 5)
        assert (again.image, again.caption) == (forwards[number].image, forwards[number].caption)
    passes = [[each.image for each in forwards[start : start + 30]] for start in (0, 30)]
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1])
    assert len({each.caption for each in forwards}) == 10
