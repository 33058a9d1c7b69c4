"""What a source of photographs lists before any pixel is read, and what was decided where it is not as it should be."""

import os
from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

from dmgan.data.sources.photographs import SUFFIXES, UNREAD_SUFFIXES
from dmgan.data.vocabulary import caption_to_words
from dmgan.errors import UserError
from dmgan.storage.files import file_sha256

_ABOUT = ("readme", "license", "licence", "copying", "copyright")  # how texts that are no captions begin their names


class Decision(NamedTuple):
    """One thing that is not as it should be, and what was done about it."""

    image: str | None  # None: it concerns the whole set
    found: str  # the kind of thing, such as "grey image"
    decision: str  # what is done wherever this kind is found
    detail: str = ""  # of this one


class Listed(NamedTuple):
    """One captioned photograph that a source names."""

    name: str  # unique within the source
    path: Path
    captions: tuple[str, ...]
    class_id: int
    split: str  # "train" or "test"
    box: tuple[int, int, int, int] | None = None  # left, top, width, height of what to crop to, in stored pixels


class Listing(NamedTuple):
    """A source's photographs in their order, and what they were read from."""

    source: dict[str, object]  # the source's name and options
    images: list[Listed]
    decisions: list[Decision]
    inputs: dict[str, dict[str, object]]  # metadata file -> bytes and SHA-256


def usable_captions(name: str, captions: Iterable[str], limit: int) -> tuple[tuple[str, ...], list[Decision]]:
    """The first `limit` captions that hold a word (released code's rule; 0: all), and what was decided."""
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
    """The first image of each name, and what was decided of the others."""
    kept: dict[str, Listed] = {}
    decisions = []
    for image in images:
        if image.name in kept:
            decisions.append(Decision(image.name, "name that occurs more than once", "first one kept", image.path.name))
        else:
            kept[image.name] = image
    return list(kept.values()), decisions


def without_missing_files(images: Iterable[Listed]) -> tuple[list[Listed], list[Decision]]:
    """The images whose file is there, and what was decided of the others."""
    kept, decisions = [], []
    for image in images:
        if image.path.is_file():
            kept.append(image)
        else:
            decisions.append(Decision(image.name, "image file that is not there", "image left out", image.path.name))
    return kept, decisions


def files_under(folder: Path) -> list[str]:
    """Paths of the files in a folder and in those below it, relative to it, in order; one os.scandir a folder.

    What begins with a dot is passed over (.DS_Store, ._photo.jpg). Links are followed, after all that is no link, and
    no folder is entered twice. A folder that is not there holds none; UserError where one cannot be read.
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
    """Whether a file is an image of a kind that is read, by its suffix."""
    return name.lower().endswith(SUFFIXES)


def is_unread_image(name: str) -> bool:
    """Whether a file is an image of a kind that is not read, by its suffix."""
    return name.lower().endswith(UNREAD_SUFFIXES)


def unlisted_images(folder: Path, listed: Container[str]) -> list[Decision]:
    """A decision for each image file under `folder` whose relative path is not listed."""
    return [
        Decision(name, "image file that is not listed", "image left out")
        for name in files_under(folder)
        if name not in listed and (is_image(name) or is_unread_image(name))
    ]


def unused_captions(files: Iterable[str], used: Container[str]) -> list[Decision]:
    """A decision for each caption file that no image has; texts that tell of their folder (README.txt) are none."""
    return [
        Decision(name, "caption file without an image", "captions left out")
        for name in files
        if name not in used and name.lower().endswith(".txt") and not os.path.basename(name).lower().startswith(_ABOUT)
    ]


def unexpected_counts(images: list[Listed], expected: dict[str, int], whose: str) -> list[Decision]:
    """A decision per split that holds another number of images than the whole published set."""
    decisions = []
    for split, count in expected.items():
        found = sum(image.split == split for image in images)
        if found != count:
            detail = f"{found:,} {split} images, {whose} has {count:,}"
            decisions.append(Decision(None, "another number of images than published", "kept as it is", detail))
    return decisions


def read_lines(path: Path, hint: str) -> list[str]:
    """The lines of a UTF-8 text file without their ends; UserError that ends with `hint` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {hint}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error}); {hint}") from error


def caption_lines(path: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Captions of a text file with one a line, and (found, decision, detail) where something is wrong with it."""
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


def described(path: Path) -> dict[str, object]:
    """Size and SHA-256 of a metadata file."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
