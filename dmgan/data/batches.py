"""Batches of images and captions: the papers' crop, flip and choice of caption."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dmgan.captions import fit_caption, pad_captions
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.randomness import generator


class Batch(NamedTuple):
    """B images with one caption each."""

    images: list[Tensor]  # per side (B, 3, s, s) in [-1, 1]
    tokens: Tensor  # (B, T) int64, 0 at padding
    lengths: Tensor  # (B,) int64
    class_ids: Tensor  # (B,) int64


def to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """uint8 images (H, W, 3) -> (B, 3, H, W) float32 in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float().div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> np.ndarray:
    """Images (B, 3, s, s) in [-1, 1] -> (B, s, s, 3) uint8; truncated as the released code does."""
    levels = ((images.float() + 1.0) * 127.5).clamp_(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def crop_box(height: int, width: int, size: int, random: np.random.Generator | None) -> tuple[int, int]:
    """Top and left of a square crop: at random, or in the centre."""
    if random is None:
        return (height - size) // 2, (width - size) // 2
    return int(random.integers(height - size + 1)), int(random.integers(width - size + 1))


def smaller_sides(image: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """The image (s, s, 3) at every side in `sizes` (PIL bilinear with antialiasing, as the papers' code)."""
    picture = Image.fromarray(image)
    resized = (picture if size == picture.width else picture.resize((size, size), Image.BILINEAR) for size in sizes)
    return [np.asarray(each) for each in resized]


class TrainingBatches:
    """Shuffled training batches, each a pure function of (seed, step).

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
        self._epoch, self._order = -1, self._indices

    def rows(self, step: int) -> np.ndarray:
        """Numbers (B,) of the images of one step's batch, in the data set."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = generator(self.seed, "epoch order", epoch).permutation(self._indices)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]

    def __getitem__(self, step: int) -> Batch:
        rows = self.rows(step)
        with_image = set(rows[self.part])
        images, captions = [], []
        for index in rows:
            random = generator(self.seed, "augmentation", self._epoch, index)
            chosen = int(random.integers(self.dataset.caption_count(index)))
            captions.append(fit_caption(self.dataset.tokens(index, chosen), self.max_words, random))
            if index in with_image:
                images.append(smaller_sides(self._crop_and_flip(self.dataset.image(index), random), self.sizes))
        tokens, lengths = pad_captions(captions)
        return Batch(
            images=[to_tensor(each) for each in zip(*images, strict=True)],
            tokens=torch.from_numpy(tokens),
            lengths=torch.from_numpy(lengths),
            class_ids=torch.from_numpy(self.dataset.class_ids[rows]),
        )

    def _crop_and_flip(self, image: np.ndarray, random: np.random.Generator) -> np.ndarray:
        size = max(self.sizes)
        top, left = crop_box(*image.shape[:2], size, random)
        crop = image[top : top + size, left : left + size]
        return np.ascontiguousarray(crop[:, ::-1]) if random.integers(2) else crop


def centre_crop(dataset: PreparedDataset, index: int, size: int) -> np.ndarray:
    """The middle (size, size, 3) of a stored image, uint8: what evaluation reads, without crop or flip at random."""
    image = dataset.image(index)
    top, left = crop_box(*image.shape[:2], size, None)
    return image[top : top + size, left : left + size]
