"""Files that list captioned images: JSON lines, CSV, Flickr's token file, Karpathy's JSON.

Every reader returns rows whose image names, captions and splits are still as written; folder.py resolves them.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dmgan.data.sources.listing import Decision, is_unicode, read_lines
from dmgan.errors import UserError
from dmgan.storage.reading import parse_json, read_json, read_text

EXAMPLE = '{"image": "photo.jpg", "captions": ["a red bird"], "split": "train", "class": "cardinal"}'
CSV_EXAMPLE = "a CSV file whose first line names the columns, such as image,caption"
_SPLITS = {
    "train": "train", "training": "train", "restval": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_IMAGE_KEYS = ("image", "file_name", "filename", "image_name")
_CAPTION_KEYS = ("captions", "caption", "text", "comment", "raw")
_OWN_KEYS = {"image", "captions", "split", "class", "box"}
_TOKEN_LINE = re.compile(r"(.+)#\d+\t(.*)")
Box = tuple[int, int, int, int]


@dataclass
class Row:
    """An image with some of its captions, as a line of a file states them."""

    image: str
    captions: list[object]
    split: str | None = None  # train, val or test
    class_name: str | None = None
    box: Box | None = None


@dataclass
class CaptionFile:
    """Content of a file that lists captioned images."""

    kind: str
    rows: list[Row]
    decisions: list[Decision] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # names of columns that are not read


def split_name(text: str) -> str | None:
    """Return train, val or test for a name of a split or of its folder; None for another name."""
    return _SPLITS.get(text.strip().lower())


def read_caption_file(path: Path) -> CaptionFile:
    """Read a file that lists captioned images; UserError if its content is of no known kind."""
    if path.suffix.lower() == ".jsonl":
        return _read_json_lines(path)
    if path.suffix.lower() == ".json":
        return _read_karpathy(path)
    lines = read_lines(path, f"give JSON lines such as {EXAMPLE}, or {CSV_EXAMPLE}")
    first = next((line for line in lines if line.strip()), "")
    for recognises, read in _BY_FIRST_LINE:
        if recognises(first):
            return read(path)
    raise UserError(
        f"{path}: its first line, {first[:60]!r}, is of no known kind; give JSON lines such as {EXAMPLE}, "
        f"{CSV_EXAMPLE}, Flickr's token file or Karpathy's JSON"
    )


# JSON lines: the project's own, and metadata.jsonl of Hugging Face's image folders.


def _read_json_lines(path: Path) -> CaptionFile:
    found, unread = CaptionFile("JSON lines", []), {}
    for number, line in enumerate(read_lines(path, f"give a file with lines such as {EXAMPLE}"), 1):
        if line.strip():
            row, others = _row_of_json(line, f"{path}: line {number}")
            found.rows.append(row)
            unread |= dict.fromkeys(others)
    found.unread = list(unread)
    return found


def _row_of_json(line: str, where: str) -> tuple[Row, list[str]]:
    """Return a line as a row, and the keys that are not read; UserError that begins with `where` if it is invalid."""
    content = parse_json(line, where, f"write lines such as {EXAMPLE}")
    if not isinstance(content, dict):
        raise UserError(f"{where} is not a JSON object; write lines such as {EXAMPLE}")
    image_key = next((key for key in _IMAGE_KEYS if key in content), None)
    caption_key = next((key for key in _CAPTION_KEYS if key in content), None)
    others = sorted(set(content) - _OWN_KEYS - {image_key, caption_key})
    if image_key is None or caption_key is None or (others and image_key == "image"):
        raise UserError(
            f"{where} must have image and captions, and may have split, class and box"
            f"{f', but not {others[0]}' if others else ''}; example: {EXAMPLE}"
        )
    image, captions = content[image_key], content[caption_key]
    if not isinstance(image, str):
        raise UserError(f"{where}: image must be text, the path of an image; example: {EXAMPLE}")
    captions = captions if isinstance(captions, list) else [captions]
    row = Row(image, captions, class_name=_checked_class(content.get("class"), where))
    if content.get("split") is not None:
        row.split = _checked_split(content["split"], where)
    if content.get("box") is not None:
        row.box = _checked_box(content["box"], where)
    return row, others


def _checked_split(text: object, where: str) -> str:
    found = split_name(text) if isinstance(text, str) else None
    if found is None:
        raise UserError(f"{where}: split {text!r} must be train, val or test")
    return found


def _checked_class(value: object, where: str) -> str | None:
    """Return the name of a class; None without one."""
    if value is None or value == "":
        return None
    if type(value) not in (str, int) or not is_unicode(name := str(value)):
        raise UserError(f"{where}: class {ascii(value)[:60]} must be text or a whole number")
    return name


def _checked_box(box: object, where: str) -> Box:
    """Return left, top, width, height of the object, in whole pixels."""
    numbers = [each for each in box if type(each) in (int, float)] if isinstance(box, list) else []
    if len(numbers) != 4 or len(box) != 4 or not all(abs(each) < 1e6 for each in numbers):
        raise UserError(f"{where}: box {str(box)[:60]} must be [left, top, width, height] in pixels")
    left, top, width, height = map(int, numbers)
    return left, top, width, height


# CSV of Flickr8k and Flickr30k, or of one's own: a line of column names, then a caption a line.


def _columns(first: str) -> tuple[str, list[str]] | None:
    """Return delimiter and columns if a line names an image and a caption column."""
    for delimiter in (",", "|", "\t", ";"):
        names = [each.strip().strip('"').lower() for each in first.split(delimiter)]
        if set(names) & set(_IMAGE_KEYS) and set(names) & set(_CAPTION_KEYS):
            return delimiter, names
    return None


def _read_csv(path: Path) -> CaptionFile:
    lines = read_text(path, f"give {CSV_EXAMPLE}").split("\n")
    above = next(number for number, line in enumerate(lines) if line.strip()) + 1  # lines up to that of the names
    delimiter, names = _columns(lines[above - 1])
    image = next(names.index(key) for key in _IMAGE_KEYS if key in names)
    caption = next(names.index(key) for key in _CAPTION_KEYS if key in names)
    place = {key: names.index(key) for key in ("split", "class") if key in names}
    used = {image, caption, *place.values()}
    found = CaptionFile("CSV", [], unread=[name for number, name in enumerate(names) if number not in used])
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    body = io.StringIO("\n".join(lines[above:]), newline="")
    reader = csv.reader(body, delimiter=delimiter, quoting=quoting, strict=True)
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(names) and caption == len(names) - 1:  # a caption with commas, but without quotes
                cells[caption:] = [delimiter.join(cells[caption:])]
            if len(cells) != len(names):
                detail = f"{path.name}, line {reader.line_num + above}: {delimiter.join(cells)[:80]}"
                found.decisions.append(
                    Decision(cells[0].strip(), "line with another number of columns", "caption left out", detail)
                )
                continue
            row = Row(cells[image].strip(), [cells[caption].strip()])
            where = f"{path}: line {reader.line_num + above}"
            if "class" in place:
                row.class_name = _checked_class(cells[place["class"]].strip(), where)
            if "split" in place and cells[place["split"]].strip():
                row.split = _checked_split(cells[place["split"]], where)
            found.rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num + above} is not CSV ({error}); give {CSV_EXAMPLE}") from error
    return found


# Flickr's token file: "1000268201.jpg#0<TAB>A child in a pink dress ."


def _read_tokens(path: Path) -> CaptionFile:
    found = CaptionFile("Flickr's token file", [])
    for number, line in enumerate(read_lines(path, "give Flickr8k.token.txt, or results_20130124.token"), 1):
        if not line.strip():
            continue
        match = _TOKEN_LINE.fullmatch(line)
        if match is None:
            detail = f"{path.name}, line {number}"
            found.decisions.append(Decision(line[:80], "line that is no caption", "line left out", detail))
        else:
            found.rows.append(Row(match[1], [match[2]]))
    return found


_BY_FIRST_LINE: tuple[tuple[Callable[[str], object], Callable[[Path], CaptionFile]], ...] = (
    (lambda line: line.lstrip().startswith("{"), _read_json_lines),
    (_TOKEN_LINE.fullmatch, _read_tokens),
    (_columns, _read_csv),
)


def names_columns(line: str) -> bool:
    """Return whether the first line of a file names the columns of a CSV file of captions."""
    return _columns(line) is not None


# Karpathy's JSON of Flickr8k, Flickr30k and COCO, with its splits.


def _read_karpathy(path: Path) -> CaptionFile:
    hint = "give Karpathy's JSON, such as dataset_flickr8k.json; COCO's own annotations are read with --source coco"
    content = read_json(path, hint)
    if isinstance(content, dict) and "annotations" in content:
        raise UserError(f"{path}: is an annotation file of COCO; give COCO's folder with --source coco --root FOLDER")
    try:
        rows = list(_karpathy_rows(content["images"], str(path)))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not Karpathy's JSON ({type(error).__name__}: {error}); {hint}") from error
    return CaptionFile("Karpathy's JSON", rows)


def _karpathy_rows(images: Iterable[dict], where: str) -> Iterator[Row]:
    for each in images:
        folder = each.get("filepath") or ""
        name = f"{folder}/{each['filename']}" if folder else each["filename"]
        if not isinstance(name, str) or not isinstance(folder, str):
            raise TypeError(f"filename {name!r}")
        captions = [sentence["raw"] for sentence in each["sentences"]]
        yield Row(name, captions, split=_checked_split(each.get("split"), where))
