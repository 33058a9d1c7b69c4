"""Image lists of a dataset source, with the data-cleaning decisions."""

import hashlib
import os
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from dmgan.data.letters import RELEASED
from dmgan.errors import UserError
from dmgan.storage.files import file_sha256
from dmgan.storage.reading import decode_text, read_regular_file, read_text

SUFFIXES = (  # of the formats that dmgan/data/sources/photographs.py reads
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
)  # fmt: skip
# Image formats that are not read; a decision records every file of these formats.
UNREAD_SUFFIXES = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".tga", ".svg", ".eps", ".dng", ".cr2", ".nef", ".arw",
)  # fmt: skip
_TEXT_SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".token")  # of files of captions
# First letters of text files that hold no captions.
_README_PREFIXES = ("readme", "license", "licence", "copying", "copyright")
_CAPTION_FILE_BYTES = 16 << 20  # of the text file of one image
# Kinds of irregularities, and the decision on most of them.
NO_CAPTION, NO_FILE, NO_SPLIT = "image without a caption", "image file that is not there", "image of no split"
UNLISTED, UNUSED_TEXT, FEWER = (
    "image file that is not listed", "caption file without an image", "fewer captions than asked for"
)  # fmt: skip
NOT_IN_LIST, TWICE = "image of the split that images.txt does not list", "name that occurs more than once"
NO_LABEL, NO_BOX = "image without a class label", "image without a bounding box"
LEFT_OUT = "image left out"
_OF_LISTS = frozenset(
    {NO_CAPTION, NO_FILE, NO_SPLIT, NO_LABEL, NO_BOX, UNLISTED, UNUSED_TEXT, FEWER, NOT_IN_LIST, TWICE}
)


class Decision(NamedTuple):
    """An irregularity of the data, and the decision on it."""

    image: str | None  # name of the image, or of the first of `count` images; None: the whole data set
    found: str  # kind of irregularity, such as "grey image"
    decision: str  # decision on every irregularity of this kind
    detail: str = ""  # further information
    count: int = 1  # images
    accepted: bool = False  # true: a known property of the data set, at which --strict does not stop


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
    has_classes: bool = True  # false: an image's class id is its number
    test_share: float | None = None  # share of test images if the split is drawn by name; None: the split is given
    known: frozenset[str] = frozenset()  # irregularities of photographs that the published archive has
    letters: str = RELEASED  # rule for letters that are not ASCII, of dmgan/data/letters.py


def readable_captions(name: str, captions: Iterable[object]) -> tuple[list[str], list[Decision]]:
    """Return the captions that are text, and decisions on all others.

    Half a surrogate pair, such as a cut emoji, is replaced by U+FFFD; a caption with a NUL character is left out.
    """
    kept, decisions = [], []
    for caption in captions:
        if not isinstance(caption, str):
            decisions.append(Decision(name, "caption that is no text", "caption left out", repr(caption)[:80]))
        elif "\0" in caption:
            decisions.append(Decision(name, "caption with a NUL character", "caption left out", repr(caption)[:80]))
        elif is_unicode(caption):
            kept.append(caption)
        else:
            kept.append("".join(each if is_unicode(each) else "\ufffd" for each in caption))
            decisions.append(Decision(name, "half a surrogate pair in a caption", "replaced by U+FFFD", kept[-1][:80]))
    return kept, decisions


def is_unicode(text: str) -> bool:
    """Return whether text can be written as UTF-8: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(name: str) -> str:
    """Return a file name in which bytes that are no UTF-8 are escapes, such as caf\\udce9.jpg."""
    return name.encode("utf-8", "backslashreplace").decode()


def usable_captions(
    name: str, captions: Iterable[str], limit: int, letters: str = RELEASED
) -> tuple[tuple[str, ...], list[Decision]]:
    """Return the first `limit` captions that hold a word, as the released code does, and decisions; limit 0: all."""
    from dmgan.data.vocabulary import caption_to_words  # here: numpy must not be loaded with the table of sources

    kept, decisions = [], []
    for caption in captions:
        if limit and len(kept) == limit:
            break
        if caption_to_words(caption, letters):
            kept.append(caption)
        else:
            decisions.append(Decision(name, "caption without a word", "caption left out", repr(caption)))
    if not kept:
        decisions.append(Decision(name, NO_CAPTION, LEFT_OUT))
    elif len(kept) < limit:
        detail = f"{len(kept)}, not {limit}"
        decisions.append(Decision(name, FEWER, "kept with those that there are", detail))
    return tuple(kept), decisions


def without_duplicates(images: Iterable[Listed]) -> tuple[list[Listed], list[Decision]]:
    """Return the first image of every name, and a decision for every other image."""
    kept: dict[str, Listed] = {}
    decisions = []
    for image in images:
        if image.name in kept:
            decisions.append(Decision(image.name, TWICE, "first one kept", image.path.name))
        else:
            kept[image.name] = image
    return list(kept.values()), decisions


def without_missing_files(images: Iterable[Listed]) -> tuple[list[Listed], list[Decision]]:
    """Return the images whose file exists, and a decision for every other image."""
    kept, decisions = [], []
    for image in images:
        if os.path.isfile(image.path):  # false for a name that no file can have
            kept.append(image)
        else:
            decisions.append(Decision(image.name, NO_FILE, LEFT_OUT, image.path.name))
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
            if _is_folder(entry):
                waiting.insert(0 if entry.is_symlink() else len(waiting), path)
            else:
                files.append(path)
    return sorted(files)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def fingerprint(folders: Iterable[Path], every_file: bool = False) -> str:
    """Return a hash of the paths, sizes and times of all images and texts in folders; missing folders are empty.

    every_file: other files count too.
    """
    hasher = hashlib.sha256()
    for folder in folders:
        for name in files_under(folder):
            if every_file or is_image(name) or name.lower().endswith(_TEXT_SUFFIXES):
                try:
                    status = os.stat(Path(folder) / name)
                except OSError:  # a broken link
                    continue
                hasher.update(os.fsencode(f"{name}\0{status.st_size} {status.st_mtime_ns}\n"))
        hasher.update(b"\0")
    return hasher.hexdigest()


def is_image(name: str) -> bool:
    """Return whether a file name has the suffix of an image format that is read."""
    return name.lower().endswith(SUFFIXES)


def is_unread_image(name: str) -> bool:
    """Return whether a file name has the suffix of an image format that is not read."""
    return name.lower().endswith(UNREAD_SUFFIXES)


def unlisted_images(folder: Path, listed: Container[str]) -> list[Decision]:
    """Return a decision for every image file under `folder` whose relative path is not in `listed`."""
    return [
        Decision(printable(name), UNLISTED, LEFT_OUT)
        for name in files_under(folder)
        if name not in listed and (is_image(name) or is_unread_image(name))
    ]


def unused_captions(files: Iterable[str], used: Container[str]) -> list[Decision]:
    """Return a decision for every text file that belongs to no image; files such as README.txt are ignored."""
    return [
        Decision(printable(name), UNUSED_TEXT, "captions left out")
        for name in files
        if name not in used
        and name.lower().endswith(".txt")
        and not os.path.basename(name).lower().startswith(_README_PREFIXES)
    ]


def merge_partial_lists(decisions: Iterable[Decision]) -> list[Decision]:
    """Return decisions in which more than ten of one kind about lists and files are one, with the first as example.

    A part of a data set with the lists of the whole set would otherwise give a decision for every absent image.
    """
    kinds: dict[tuple[str, str, bool], list[Decision]] = {}
    for each in decisions:
        kinds.setdefault((each.found, each.decision, each.accepted), []).append(each)
    merged = []
    for (found, decision, accepted), group in kinds.items():
        if found in _OF_LISTS and len(group) > 10:
            detail = f"{len(group):,} images, such as {group[0].image}"
            group = [Decision(group[0].image, found, decision, detail, len(group), accepted)]
        merged += group
    return merged


def unexpected_counts(images: list[Listed], expected: Mapping[str, int], whose: str) -> list[Decision]:
    """Return a decision for every split whose number of images differs from the published number."""
    decisions = []
    for split, count in expected.items():
        found = sum(image.split == split for image in images)
        if found != count:
            detail = f"{found:,} {split} images, {whose} has {count:,}"
            found = "another number of images than published"
            decisions.append(Decision(None, found, "kept as it is", detail, accepted=True))
    return decisions


def draw_split(names: Iterable[str], test_share: float) -> dict[str, str]:
    """Choose the split by the SHA-256 of the images' names: {name: split}, with at least one test image."""
    ordered = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    count = max(1, round(test_share * len(ordered)))
    return {name: "test" if position < count else "train" for position, name in enumerate(ordered)}


def read_lines(path: Path, hint: str) -> list[str]:
    """Return the lines of a text file; UserError that ends with `hint` if the file cannot be read.

    Lines end with \\n or \\r\\n. Other separators of Unicode, such as U+2028, may be part of a caption.
    """
    lines = read_text(path, hint).split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def caption_lines(path: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Return the captions of a text file, one per line, and irregularities as (found, decision, detail)."""
    try:
        data = read_regular_file(path, _CAPTION_FILE_BYTES)
    except OSError as error:
        return [], [("caption file that cannot be read", "read as empty", f"{path.name}: {error.strerror}")]
    try:
        text, wrong = decode_text(data), []
    except UnicodeDecodeError:
        text = decode_text(data, errors="replace")
        wrong = [("caption file that is not UTF-8", "bad bytes replaced by U+FFFD", path.name)]
    if "\0" in text:  # such as UTF-16 without a byte order mark
        return [], [("caption file with NUL characters", "read as empty; save it as UTF-8", path.name)]
    return [line.strip() for line in text.split("\n") if line.strip()], wrong


def size_and_sha256(path: Path) -> dict[str, object]:
    """Return size and SHA-256 of a metadata file."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
