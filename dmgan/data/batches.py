"""Batches of images and captions, with the papers' random crop, flip and caption."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import fit_caption, pad_captions
from dmgan.errors import UserError
from dmgan.runtime.randomness import generator


class Batch(NamedTuple):
    """B images with one caption each."""

    images: list[Tensor]  # per side (B, 3, s, s); uint8 as read, float32 in [-1, 1] after `to`
    tokens: Tensor  # (B, T) int64, 0 at padding
    lengths: Tensor  # (B,) int64
    class_ids: Tensor  # (B,) int64

    def to(self, device: torch.device) -> "Batch":
        """Copy the uint8 images to `device` and scale them there to [-1, 1]."""
        return self._replace(images=[scaled(each.to(device, non_blocking=True)) for each in self.images])

    def pinned(self) -> "Batch":
        """Copy the images to pinned memory, so that copies to a GPU are asynchronous."""
        return self._replace(images=[each.pin_memory() for each in self.images])


def scaled(levels: Tensor) -> Tensor:
    """Convert uint8 levels to float32 in [-1, 1]."""
    return levels.float().div_(127.5).sub_(1.0)


def to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """Convert B uint8 images (H, W, 3) to a float32 tensor (B, 3, H, W) in [-1, 1]."""
    return scaled(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))


def to_levels(images: Tensor) -> Tensor:
    """Convert images (B, 3, s, s) in [-1, 1] to uint8 (B, s, s, 3), on their device.

    Levels are truncated as in the released code.
    """
    levels = ((images.float() + 1.0) * 127.5).clamp_(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert images (B, 3, s, s) in [-1, 1] to a uint8 array (B, s, s, 3), as `to_levels` does."""
    return to_levels(images).cpu().numpy()


def crop_box(height: int, width: int, size: int, random: np.random.Generator | None) -> tuple[int, int]:
    """Return top and left of a square crop: random, or centred if `random` is None."""
    if random is None:
        return (height - size) // 2, (width - size) // 2
    return int(random.integers(height - size + 1)), int(random.integers(width - size + 1))


def smaller_sides(images: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Resize images (B, 3, s, s) uint8 to every side in `sizes`: bilinear, antialiased.

    For a half, a quarter, ... of the side the bytes equal those of Pillow's filter; for other sides they differ by at
    most one level. Several times faster than Pillow.
    """
    side = images.shape[-1]
    return [
        images if size == side else F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        for size in sizes
    ]


class TrainingBatches:
    """Shuffled training batches, each a pure function of (seed, step); thread-safe.

    As in the released code, every image gets one random caption, crop and flip per epoch, and the last, incomplete
    batch of an epoch is dropped. sizes: sides of the images; the largest is cropped, and the crop is resized to the
    other sides. part: the rows whose images are read, if several processes share a batch; captions are read for all
    rows.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        sizes: Sequence[int],
        batch_size: int,
        max_words: int,
        seed: int,
        part: slice = slice(None),
    ):
        self.dataset, self.sizes = dataset, tuple(sizes)
        self.batch_size, self.max_words, self.seed, self.part = batch_size, max_words, seed, part
        self._indices = dataset.indices("train")
        self.steps_per_epoch = len(self._indices) // batch_size
        if not self.steps_per_epoch:
            raise UserError(
                f"{dataset.folder}: {len(self._indices)} training images do not fill a batch of {batch_size} images"
            )
        if max(sizes) > dataset.description["stored_size"]:
            raise UserError(
                f"{dataset.folder}: was prepared for {dataset.image_size} px, the model wants {max(sizes)} px; "
                "prepare it with a larger image_size"
            )
        self._order = lru_cache(maxsize=2)(
            self._draw_order
        )  # two epochs, because prefetching reads batches of the next epoch

    def _draw_order(self, epoch: int) -> np.ndarray:
        return generator(self.seed, "epoch order", epoch).permutation(self._indices)

    def rows(self, step: int) -> np.ndarray:
        """Return the indices in the data set (B,) of the images in the batch of `step`."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def __getitem__(self, step: int) -> Batch:
        return self.read(step).to(torch.device("cpu"))

    def read(self, step: int) -> Batch:
        """Return the batch of `step` with uint8 images (B, 3, s, s), channels_last in memory."""
        rows, epoch, size = self.rows(step), step // self.steps_per_epoch, max(self.sizes)
        with_image = rows[self.part]
        pixels, captions = np.empty((len(with_image), size, size, 3), np.uint8), []
        place = {index: number for number, index in enumerate(with_image)}
        for index in rows:
            random = generator(self.seed, "augmentation", epoch, index)
            chosen = int(random.integers(self.dataset.caption_count(index)))
            captions.append(fit_caption(self.dataset.tokens(index, chosen), self.max_words, random))
            if index in place:
                _crop_and_flip(self.dataset.image(index), random, pixels[place[index]])
        tokens, lengths = pad_captions(captions)
        return Batch(
            images=smaller_sides(torch.from_numpy(pixels).permute(0, 3, 1, 2), self.sizes),
            tokens=torch.from_numpy(tokens),
            lengths=torch.from_numpy(lengths),
            class_ids=torch.from_numpy(self.dataset.class_ids[rows]),
        )


def _crop_and_flip(image: np.ndarray, random: np.random.Generator, out: np.ndarray) -> None:
    """Write a random crop of an image, mirrored with probability 1/2, into `out` (size, size, 3)."""
    size = len(out)
    top, left = crop_box(*image.shape[:2], size, random)
    out[:] = image[top : top + size, left : left + size]
    if random.integers(2):
        mirrored = torch.from_numpy(out)
        mirrored.copy_(mirrored.flip(1))  # torch: NumPy is ten times slower with three channels


def centre_crop(dataset: PreparedDataset, index: int, size: int) -> np.ndarray:
    """Return the centre crop (size, size, 3) of a stored image, uint8; evaluation uses these crops."""
    image = dataset.image(index)
    top, left = crop_box(*image.shape[:2], size, None)
    return image[top : top + size, left : left + size]
