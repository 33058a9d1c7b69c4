"""Source `folder`: images with a file that lists their captions, or with one text file beside every image."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from dmgan.data.letters import FOLDED
from dmgan.data.sources.caption_files import names_columns, read_caption_file, split_name
from dmgan.data.sources.folder_lists import Image, images_of_lists
from dmgan.data.sources.listing import (
    LEFT_OUT,
    SUFFIXES,
    Decision,
    Listed,
    Listing,
    caption_lines,
    draw_split,
    files_under,
    is_image,
    is_unicode,
    is_unread_image,
    merge_partial_lists,
    printable,
    read_lines,
    readable_captions,
    unused_captions,
    usable_captions,
    without_missing_files,
)
from dmgan.data.sources.table import CAPTIONS_PER_IMAGE_HELP, CAPTIONS_PICKLE, Flag, Source, letters_flag
from dmgan.errors import UserError

CAPTIONS = "captions.jsonl"
TEST_SHARE = 0.1
LEAVE_OUT = "leave-out"
# Names of lists of captions in a folder, tried in this order; those of HF_LISTS may lie in its sub-folders instead.
_HF_LISTS = ("metadata.jsonl", "metadata.csv")
_LISTS = ("captions.csv", "captions.txt", "results.csv", "*.token", "*.token.txt", "dataset*.json")


def list_folder(
    root: Path,
    captions: Path | None = None,
    captions_per_image: int = 0,
    test_share: float = TEST_SHARE,
    validation: str | None = None,
    letters: str = FOLDED,
) -> Listing:
    """Return a folder's listing: the images of a list of captions, else the images with text files.

    The list is `captions`, or lies in the folder: captions.jsonl, metadata.jsonl (Hugging Face), captions.txt
    or captions.csv (Flickr), a token file or Karpathy's JSON. Lines that name one image are merged. The split is given
    for every image, or is the first folder of every path (train, test or val). Otherwise the round(test_share * N)
    usable images whose names have the smallest SHA-256, at least one image, are the test split. The class is given for
    every image or for no image; without classes an image's class id is its number. captions_per_image: 0 keeps all.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: is not a folder; give the folder that holds the images")
    if not 0 < test_share < 1:
        raise UserError(f"--test-share {test_share}: must be between 0 and 1, such as 0.1")
    files = files_under(root)
    if lists := [Path(captions)] if captions else _find_lists(root, files):
        images, decisions, inputs = images_of_lists(root, files, lists)
    else:
        images, decisions, inputs = _images_of_text_files(root, files)
    for key in ("split", "class_name"):
        _require_all_or_none(root, images, key)
    given = _take_given_split(images)
    images, left_out = _settle_validation(images, validation)
    classes = sorted({each.class_name for each in images if each.class_name is not None})
    class_ids = {name: number for number, name in enumerate(classes)}
    listed = []
    for number, image in enumerate(images):
        texts, unreadable = readable_captions(image.name, image.captions)
        kept, found = usable_captions(image.name, texts, captions_per_image, letters)
        decisions += unreadable + found
        if kept:
            class_id = class_ids[image.class_name] if classes else number
            listed.append(Listed(image.name, root / image.name, kept, class_id, image.split or "train", image.box))
    listed, missing = without_missing_files(listed)
    if not given:
        splits = draw_split([each.name for each in listed], test_share)
        listed = [each._replace(split=splits[each.name]) for each in listed]
    source = {"name": "folder", "captions_per_image": captions_per_image, "test_share": test_share}
    source |= {"split": "given" if given else "by name", "classes": classes, "letters": letters}
    return Listing(
        source,
        listed,
        merge_partial_lists([*decisions, *left_out, *missing]),
        inputs,
        has_classes=bool(classes),
        test_share=None if given else test_share,
        letters=letters,
    )


def _find_lists(root: Path, files: list[str]) -> list[Path]:
    """Return the lists of captions in a folder; empty if there is none; UserError if there are several of a kind."""
    if CAPTIONS in files:
        return [root / CAPTIONS]
    for name in _HF_LISTS:
        found = [root / each for each in files if each.count("/") <= 1 and each.rpartition("/")[2] == name]
        if found:
            return found
    top = [PurePosixPath(each) for each in files if "/" not in each]
    images = {each.stem for each in top if is_image(each.name)}
    found = [
        root / each
        for pattern in _LISTS
        for each in top
        if each.match(pattern) and each.stem not in images and _is_list(root / each)
    ]
    if len(found) > 1:
        raise UserError(f"{root}: holds {' and '.join(each.name for each in found)}; choose with --captions")
    return found


def _is_list(path: Path) -> bool:
    """Return whether a file is a list of captions, by its first line if its name does not tell."""
    if path.name != "captions.txt":
        return True
    try:
        lines = read_lines(path, "")
    except UserError:
        return False
    return bool(lines) and names_columns(lines[0])


def _require_all_or_none(root: Path, images: list[Image], key: str) -> None:
    """Raise UserError if some images have a split or a class and others do not."""
    having = [each.name for each in images if getattr(each, key) is not None]
    if having and len(having) != len(images):
        without = next(each.name for each in images if getattr(each, key) is None)
        what = key.partition("_")[0]
        raise UserError(
            f"{root}: {without} has no {what}, but {having[0]} has; give a {what} for every image or for no image"
        )


def _take_given_split(images: list[Image]) -> bool:
    """Return whether every image has a split; a split that is the first folder of every path is given to the images."""
    if any(each.split for each in images):
        return True
    tops = [split_name(each.name.split("/")[0]) if "/" in each.name else None for each in images]
    if not tops or not all(tops):
        return False
    for image, split in zip(images, tops, strict=True):
        image.split = split
    return True


def _settle_validation(images: list[Image], choice: str | None) -> tuple[list[Image], list[Decision]]:
    """Return the images with validation images as asked for: left out, for training or for the test.

    By default they are the test split where there is no other; beside a test split they are left out.
    """
    validation = [each for each in images if each.split == "val"]
    if not validation:
        return images, []
    decisions = []
    if choice is None:
        choice = LEAVE_OUT if any(each.split == "test" for each in images) else "test"
        if choice == LEAVE_OUT:
            detail = f"{len(validation):,} images, such as {validation[0].name}; --validation train or test uses them"
            kind = "validation image beside a test split"
            decisions.append(Decision(validation[0].name, kind, LEFT_OUT, detail, len(validation)))
    if choice == LEAVE_OUT:
        return [each for each in images if each.split != "val"], decisions
    for each in validation:
        each.split = choice
    return images, decisions


def _images_of_text_files(root: Path, files: Iterable[str]):
    """Return all images with the lines of the text file of the same name, the decisions, and one hash of the texts."""
    odd = [name for name in files if not is_unicode(name) and (is_image(name) or name.lower().endswith(".txt"))]
    files = [name for name in files if is_unicode(name)]
    text_of, decisions = _caption_files(files)
    decisions += [Decision(printable(name), "file name that is not UTF-8", "left out; rename the file") for name in odd]
    images, hasher, size = [], hashlib.sha256(), 0
    for name in filter(is_image, files):
        captions, wrong = caption_lines(root / text_of[name]) if name in text_of else ([], [])
        decisions += [Decision(name, found, decision, detail) for found, decision, detail in wrong]
        images.append(Image(name, list(captions)))
        content = "\n".join(captions).encode()
        hasher.update(f"{name} {len(content)}\n".encode() + content)
        size += len(content)
    if not images:
        kinds = ", ".join(each[1:] for each in SUFFIXES)
        raise UserError(
            f"{root}: holds neither {CAPTIONS} nor a readable image ({kinds}); give the folder of the images"
        )
    return images, decisions, {"*.txt": {"bytes": size, "sha256": hasher.hexdigest()}}


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


def _list(options: dict) -> Listing:
    return list_folder(**{name: value for name, value in options.items() if name != "captions_pickle"})


def _has_classes(options: dict) -> bool:
    """Return whether images have classes; true if the folder is empty or cannot be read yet."""
    root, captions = options["root"], options["captions"]
    try:
        files = files_under(root)
        lists = [captions] if captions else _find_lists(root, files)
        if not lists and not any(map(is_image, files)):
            return True
        return any(row.class_name is not None for path in lists for row in read_caption_file(path).rows)
    except UserError:
        return True


def _image_counts(options: dict) -> tuple[int, int]:
    splits = [image.split for image in _list(options).images]
    return splits.count("train"), splits.count("test")


SOURCE = Source(
    name="folder",
    flags={
        "root": Flag(Path, "the folder that holds the images", bounds={"minLength": 1}, required=True, is_input=True),
        "captions": Flag(
            Path,
            f"list of captions: JSON lines, CSV, Flickr's token file or Karpathy's JSON (default {CAPTIONS} or another "
            "list in --root, else one .txt beside each image)",
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
        "validation": Flag(
            str,
            "use of validation images (default: the test images if no others are given, else left out)",
            bounds={"enum": [LEAVE_OUT, "train", "test"]},
        ),
        "letters": letters_flag(FOLDED),
    },
    collect=lambda options, _: _list(options),
    input_files=lambda options: [options["captions"] or options["root"] / CAPTIONS],
    has_classes=_has_classes,
    input_folders=lambda options: [options["root"]],
    image_counts=_image_counts,
    aspect=1.37,
    captions_per_image=5,
    words_per_caption=11,
)
