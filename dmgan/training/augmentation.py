"""DiffAugment: differentiable augmentation of the images that discriminators read (Zhao et al. 2020, NeurIPS).

The same operations are applied to real and generated images, in the updates of discriminators and generator (Eq. 4-6),
with random numbers of their own for every image and every stage. The random numbers are an input of the training step:
uniform in [0, 1), NUMBERS an image.
"""

import numpy as np
import torch
from torch import Tensor

from dmgan.runtime.randomness import generator

NUMBERS = 7  # of an image: brightness, saturation, contrast, shift down and right, place of the cutout down and right
REAL, FAKE, FAKE_OF_GENERATOR, WRONG = range(4)  # images of a step that are augmented independently of each other
_SHIFT, _CUTOUT = 1 / 8, 1 / 2  # shares of the side: the largest shift, and the cutout's side; as released


def augmentation_numbers(seed: int, step: int, rows: int, sides: int) -> Tensor:
    """Return the random numbers (rows, 4, sides, NUMBERS) of a training step: a pure function of seed and step."""
    random = generator(seed, "DiffAugment", step)
    return torch.from_numpy(random.random((rows, 4, sides, NUMBERS), dtype=np.float32))


def augment(images: Tensor, policy: str, numbers: Tensor) -> Tensor:
    """Return augmented images (B, 3, s, s); policy: of options.DIFF_AUGMENT; numbers (B, NUMBERS) in [0, 1)."""
    operations = policy.split(",")
    with torch.autocast(images.device.type, enabled=False):  # half precision would round the images
        if "color" in operations:
            images = _color(images, *(numbers[:, i, None, None, None] for i in range(3)))
        if "translation" in operations:
            images = _translation(images, numbers[:, 3], numbers[:, 4])
        if "cutout" in operations:
            images = _cutout(images, numbers[:, 5], numbers[:, 6])
    return images


def _color(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add -0.5 ... 0.5, scale the distance to grey by 0 ... 2, and the distance to the mean by 0.5 ... 1.5."""
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def _translation(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift every image by up to an eighth of its side, and fill with zeros.

    Matrix products with permuted rows of the identity: their gradient is bit-exact on a GPU, a gather's is not.
    """
    side = images.shape[-1]
    most = int(side * _SHIFT + 0.5)
    places = torch.arange(side, device=images.device)

    def matrix(number: Tensor) -> Tensor:
        shift = _integer(number, 2 * most + 1) - most
        return (places[None, :, None] - shift[:, None, None] == places).to(images.dtype)[:, None]

    return matrix(down) @ images @ matrix(right).transpose(2, 3)


def _cutout(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Set a square of half the side to zero; its centre is anywhere, and it is clipped to the image."""
    side = images.shape[-1]
    length = int(side * _CUTOUT + 0.5)
    places = torch.arange(side, device=images.device)

    def inside(number: Tensor) -> Tensor:
        first = _integer(number, side + 1 - length % 2) - length // 2
        return (places >= first[:, None]) & (places < first[:, None] + length)

    hidden = inside(down)[:, None, :, None] & inside(right)[:, None, None, :]
    return images.masked_fill(hidden, 0.0)


def _integer(number: Tensor, count: int) -> Tensor:
    """Return integers 0 ... count - 1 (B,) of numbers in [0, 1); the product may round up to `count`."""
    return (number * count).long().clamp_max(count - 1)
