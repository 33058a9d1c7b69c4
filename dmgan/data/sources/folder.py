"""Source `folder`: anyone's images with a file of captions (JSON lines), or one text file beside each image."""

import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

from dmgan.data.sources.listing import (
    Decision,
    Listed,
    Listing,
    caption_lines,
    described,
    files_under,
    is_image,
    is_unread_image,
    read_lines,
    unused_captions,
    usable_captions,
    without_duplicates,
    without_missing_files,
)
from dmgan.data.sources.photographs import SUFFIXES
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
    rows = []
    for number, line in enumerate(read_lines(path, f"give a file with lines such as {_EXAMPLE}"), 1):
        if line.strip():
            rows.append(_row(line, f"{path}: line {number}"))
    named = {row["image"] for row in rows}
    decisions = [
        Decision(name, "image without a caption", "image left out")
        for name in files_under(root)
        if name not in named and (is_image(name) or is_unread_image(name))
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
    files = files_under(root)
    text_of, decisions = _text_files(files)
    rows, hasher, size = [], hashlib.sha256(), 0
    for name in filter(is_image, files):
        captions, wrong = caption_lines(root / text_of[name]) if name in text_of else ([], [])
        decisions += [Decision(name, found, decision, detail) for found, decision, detail in wrong]
        rows.append({"image": name, "captions": captions})
        content = "\n".join(captions).encode()
        hasher.update(f"{name} {len(content)}\n".encode() + content)
        size += len(content)
    if not rows:
        kinds = ", ".join(each[1:] for each in SUFFIXES)
        raise UserError(
            f"{root}: holds neither {CAPTIONS} nor an image of a kind that is read ({kinds}); "
            "give the folder of the images"
        )
    return rows, decisions, {"*.txt": {"bytes": size, "sha256": hasher.hexdigest()}}


def _text_files(files: list[str]) -> tuple[dict[str, str], list[Decision]]:
    """Image file -> its caption file, and what was decided of what lies beside them."""
    named_alike, text_of, decisions, used = defaultdict(list), {}, [], set()
    for name in files:
        named_alike[os.path.splitext(name)[0]].append(name)
    for names in named_alike.values():
        text = next((name for name in names if name.lower().endswith(".txt")), None)
        images = [name for name in names if is_image(name)]
        unread = [name for name in names if is_unread_image(name)]
        if text is None:
            decisions += [Decision(name, "image without a caption", "image left out") for name in unread]
            continue
        if not images:  # whatever else lies beside the captions may be what they describe
            unread = [name for name in names if not name.lower().endswith(".txt")]
        text_of |= dict.fromkeys(images, text)
        if images or unread:
            used.add(text)
        if len(images) > 1:
            detail = ", ".join(images)
            decisions.append(Decision(text, "caption file shared by images", "read for each of them", detail))
        hint = "left out; convert it to JPEG or PNG"
        decisions += [Decision(name, "file of an unread kind beside a caption", hint, text) for name in unread]
    return text_of, decisions + unused_captions(files, used)


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
