"""Batches of images and captions: the papers' crop, flip and choice of caption."""

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

    images: list[Tensor]  # per side (B, 3, s, s) in [-1, 1]; uint8 where they were only read
    tokens: Tensor  # (B, T) int64, 0 at padding
    lengths: Tensor  # (B,) int64
    class_ids: Tensor  # (B,) int64

    def to(self, device: torch.device) -> "Batch":
        """The same with the images on `device`, in [-1, 1]: bytes travel, and are scaled there."""
        return self._replace(images=[scaled(each.to(device, non_blocking=True)) for each in self.images])

    def pinned(self) -> "Batch":
        """The same with its images in page-locked memory, from where a GPU fetches them by itself."""
        return self._replace(images=[each.pin_memory() for each in self.images])


def scaled(levels: Tensor) -> Tensor:
    """uint8 levels -> float32 in [-1, 1]."""
    return levels.float().div_(127.5).sub_(1.0)


def to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """uint8 images (H, W, 3) -> (B, 3, H, W) float32 in [-1, 1]."""
    return scaled(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))


def to_uint8(images: Tensor) -> np.ndarray:
    """Images (B, 3, s, s) in [-1, 1] -> (B, s, s, 3) uint8; truncated as the released code does."""
    levels = ((images.float() + 1.0) * 127.5).clamp_(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def crop_box(height: int, width: int, size: int, random: np.random.Generator | None) -> tuple[int, int]:
    """Top and left of a square crop: at random, or in the centre."""
    if random is None:
        return (height - size) // 2, (width - size) // 2
    return int(random.integers(height - size + 1)), int(random.integers(width - size + 1))


def smaller_sides(images: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Images (B, 3, s, s) uint8 at every side in `sizes`, as Pillow's antialiased bilinear filter makes them.

    The same bytes as Pillow's for a half, a quarter, ... of the side, within one level elsewhere; several times faster.
    """
    side = images.shape[-1]
    return [
        images if size == side else F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        for size in sizes
    ]


class TrainingBatches:
    """Shuffled training batches, each a pure function of (seed, step); several threads may ask at once.

    One random caption per image and epoch, a random crop and flip; the last, incomplete batch of an
    epoch is dropped (released code's rules). `sizes` are the sides wanted, the largest is cropped. `part` are the
    rows whose images are read, where several processes share a batch; its captions are always whole.
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
                f"{dataset.folder}: {len(self._indices)} training images do not fill a batch of {batch_size}"
            )
        if max(sizes) > dataset.description["stored_size"]:
            raise UserError(
                f"{dataset.folder}: was prepared for {dataset.image_size} px, the model wants {max(sizes)} px; "
                "prepare it with a larger image_size"
            )
        self._order = lru_cache(maxsize=2)(self._draw_order)  # two epochs: reading ahead crosses their border

    def _draw_order(self, epoch: int) -> np.ndarray:
        return generator(self.seed, "epoch order", epoch).permutation(self._indices)

    def rows(self, step: int) -> np.ndarray:
        """Numbers (B,) of the images of one step's batch, in the data set."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def __getitem__(self, step: int) -> Batch:
        return self.read(step).to(torch.device("cpu"))

    def read(self, step: int) -> Batch:
        """One step's batch with its images in uint8, (B, 3, s, s) over memory (B, s, s, 3)."""
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
    """A random crop of an image into `out` (size, size, 3), half of the time mirrored."""
    size = len(out)
    top, left = crop_box(*image.shape[:2], size, random)
    out[:] = image[top : top + size, left : left + size]
    if random.integers(2):
        mirrored = torch.from_numpy(out)
        mirrored.copy_(mirrored.flip(1))  # ten times as fast as NumPy over three channels


def centre_crop(dataset: PreparedDataset, index: int, size: int) -> np.ndarray:
    """The middle (size, size, 3) of a stored image, uint8: what evaluation reads, without crop or flip at random."""
    image = dataset.image(index)
    top, left = crop_box(*image.shape[:2], size, None)
    return image[top : top + size, left : left + size]
