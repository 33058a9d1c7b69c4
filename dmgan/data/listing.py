"""What a source of photographs lists before any pixel is read, and what was decided where it is not as it should be."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dmgan.captions import caption_to_words
from dmgan.errors import UserError
from dmgan.files import file_sha256


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


def unexpected_counts(images: list[Listed], expected: dict[str, int], whose: str) -> list[Decision]:
    """A decision per split that holds another number of images than the whole published set."""
    decisions = []
    for split, count in expected.items():
        found = sum(image.split == split for image in images)
        if found != count:
            detail = f"{found:,} {split} images, {whose} has {count:,}"
            decisions.append(Decision(None, "another number of images than published", "kept as it is", detail))
    return decisions


def read_lines(path: Path, mend: str) -> list[str]:
    """The lines of a UTF-8 text file without their ends; UserError that ends with `mend` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {mend}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error}); {mend}") from error


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
