"""The captions file of a folder of images: JSON lines, one per image."""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dmgan.data.letters import RELEASED
from dmgan.data.sources.listing import is_unicode, read_lines
from dmgan.data.vocabulary import caption_to_words
from dmgan.errors import UserError
from dmgan.storage.reading import parse_json
from dmgan.storage.weights import shortened

CAPTIONS = "captions.jsonl"
_EXAMPLE = '{"image": "a.png", "caption": "a red bird"}'
_KEYS = ("image", "caption", "class", "real_image")


class CaptionLine(NamedTuple):
    """The caption that an image was made from."""

    text: str
    class_name: str | None  # captions of one class are never mismatched captions of each other
    real_image: str | None  # name of the test image whose caption it is


class Faults:
    """Faults of a folder, by kind, so that one error names them all."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, name: str) -> None:
        self._found.setdefault(kind, []).append(name)

    def refuse(self, source: Path) -> None:
        """Raise UserError naming the faults of every kind, if there are any."""
        if self._found:
            told = "; ".join(f"{kind}: {shortened(names)}" for kind, names in self._found.items())
            raise UserError(f"{source}: nothing was measured; {told}. Fix them, and run the same command again")


def read_captions_file(path: Path, faults: Faults, letters: str = RELEASED) -> dict[str, CaptionLine]:
    """Return the caption of every image that a file of JSON lines names; wrong lines are added to `faults`.

    A line has `image` (path within the folder) and `caption`, and may have `class` and `real_image`. letters: the rule
    of dmgan/data/letters.py by which captions are read as words.
    """
    found: dict[str, CaptionLine] = {}
    for number, line in enumerate(read_lines(Path(path), f"give a file with lines such as {_EXAMPLE}"), 1):
        if not line.strip():
            continue
        where = f"line {number} of {Path(path).name}"
        try:
            row = parse_json(line, where, "")
        except UserError:
            row = None
        if not _is_row(row):
            faults.add(f"lines that are not of the form {_EXAMPLE}, perhaps with class or real_image", where)
            continue
        name = str(PurePosixPath(row["image"]))
        if name in found:
            faults.add("images with several lines", name)
        elif not caption_to_words(row["caption"], letters):
            faults.add("captions without a word", where)
        found[name] = CaptionLine(row["caption"].strip(), row.get("class"), row.get("real_image"))
    without = [name for name, line in found.items() if line.class_name is None]
    if without and len(without) < len(found):
        for name in without:
            faults.add("images without a class, although others have one", name)
    return found


def _is_row(row: object) -> bool:
    return (
        isinstance(row, dict)
        and {"image", "caption"} <= set(row) <= set(_KEYS)
        and all(isinstance(value, str) and is_unicode(value) for value in row.values())
    )
