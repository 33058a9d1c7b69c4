"""Image lists of a dataset source, with the data-cleaning decisions."""

import os
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.storage.files import file_sha256

SUFFIXES = (  # of the formats that dmgan/data/sources/photographs.py reads
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
)  # fmt: skip
# Image formats that are not read; a decision records every file of these formats.
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".tga", ".svg", ".eps", ".dng", ".cr2", ".nef", ".arw",
)  # fmt: skip
_README_PREFIXES = (
    "readme",
    "license",
    "licence",
    "copying",
    "copyright",
)  # first letters of text files that hold no captions


class Decision(NamedTuple):
    """One irregularity of the data, and the decision on it."""

    image: str | None  # name of the image; None: the whole data set
    found: str  # kind of irregularity, such as "grey image"
    decision: str  # decision on every irregularity of this kind
    detail: str = ""  # further information


class Listed(NamedTuple):
    """One captioned photograph in a listing."""

    name: str  # unique within the source
    path: Path
    captions: tuple[str, ...]
    class_id: int
    split: str  # "train" or "test"
    box: tuple[int, int, int, int] | None = None  # left, top, width, height of the object to crop to, in stored pixels


class Listing(NamedTuple):
    """A source's photographs in order, the decisions on them, and the metadata files that were read."""

    source: dict[str, object]  # the source's name and options
    images: list[Listed]
    decisions: list[Decision]
    inputs: dict[str, dict[str, object]]  # metadata file -> bytes and SHA-256


def usable_captions(name: str, captions: Iterable[str], limit: int) -> tuple[tuple[str, ...], list[Decision]]:
    """Return the first `limit` captions that hold a word, as the released code does, and decisions; limit 0: all."""
    from dmgan.data.vocabulary import caption_to_words  # here: numpy must not be loaded with the table of sources

    kept, decisions = [], []
    for caption in captions:
        if limit and len(kept) == limit:
            break
        if caption_to_words(caption):
            kept.append(caption)
        else:
            decisions.append(Decision(name, "caption without a word", "caption left out", repr(caption)))
    if not kept:
        decisions.append(Decision(name, "image without a caption", "image left out"))
    elif len(kept) < limit:
        detail = f"{len(kept)}, not {limit}"
        decisions.append(Decision(name, "fewer captions than asked for", "kept with those that there are", detail))
    return tuple(kept), decisions


def without_duplicates(images: Iterable[Listed]) -> tuple[list[Listed], list[Decision]]:
    """Return the first image of every name, and a decision for every other image."""
    kept: dict[str, Listed] = {}
    decisions = []
    for image in images:
        if image.name in kept:
            decisions.append(Decision(image.name, "name that occurs more than once", "first one kept", image.path.name))
        else:
            kept[image.name] = image
    return list(kept.values()), decisions


def without_missing_files(images: Iterable[Listed]) -> tuple[list[Listed], list[Decision]]:
    """Return the images whose file exists, and a decision for every other image."""
    kept, decisions = [], []
    for image in images:
        if image.path.is_file():
            kept.append(image)
        else:
            decisions.append(Decision(image.name, "image file that is not there", "image left out", image.path.name))
    return kept, decisions


def files_under(folder: Path) -> list[str]:
    """Return the sorted relative paths of all files in `folder` and its sub-folders.

    Names that begin with a dot (.DS_Store, ._photo.jpg) are skipped. Links to folders are followed last, and no folder
    is read twice. A missing folder gives an empty list; UserError if a folder cannot be read.
    """
    files, waiting, entered = [], [""], set()
    if not Path(folder).is_dir():
        return []
    while waiting:
        below = waiting.pop()
        here = Path(folder) / below
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                seen = sorted((each for each in entries if not each.name.startswith(".")), key=lambda each: each.name)
        except OSError as error:
            raise UserError(f"{here}: cannot be read ({error.strerror or error}); fix the permissions") from error
        for entry in seen:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir():
                waiting.insert(0 if entry.is_symlink() else len(waiting), path)
            else:
                files.append(path)
    return sorted(files)


def is_image(name: str) -> bool:
    """Return whether a file name has the suffix of an image format that is read."""
    return name.lower().endswith(SUFFIXES)


def is_unread_image(name: str) -> bool:
    """Return whether a file name has the suffix of an image format that is not read."""
    return name.lower().endswith(UNREAD_SUFFIXES)


def unlisted_images(folder: Path, listed: Container[str]) -> list[Decision]:
    """Return a decision for every image file under `folder` whose relative path is not in `listed`."""
    return [
        Decision(name, "image file that is not listed", "image left out")
        for name in files_under(folder)
        if name not in listed and (is_image(name) or is_unread_image(name))
    ]


def unused_captions(files: Iterable[str], used: Container[str]) -> list[Decision]:
    """Return a decision for every text file that belongs to no image; files such as README.txt are ignored."""
    return [
        Decision(name, "caption file without an image", "captions left out")
        for name in files
        if name not in used
        and name.lower().endswith(".txt")
        and not os.path.basename(name).lower().startswith(_README_PREFIXES)
    ]


def unexpected_counts(images: list[Listed], expected: dict[str, int], whose: str) -> list[Decision]:
    """Return a decision for every split whose number of images differs from the published number."""
    decisions = []
    for split, count in expected.items():
        found = sum(image.split == split for image in images)
        if found != count:
            detail = f"{found:,} {split} images, {whose} has {count:,}"
            decisions.append(Decision(None, "another number of images than published", "kept as it is", detail))
    return decisions


def read_lines(path: Path, hint: str) -> list[str]:
    """Return the lines of a UTF-8 text file; UserError that ends with `hint` if the file cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {hint}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error}); {hint}") from error


def caption_lines(path: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Return the captions of a text file, one per line, and irregularities as (found, decision, detail)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return [], [("caption file that cannot be read", "read as empty", f"{path.name}: {error.strerror}")]
    try:
        text, wrong = data.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="replace")
        wrong = [("caption file that is not UTF-8", "bad bytes replaced by U+FFFD", path.name)]
    return [line.strip() for line in text.split("\n") if line.strip()], wrong


def size_and_sha256(path: Path) -> dict[str, object]:
    """Return size and SHA-256 of a metadata file."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
