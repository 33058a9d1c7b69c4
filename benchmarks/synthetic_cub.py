"""Synthetic stand-in for CUB: the same number and size of photographs, similar decoding time, the same layout."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = 11_788  # CUB's
CLASSES = 200
_SIDES = ((500, 375), (500, 333), (375, 500), (500, 400))
_QUALITY = 92
_GRAIN = 18  # standard deviation in grey levels: gives files of 110 KB on average, as CUB's are (1.2 GB in all)


def photograph(number: int) -> Image.Image:
    """Return a picture with detail at every scale, like photographs: noise, stronger at coarse scales, and grain."""
    random = np.random.default_rng(number)
    width, height = _SIDES[number % len(_SIDES)]
    total = np.zeros((height, width, 3), np.float32)
    for step in (4, 16, 64):
        coarse = random.integers(0, 256, (-(-height // step), -(-width // step), 3), dtype=np.uint8)
        total += step**0.5 * np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC), np.float32)
    total -= total.min()
    total *= 255 / total.max()
    total += random.normal(0, _GRAIN, total.shape).astype(np.float32)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def _names(count: int) -> list[str]:
    return [f"{1 + n * CLASSES // count:03d}.Species/Species_{n:05d}" for n in range(count)]


def _save(root: Path, number: int, name: str) -> None:
    photograph(number).save(root / "images" / f"{name}.jpg", quality=_QUALITY)


def make(folder: Path, count: int, workers: int) -> tuple[Path, Path]:
    """Write `count` photographs; return the folders CUB_200_2011 and cvpr2016_cub (captions and test species)."""
    root, captions, names = folder / "CUB_200_2011", folder / "cvpr2016_cub", _names(count)
    species = sorted({name.split("/")[0] for name in names})
    for each in species:
        (root / "images" / each).mkdir(parents=True)
        (captions / "text_c10" / each).mkdir(parents=True)
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(_save, root), range(count), names, chunksize=16))
    (root / "images.txt").write_text("".join(f"{n} {name}.jpg\n" for n, name in enumerate(names, 1)))
    (root / "classes.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(species, 1)))
    labels = [species.index(name.split("/")[0]) + 1 for name in names]
    (root / "image_class_labels.txt").write_text("".join(f"{n} {label}\n" for n, label in enumerate(labels, 1)))
    (root / "bounding_boxes.txt").write_text(
        "".join(f"{n} 90.0 {60 + n % 40}.0 {160 + n % 120}.0 150.0\n" for n in range(1, count + 1))
    )
    for number, name in enumerate(names):
        lines = "".join(f"this bird number {number % 97} has wings of kind {n}\n" for n in range(10))
        (captions / "text_c10" / f"{name}.txt").write_text(lines)
    (captions / "testclasses.txt").write_text("".join(f"{name}\n" for name in species[::4]))
    return root, captions
