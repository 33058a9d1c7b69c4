"""Source `folder`: anyone's images with a file of captions (JSON lines), or one text file beside each image."""

import hashlib
import json
from pathlib import Path, PurePosixPath

from dmgan.data.listing import (
    Decision,
    Listed,
    Listing,
    caption_lines,
    described,
    read_lines,
    usable_captions,
    without_duplicates,
    without_missing_files,
)
from dmgan.data.photographs import SUFFIXES
from dmgan.errors import UserError

CAPTIONS = "captions.jsonl"
TEST_SHARE = 0.1
_SPLITS = {"train": "train", "test": "test", "val": "test"}
_KEYS = ("image", "captions", "split", "class")
_EXAMPLE = '{"image": "photo.jpg", "captions": ["a red bird"], "split": "train", "class": "cardinal"}'


def list_folder(
    root: Path, captions: Path | None = None, captions_per_image: int = 0, test_share: float = TEST_SHARE
) -> Listing:
    """What a folder lists: by `captions` (default root/captions.jsonl), else every image file with its text file.

    The split stands in every line, or is the first folder of every path (train, test or val); where it is given for
    none, the round(test_share * N) images, at least one, whose names have the smallest SHA-256 are the test split.
    The class stands in every line or in none; without it an image's class id is its number. captions_per_image 0:
    all of them.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: is no folder; give the one that holds the images")
    if not 0 < test_share < 1:
        raise UserError(f"--test-share {test_share}: must be between 0 and 1, such as 0.1")
    if captions is None and (root / CAPTIONS).is_file():
        captions = root / CAPTIONS
    rows, decisions, inputs = _rows_of_lines(root, Path(captions)) if captions else _rows_of_text_files(root)
    for key in ("split", "class"):
        given = [row["image"] for row in rows if key in row]
        if given and len(given) != len(rows):
            without = next(row["image"] for row in rows if key not in row)
            raise UserError(f"{root}: {without} has no {key}, {given[0]} has one; give it for every image or for none")
    given = _split_is_given(rows)
    by_name = {} if given else _split_by_name(rows, test_share)
    classes = sorted({str(row["class"]) for row in rows if "class" in row})
    class_ids = {name: number for number, name in enumerate(classes)}
    listed = []
    for number, row in enumerate(rows):
        name = row["image"]
        kept, found = usable_captions(name, row["captions"], captions_per_image)
        decisions += found
        if kept:
            class_id = class_ids[str(row["class"])] if classes else number
            listed.append(Listed(name, root / name, kept, class_id, row["split"] if given else by_name[name]))
    listed, twice = without_duplicates(listed)
    listed, missing = without_missing_files(listed)
    source = {"name": "folder", "captions_per_image": captions_per_image, "test_share": test_share}
    source |= {"split": "given" if given else "by name", "classes": classes}
    return Listing(source, listed, decisions + twice + missing, inputs)


def _rows_of_lines(root: Path, path: Path) -> tuple[list[dict], list[Decision], dict]:
    """The rows of a file of JSON lines; image files that it does not name are decided on."""
    rows, decisions = [], []
    for number, line in enumerate(read_lines(path, f"give a file with lines such as {_EXAMPLE}"), 1):
        if line.strip():
            rows.append(_row(line, f"{path}: line {number}"))
    named = {row["image"] for row in rows}
    decisions = [
        Decision(name, "image without a caption", "image left out") for name in _image_files(root) if name not in named
    ]
    return rows, decisions, {path.name: described(path)}


def _row(line: str, where: str) -> dict:
    """One checked line."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); write such as {_EXAMPLE}") from error
    if not isinstance(row, dict) or not {"image", "captions"} <= set(row) <= set(_KEYS):
        raise UserError(f"{where} must have image and captions, may have split and class; write such as {_EXAMPLE}")
    texts = row["captions"]
    if not isinstance(row["image"], str) or not isinstance(texts, list) or any(type(each) is not str for each in texts):
        raise UserError(f"{where}: image must be text and captions a list of texts; write such as {_EXAMPLE}")
    if "split" in row:
        if row["split"] not in _SPLITS:
            raise UserError(f"{where}: split {row['split']!r} must be train or test")
        row["split"] = _SPLITS[row["split"]]
    return row


def _rows_of_text_files(root: Path) -> tuple[list[dict], list[Decision], dict]:
    """A row for each image file, its captions from the text file of the same name, one a line."""
    rows, decisions, hasher, size = [], [], hashlib.sha256(), 0
    names = _image_files(root)
    if not names:
        raise UserError(f"{root}: holds neither {CAPTIONS} nor an image; give the folder of the images")
    for name in names:
        path = (root / name).with_suffix(".txt")
        captions, wrong = caption_lines(path) if path.is_file() else ([], [])
        decisions += [Decision(name, found, decision, detail) for found, decision, detail in wrong]
        rows.append({"image": name, "captions": captions})
        content = path.read_bytes() if path.is_file() else b""
        hasher.update(f"{name} {len(content)}\n".encode() + content)
        size += len(content)
    return rows, decisions, {"*.txt": {"bytes": size, "sha256": hasher.hexdigest()}}


def _image_files(root: Path) -> list[str]:
    """Paths of the image files by their suffix, relative to the folder, in order."""
    paths = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path.relative_to(root).as_posix() for path in paths)


def _split_is_given(rows: list[dict]) -> bool:
    """Whether the rows say their split; it is put into them where the first folder of every path is one."""
    if any("split" in row for row in rows):
        return True
    tops = [PurePosixPath(row["image"]).parts[:1] for row in rows]
    if not all(top and top[0] in _SPLITS for top in tops):
        return False
    for row, top in zip(rows, tops, strict=True):
        row["split"] = _SPLITS[top[0]]
    return bool(rows)


def _split_by_name(rows: list[dict], test_share: float) -> dict[str, str]:
    """The split of each name where none is given."""
    names = sorted({row["image"] for row in rows}, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = max(1, round(test_share * len(names)))
    return {name: "test" if position < count else "train" for position, name in enumerate(names)}
