"""Folders of images as another program would leave them, with odd names, and their captions files."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.local_weights import drawn_images
from dmgan.data.dataset import PreparedDataset

ODD_NAMES = ("0.png", "IMG (1).png", "b/ünïcode.PNG", "a photo.with.dots.png", "-dash.png", "b/c/#1 & 2.png")


def names(count: int, suffix: str = "png") -> list[str]:
    """Return `count` paths of images, of which the first are odd."""
    return [*ODD_NAMES, *(f"sample-{number}.{suffix}" for number in range(len(ODD_NAMES), count))][:count]


def write_images(folder: Path, count: int, side: int = 32, seed: int = 0) -> list[str]:
    """Write `count` PNGs with odd names and return their paths within the folder, as they are read."""
    for name, pixels in zip(names(count), drawn_images(count, side, seed), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return sorted(names(count))


def test_captions(dataset: PreparedDataset, count: int) -> list[str]:
    """Return `count` captions of the test images, in turn."""
    test = dataset.indices("test")
    return [dataset.caption(test[n % len(test)], n // len(test) % dataset.caption_count(test[0])) for n in range(count)]


test_captions.__test__ = False  # pytest would take it for a test


def write_captions(path: Path, captions: dict[str, str], **more: dict[str, str]) -> Path:
    """Write a captions file, {image: caption}; more: {key: {image: value}}."""
    rows = (
        {"image": name, "caption": text} | {key: values[name] for key, values in more.items() if name in values}
        for name, text in captions.items()
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pixels_of(path: Path) -> np.ndarray:
    """Return the pixels of an image file as Pillow converts them."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
