"""The validation split: training images that are held out of a training and measured while it runs."""

from typing import NamedTuple

import numpy as np

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.runtime.randomness import generator

SEED = 0  # of the split and of its captions and noises, so that all models and seeds are measured on the same images


class ValidationSplit(NamedTuple):
    """A data set without the held-out images, and a data set whose test images are the held-out images."""

    training: PreparedDataset
    validation: PreparedDataset


def cut_validation_split(dataset: PreparedDataset, images: int) -> ValidationSplit:
    """Hold out `images` training images at random: a pure function of the data set and the number of images.

    The test images are in neither split's training or held-out images. UserError if no training image remains, or if
    fewer than two images are held out.
    """
    train = dataset.indices("train")
    if not 2 <= images < len(train):
        raise UserError(
            f"{dataset.folder}: {images} of its {len(train)} training images cannot be held out; set validation_images "
            f"to 2 ... {len(train) - 1}, or hold none out (leave evaluate_every out; of pretrain: validation_images 0)"
        )
    shuffled = generator(SEED, "validation split").permutation(train)
    held_out, kept = np.sort(shuffled[:images]), np.sort(shuffled[images:])
    return ValidationSplit(
        dataset.with_splits(kept, dataset.indices("test"), images), dataset.with_splits(kept, held_out, images)
    )
