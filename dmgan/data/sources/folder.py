"""Source `folder`: images with a captions file (JSON lines), or with one text file beside every image."""

import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

from dmgan.data.sources.listing import (
    SUFFIXES,
    Decision,
    Listed,
    Listing,
    caption_lines,
    files_under,
    is_image,
    is_unread_image,
    read_lines,
    size_and_sha256,
    unused_captions,
    usable_captions,
    without_duplicates,
    without_missing_files,
)
from dmgan.data.sources.table import CAPTIONS_PER_IMAGE_HELP, CAPTIONS_PICKLE, Flag, Source
from dmgan.errors import UserError

CAPTIONS = "captions.jsonl"
TEST_SHARE = 0.1
_SPLITS = {"train": "train", "test": "test", "val": "test"}
_KEYS = ("image", "captions", "split", "class")
_EXAMPLE = '{"image": "photo.jpg", "captions": ["a red bird"], "split": "train", "class": "cardinal"}'


def list_folder(
    root: Path, captions: Path | None = None, captions_per_image: int = 0, test_share: float = TEST_SHARE
) -> Listing:
    """Return a folder's listing: the lines of `captions` (default root/captions.jsonl), else images with text files.

    The split is given in every line, or is the first folder of every path (train, test or val). Otherwise the
    round(test_share * N) images whose names have the smallest SHA-256, at least one image, are the test split. The
    class is given in every line or in no line; without classes an image's class id is its number.
    captions_per_image: 0 keeps all captions.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: is not a folder; give the folder that holds the images")
    if not 0 < test_share < 1:
        raise UserError(f"--test-share {test_share}: must be between 0 and 1, such as 0.1")
    if captions is None and (root / CAPTIONS).is_file():
        captions = root / CAPTIONS
    rows, decisions, inputs = _rows_of_json_lines(root, Path(captions)) if captions else _rows_of_text_files(root)
    for key in ("split", "class"):
        given = [row["image"] for row in rows if key in row]
        if given and len(given) != len(rows):
            without = next(row["image"] for row in rows if key not in row)
            raise UserError(
                f"{root}: {without} has no {key}, but {given[0]} has; give a {key} for every image or for no image"
            )
    given = _take_given_split(rows)
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


def _rows_of_json_lines(root: Path, path: Path) -> tuple[list[dict], list[Decision], dict]:
    """Return the rows of a file of JSON lines, and a decision for every image file that the file does not name."""
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
    return rows, decisions, {path.name: size_and_sha256(path)}


def _row(line: str, where: str) -> dict:
    """Return one line as a checked row; UserError that begins with `where` if the line is invalid."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where} is not JSON ({error}); write lines such as {_EXAMPLE}") from error
    if not isinstance(row, dict) or not {"image", "captions"} <= set(row) <= set(_KEYS):
        raise UserError(f"{where} must have image and captions, and may have split and class; example: {_EXAMPLE}")
    texts = row["captions"]
    if not isinstance(row["image"], str) or not isinstance(texts, list) or any(type(each) is not str for each in texts):
        raise UserError(f"{where}: image must be text and captions a list of texts; example: {_EXAMPLE}")
    if "split" in row:
        if row["split"] not in _SPLITS:
            raise UserError(f"{where}: split {row['split']!r} must be train or test")
        row["split"] = _SPLITS[row["split"]]
    return row


def _rows_of_text_files(root: Path) -> tuple[list[dict], list[Decision], dict]:
    """Return a row for every image file, with the lines of the text file of the same name as captions."""
    files = files_under(root)
    text_of, decisions = _caption_files(files)
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
            f"{root}: holds neither {CAPTIONS} nor a readable image ({kinds}); give the folder of the images"
        )
    return rows, decisions, {"*.txt": {"bytes": size, "sha256": hasher.hexdigest()}}


def _caption_files(files: list[str]) -> tuple[dict[str, str], list[Decision]]:
    """Return {image file: caption file}, and decisions on shared, unused and unreadable files."""
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
        if not images:  # a file of another kind with the same name may be the captioned image
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


def _take_given_split(rows: list[dict]) -> bool:
    """Return whether every image has a split; a split that is the first folder of every path is added to the rows."""
    if any("split" in row for row in rows):
        return True
    tops = [PurePosixPath(row["image"]).parts[:1] for row in rows]
    if not all(top and top[0] in _SPLITS for top in tops):
        return False
    for row, top in zip(rows, tops, strict=True):
        row["split"] = _SPLITS[top[0]]
    return bool(rows)


def _split_by_name(rows: list[dict], test_share: float) -> dict[str, str]:
    """Choose the split by the SHA-256 of the image's name; return {name: split}."""
    names = sorted({row["image"] for row in rows}, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = max(1, round(test_share * len(names)))
    return {name: "test" if position < count else "train" for position, name in enumerate(names)}


def _list(options: dict, _: int = 0) -> Listing:
    return list_folder(options["root"], options["captions"], options["captions_per_image"], options["test_share"])


def _image_counts(options: dict) -> tuple[int, int]:
    splits = [image.split for image in _list(options).images]
    return splits.count("train"), splits.count("test")


SOURCE = Source(
    name="folder",
    flags={
        "root": Flag(Path, "the folder that holds the images", bounds={"minLength": 1}, required=True, is_input=True),
        "captions": Flag(
            Path,
            f"JSON lines (default {CAPTIONS} in --root, else one .txt beside each image)",
            bounds={"minLength": 1},
            is_input=True,
        ),
        "captions_pickle": CAPTIONS_PICKLE,
        "captions_per_image": Flag(int, CAPTIONS_PER_IMAGE_HELP, 0, {"minimum": 0}),
        "test_share": Flag(
            float,
            "share of test images if no split is given",
            TEST_SHARE,
            {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
        ),
    },
    collect=_list,
    input_files=lambda options: [options["captions"] or options["root"] / CAPTIONS],
    image_counts=_image_counts,
    aspect=1.37,
    captions_per_image=5,
    words_per_caption=11,
)
