"""Small sources of photographs, in the layouts in which CUB, COCO and a user's folder come."""

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.made_photographs import PHOTOGRAPHS

SPECIES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross", "004.Groove_billed_Ani")
PER_SPECIES = 3


def picture(width=60, height=50, seed=0) -> np.ndarray:
    """Return a smooth picture, which JPEG keeps nearly unchanged."""
    corners = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.BICUBIC))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def cub_names() -> list[str]:
    return [f"{name}/{name[4:]}_{number:04d}_{number}" for name in SPECIES for number in range(PER_SPECIES)]


def make_cub(folder: Path) -> Path:
    """Make CUB_200_2011 in its exact layout, but with four species of three images."""
    root, names = folder / "CUB_200_2011", cub_names()
    numbered = list(enumerate(names, 1))
    for number, name in numbered:
        save(root / "images" / f"{name}.jpg", picture(seed=number))
    (root / "images.txt").write_text("".join(f"{n} {name}.jpg\n" for n, name in numbered))
    (root / "image_class_labels.txt").write_text("".join(f"{n} {(n - 1) // PER_SPECIES + 1}\n" for n, _ in numbered))
    (root / "classes.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(SPECIES, 1)))
    (root / "bounding_boxes.txt").write_text("".join(f"{n} 10.0 12.0 30.0 24.0\n" for n, _ in numbered))
    return root


def write_texts(folder: Path) -> None:
    for name in cub_names():
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"this bird has {c} wings\n" for c in ("red", "blue", "green")) + "\n")


def make_metadata(folder: Path) -> Path:
    """Make AttnGAN's folder birds, with pickles in the protocol of Python 2."""
    birds, names = folder / "birds", cub_names()
    write_texts(birds / "text")
    for split, share in (("train", names[: 3 * PER_SPECIES]), ("test", names[3 * PER_SPECIES :])):
        (birds / split).mkdir()
        (birds / split / "filenames.pickle").write_bytes(pickle.dumps(share, 0))
        ids = [names.index(name) // PER_SPECIES + 1 for name in share]
        (birds / split / "class_info.pickle").write_bytes(pickle.dumps(ids, 0))
    words = dict(enumerate(["<end>", "this", "bird", "has", "wings", "red", "blue", "green"]))
    ids = {word: number for number, word in words.items()}
    (birds / "captions.pickle").write_bytes(pickle.dumps([[[1, 2]], [[1, 2]], words, ids], 2))
    return birds


def make_reed(folder: Path) -> Path:
    """Make Reed et al.'s folder cvpr2016_cub."""
    reed = folder / "cvpr2016_cub"
    write_texts(reed / "text_c10")
    (reed / "testclasses.txt").write_text(SPECIES[3] + "\n")
    return reed


def make_coco(folder: Path, year: str) -> Path:
    """Make COCO with three images, in the layout of 2014 or 2017."""
    root = folder / "coco"
    (root / "annotations").mkdir(parents=True)
    for split, ids in (("train", (9, 25)), ("val", (42,))):
        prefix = f"COCO_{split}{year}_" if year == "2014" else ""
        images = [{"id": each, "file_name": f"{prefix}{each:012d}.jpg"} for each in ids]
        texts = [{"image_id": each, "caption": f"a bird number {n}"} for n in range(6) for each in ids]
        if split == "val":
            texts.append({"image_id": 77, "caption": "of no image"})
        content = {"images": images, "annotations": texts}
        (root / "annotations" / f"captions_{split}{year}.json").write_text(json.dumps(content))
        for image in images:
            save(root / f"{split}{year}" / image["file_name"], picture(seed=image["id"]))
    return root


def make_odd_folder(folder: Path) -> Path:
    """Make a folder of twelve captioned photographs, three of which need a decision."""
    root = folder / "mine"
    for number in range(9):
        save(root / f"{number}.jpg", picture(seed=number))
    for name, kind in (("grey.jpg", "grey"), ("torn.jpg", "truncated"), ("tiny.png", "alpha")):
        (root / name).write_bytes(PHOTOGRAPHS[kind][0]())
    for path in sorted(root.iterdir()):
        path.with_suffix(".txt").write_text(f"a bird called {path.stem}\n")
    return root


def found(listing_or_set) -> dict[str, int]:
    """Return how often every kind of decision was made, without those about the small number of images."""
    decisions = listing_or_set.decisions if hasattr(listing_or_set, "decisions") else listing_or_set
    kinds = [item["found"] if isinstance(item, dict) else item.found for item in decisions]
    usual = ("another number of images than published", "fewer captions than asked for")
    return {kind: kinds.count(kind) for kind in sorted(set(kinds)) if kind not in usual}


def write_captions_pickle(path: Path, words: list[str]) -> Path:
    """Write a vocabulary with a few captions as the released code writes captions.pickle, and return its path."""
    ixtoword = dict(enumerate(words))
    content = [[[1, 2], [3]], [[2, 1]], ixtoword, {word: number for number, word in ixtoword.items()}]
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path
