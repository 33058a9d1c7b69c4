"""Baseline of reading: a loader like the released loader, one JPEG at a time through Pillow.

Per image: open and decode the JPEG, RGB, crop about the box, Resize 304, RandomCrop 256, random flip, Resize to 64 and
128, ToTensor, Normalize; a batch of 10 by torch's DataLoader.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

SIZES = (64, 128, 256)


class ReleasedDataset(Dataset):
    """Data set of photographs (path, box), decoded again for every batch."""

    def __init__(self, photographs: list[tuple[Path, tuple[int, int, int, int]]]):
        self.photographs = photographs
        self.transform = transforms.Compose(
            [
                transforms.Resize(SIZES[-1] * 76 // 64),
                transforms.RandomCrop(SIZES[-1]),
                transforms.RandomHorizontalFlip(),
            ]
        )
        self.norm = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> list[Tensor]:
        path, (left, top, width, height) = self.photographs[index]
        image = Image.open(path).convert("RGB")
        half, x, y = int(max(width, height) * 0.75), int((2 * left + width) / 2), int((2 * top + height) / 2)
        edges = max(0, x - half), max(0, y - half), min(image.width, x + half), min(image.height, y + half)
        image = self.transform(image.crop(edges))
        smaller = [transforms.Resize(size)(image) for size in SIZES[:-1]]
        return [self.norm(each) for each in [*smaller, image]]


def batches(photographs, batch_size: int, workers: int) -> Iterator[list[Tensor]]:
    """Yield batches of shuffled photographs without end."""
    loader = DataLoader(
        ReleasedDataset(photographs), batch_size=batch_size, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0, worker_init_fn=lambda worker: torch.set_num_threads(1),
    )  # fmt: skip
    while True:
        yield from loader
