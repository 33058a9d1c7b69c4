"""Batches of images and captions, with the papers' random crop, flip and caption."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    further_captions: list[tuple[Tensor, Tensor]] = []  # tokens and lengths of every further caption of the images
    wrong_images: list[Tensor] = []  # like images: drawn for mismatched pairs with the captions
    wrong_captions: tuple[Tensor, Tensor] | None = None  # tokens and lengths of captions of random training images

    def to(self, device: torch.device) -> "Batch":
        """Copy the uint8 images to `device` and scale them there to [-1, 1]."""
        images, wrong = (
            [scaled(each.to(device, non_blocking=True)) for each in stages]
            for stages in (self.images, self.wrong_images)
        )
        return self._replace(images=images, wrong_images=wrong)

    def pinned(self) -> "Batch":
        """Copy the images to pinned memory, so that copies to a GPU are asynchronous."""
        images, wrong = ([each.pin_memory() for each in stages] for stages in (self.images, self.wrong_images))
        return self._replace(images=images, wrong_images=wrong)


@dataclass(frozen=True)
class BatchRules:
    """The order of a batch, and what it holds beside one caption per image; the options of the same names."""

    captions_per_image: int = 1
    sort_by_length: bool = False  # longest caption first
    wrong_images: str | None = None  # a rule in options.WRONG_IMAGES; None: no wrong images
    wrong_captions: bool = False


class _Row(NamedTuple):
    """One row of a batch."""

    index: int  # of the image in the data set
    caption: int  # number among the image's captions
    tokens: np.ndarray  # of the caption, cut to the longest length
    random: np.random.Generator  # draws crop and flip


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


def random_crops(
    dataset: PreparedDataset, drawn: Sequence[tuple[int, np.random.Generator]], sizes: Sequence[int]
) -> list[Tensor]:
    """Return random crops of images, mirrored with probability 1/2, per side in `sizes` (B, 3, s, s) uint8.

    drawn: indices of the images with the generators of crop and flip. Crops have the data set's side, or the largest of
    `sizes` if that is larger, and are resized to `sizes`.
    """
    size = max(*sizes, dataset.image_size)
    pixels = np.empty((len(drawn), size, size, 3), np.uint8)
    for (index, random), out in zip(drawn, pixels, strict=True):
        _crop_and_flip(dataset.image(index), random, out)
    return smaller_sides(torch.from_numpy(pixels).permute(0, 3, 1, 2), sizes)


class TrainingBatches:
    """Shuffled training batches, each a pure function of (seed, step); thread-safe.

    As in the released code, every image gets one random caption, crop and flip per epoch, and the last, incomplete
    batch of an epoch is dropped. sizes: sides of the images. Crops have the data set's side, or the largest of `sizes`
    if that is larger, and are resized to `sizes`. part: the rows whose images are read, if several processes share a
    batch; captions are read for all rows. rules: what a batch holds besides.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        sizes: Sequence[int],
        batch_size: int,
        max_words: int,
        seed: int,
        part: slice = slice(None),
        rules: BatchRules = BatchRules(),
    ):
        self.dataset, self.sizes, self.rules = dataset, tuple(sizes), rules
        self.batch_size, self.max_words, self.seed, self.part = batch_size, max_words, seed, part
        self._indices = dataset.indices("train")
        self.steps_per_epoch = len(self._indices) // batch_size
        if not self.steps_per_epoch:
            raise UserError(
                f"{dataset.folder}: {len(self._indices)} training images do not fill a batch of {batch_size} images; "
                "give a smaller --batch-size"
            )
        if max(sizes) > dataset.description["stored_size"]:
            raise UserError(
                f"{dataset.folder}: was prepared for {dataset.image_size} px, the model wants {max(sizes)} px; "
                "prepare it with a larger image_size"
            )
        self._of_class, self._classes = {}, np.array([])  # training images by class; classes, ascending
        if rules.wrong_images == "other_class":
            class_ids = dataset.class_ids[self._indices]
            self._classes, starts = np.unique(np.sort(class_ids), return_index=True)
            by_class = np.split(self._indices[np.argsort(class_ids, kind="stable")], starts[1:])
            self._of_class = dict(zip(self._classes.tolist(), by_class, strict=True))
            if len(self._classes) == 1:
                raise UserError(
                    f"{dataset.folder}: all training images are of one class, but the model is trained with images of "
                    "other classes; use another model, or a data set with classes"
                )
        self._order = lru_cache(maxsize=2)(
            self._draw_order
        )  # two epochs, because prefetching reads batches of the next epoch

    def _draw_order(self, epoch: int) -> np.ndarray:
        return generator(self.seed, "epoch order", epoch).permutation(self._indices)

    def rows(self, step: int) -> np.ndarray:
        """Return the indices in the data set (B,) of the images in the batch of `step`."""
        return np.array([row.index for row in self._rows(step)])

    def _rows(self, step: int) -> list[_Row]:
        """Return the rows of the batch of `step`, in their order."""
        epoch, position = divmod(step, self.steps_per_epoch)
        rows = []
        for index in self._order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]:
            random = generator(self.seed, "augmentation", epoch, index)
            caption = int(random.integers(self.dataset.caption_count(index)))
            tokens = fit_caption(self.dataset.tokens(index, caption), self.max_words, random)
            rows.append(_Row(int(index), caption, tokens, random))
        return sorted(rows, key=lambda row: -len(row.tokens)) if self.rules.sort_by_length else rows

    def __getitem__(self, step: int) -> Batch:
        return self.read(step).to(torch.device("cpu"))

    def read(self, step: int) -> Batch:
        """Return the batch of `step` with uint8 images (B, 3, s, s), channels_last in memory."""
        rows, epoch = self._rows(step), step // self.steps_per_epoch
        tokens, lengths = _padded([row.tokens for row in rows])
        return Batch(
            images=self._images([(row.index, row.random) for row in rows[self.part]]),
            tokens=tokens,
            lengths=lengths,
            class_ids=torch.from_numpy(self.dataset.class_ids[[row.index for row in rows]]),
            further_captions=self._further_captions(rows, epoch),
            wrong_images=self._wrong_images(rows[self.part], epoch),
            wrong_captions=self._wrong_captions(rows, epoch),
        )

    def _images(self, drawn: Sequence[tuple[int, np.random.Generator]]) -> list[Tensor]:
        """Return random crops of images, given as indices with the generators of crop and flip, per side."""
        return random_crops(self.dataset, drawn, self.sizes)

    def _further_captions(self, rows: Sequence[_Row], epoch: int) -> list[tuple[Tensor, Tensor]]:
        """Return tokens and lengths of every caption beside the first, drawn with replacement."""
        streams = [generator(self.seed, "further captions", epoch, row.index) for row in rows]
        return [
            _padded([self._drawn_caption(row.index, random) for row, random in zip(rows, streams, strict=True)])
            for _ in range(self.rules.captions_per_image - 1)
        ]

    def _drawn_caption(self, index: int, random: np.random.Generator) -> np.ndarray:
        caption = int(random.integers(self.dataset.caption_count(index)))
        return fit_caption(self.dataset.tokens(index, caption), self.max_words, random)

    def _wrong_images(self, rows: Sequence[_Row], epoch: int) -> list[Tensor]:
        """Return the images drawn for mismatched pairs, per side; empty without a rule."""
        if self.rules.wrong_images is None:
            return []
        streams = [generator(self.seed, "wrong image", epoch, row.index) for row in rows]
        drawn = zip(rows, streams, strict=True)
        return self._images([(self._wrong_image(row.index, random), random) for row, random in drawn])

    def _wrong_image(self, index: int, random: np.random.Generator) -> int:
        """Draw the image of a mismatched pair with a caption of image `index`, by the rule."""
        class_ids, images = self.dataset.class_ids, self._indices
        if self.rules.wrong_images == "other_image":  # GAN-CLS on COCO
            return _another(images, index, random)
        if self.rules.wrong_images == "other_class":  # GAN-INT-CLS: a class, then an image of the class
            images = self._of_class[_another(self._classes, class_ids[index], random)]
        drawn = int(images[random.integers(len(images))])
        if self.rules.wrong_images == "redrawn" and class_ids[drawn] == class_ids[index]:  # StackGAN++
            drawn = int(images[random.integers(len(images))])
        return drawn

    # The released ControlGAN: any training image, the caption of the same number.
    def _wrong_captions(self, rows: Sequence[_Row], epoch: int) -> tuple[Tensor, Tensor] | None:
        """Return tokens and lengths of captions of random training images; None without the rule."""
        if not self.rules.wrong_captions:
            return None
        captions = []
        for row in rows:
            random = generator(self.seed, "wrong caption", epoch, row.index)
            other = int(self._indices[random.integers(len(self._indices))])
            tokens = self.dataset.tokens(other, row.caption % self.dataset.caption_count(other))
            captions.append(fit_caption(tokens, self.max_words, random))
        return _padded(captions)


def _another(values: np.ndarray, value: int, random: np.random.Generator) -> int:
    """Draw one of the ascending `values` that is not `value`, each with the same probability."""
    drawn = int(random.integers(len(values) - 1))
    return int(values[drawn + (drawn >= np.searchsorted(values, value))])


def _padded(captions: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return tokens (B, T), padded with 0, and lengths (B,) of captions."""
    tokens, lengths = pad_captions(captions)
    return torch.from_numpy(tokens), torch.from_numpy(lengths)


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
