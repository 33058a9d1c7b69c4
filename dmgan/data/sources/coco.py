"""Source `coco`: photographs and captions of MS-COCO in the published layout of 2014 or 2017."""

import os
from collections import defaultdict
from pathlib import Path

from dmgan.data.letters import RELEASED
from dmgan.data.sources.listing import (
    LEFT_OUT,
    Decision,
    Listed,
    Listing,
    is_unicode,
    merge_partial_lists,
    printable,
    readable_captions,
    size_and_sha256,
    unexpected_counts,
    unlisted_images,
    usable_captions,
    without_duplicates,
    without_missing_files,
)
from dmgan.data.sources.table import CAPTIONS_PER_IMAGE_HELP, CAPTIONS_PICKLE, Flag, PublishedSet, Source, letters_flag
from dmgan.errors import UserError
from dmgan.storage.files import read_json

FOLDERS = {"train": "train", "test": "val"}  # the papers test on the validation images
PUBLISHED = {"2014": {"train": 82_783, "test": 40_504}, "2017": {"train": 118_287, "test": 5_000}}
CAPTIONS_PER_IMAGE = 5
_HINT = "give the folder that holds annotations/captions_train2014.json, train2014/, val2014/ (or 2017)"


def list_coco(
    root: Path,
    year: str | None = None,
    captions_per_image: int = CAPTIONS_PER_IMAGE,
    letters: str = RELEASED,
) -> Listing:
    """Return COCO's listing: train2014 (or 2017) is the training split, val2014 the test split.

    An image's name is its split's folder and its path within it. COCO has no classes: an image's class id is its
    number. Captions are in the order of the annotations. year: "2014" (as in the papers) or "2017"; None: the year
    whose annotations exist.
    """
    root = Path(root)
    year = year or _find_year(root)
    listed, decisions, inputs = [], [], {}
    for split, prefix in FOLDERS.items():
        folder, path = f"{prefix}{year}", root / "annotations" / f"captions_{prefix}{year}.json"
        images, captions = _read(path)
        inputs[f"annotations/{path.name}"] = size_and_sha256(path)
        named, files_of = set(), defaultdict(set)
        for image, file_name in images:
            files_of[image].add(file_name)
        for image, file_name in images:
            place = _place(file_name)
            if place is None:
                decisions.append(Decision(printable(file_name), f"image outside its split's folder {folder}", LEFT_OUT))
                continue
            named.add(place)
            name = f"{folder}/{place}"
            if len(files_of[image]) > 1:  # whose captions are of this image cannot be told
                decisions.append(Decision(name, "image whose id another image has", LEFT_OUT, f"id {image}"))
                continue
            readable, unreadable = readable_captions(name, captions.get(image, []))
            kept, found = usable_captions(name, readable, captions_per_image, letters)
            decisions += unreadable + found
            if kept:
                listed.append(Listed(name, root / folder / place, kept, len(listed), split))
        decisions += [
            Decision(str(image), "captions of an image that is not listed", "captions left out", path.name)
            for image in sorted(captions.keys() - {image for image, _ in images}, key=str)
        ]
        decisions += unlisted_images(root / folder, named)
    listed, twice = without_duplicates(listed)
    listed, missing = without_missing_files(listed)
    counts = unexpected_counts(listed, PUBLISHED[year], f"COCO {year}")
    source = {"name": "coco", "year": year, "captions_per_image": captions_per_image, "letters": letters}
    decisions = merge_partial_lists([*decisions, *twice, *missing, *counts])
    return Listing(source, listed, decisions, inputs, has_classes=False, letters=letters)


def _place(file_name: str) -> str | None:
    """Return the path of an image within its split's folder; None if it is outside, or no name in UTF-8."""
    place = os.path.normpath(file_name)
    outside = os.path.isabs(place) or place.split("/")[0] == ".."
    return None if outside or not is_unicode(place) else place


def _find_year(root: Path) -> str:
    """Return the year whose annotations exist; UserError if none or both exist."""
    found = [year for year in PUBLISHED if (root / "annotations" / f"captions_train{year}.json").is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{root}: holds COCO {' and '.join(found)}; choose with --year")
    raise UserError(f"{root}: holds no COCO captions; {_HINT}")


def _read(path: Path) -> tuple[list[tuple[int | str, str]], dict[int | str, list[object]]]:
    """Return (id, file name) of the images of an annotation file, in order, and the captions by id."""
    content = read_json(path, _HINT)
    captions: dict[int | str, list[object]] = defaultdict(list)
    try:
        images = [(_id(each["id"]), _text(each["file_name"])) for each in content["images"]]
        for each in content["annotations"]:
            captions[_id(each["image_id"])].append(each["caption"])
    except (KeyError, TypeError, ValueError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{path}: is not a file of COCO captions ({reason}); give COCO's captions_*.json (not instances_*.json), "
            "or Karpathy's JSON with --source folder --captions FILE"
        ) from error
    return images, captions


def _id(value: object) -> int | str:
    """Return an image's id, a whole number or a name; digits are a number."""
    if type(value) is int or (isinstance(value, str) and not value.isdecimal()):
        return value
    if isinstance(value, str) and len(value) <= 18:
        return int(value)
    raise ValueError(f"id {str(value)[:40]} is neither a whole number nor a name")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"file_name {str(value)[:40]} is no text")
    return value


def _input_files(options: dict) -> list[Path]:
    return sorted((options["root"] / "annotations").glob(f"captions_*{options['year'] or ''}.json"))


def _list(options: dict) -> Listing:
    return list_coco(options["root"], options["year"], options["captions_per_image"], options["letters"])


def _image_counts(options: dict) -> tuple[int, int]:
    """Return the numbers of training and test images of the lists; the published numbers if there are no lists yet."""
    try:
        splits = [image.split for image in _list(options).images]
    except UserError:
        return tuple(PUBLISHED[options["year"] or "2014"].values())
    return splits.count("train"), splits.count("test")


SOURCE = Source(
    name="coco",
    flags={
        "root": Flag(Path, "the folder that holds COCO", bounds={"minLength": 1}, required=True, is_input=True),
        "year": Flag(str, "year of the layout (default: the year that --root holds)", bounds={"enum": list(PUBLISHED)}),
        "letters": letters_flag(RELEASED),
        "captions_pickle": CAPTIONS_PICKLE,
        "captions_per_image": Flag(int, CAPTIONS_PER_IMAGE_HELP, CAPTIONS_PER_IMAGE, {"minimum": 0}),
    },
    collect=lambda options, _: _list(options),
    has_classes=lambda options: False,
    input_files=_input_files,
    input_folders=lambda options: [
        options["root"] / f"{folder}{year}"
        for folder in FOLDERS.values()
        for year in ([options["year"]] if options["year"] else PUBLISHED)
    ],
    image_counts=_image_counts,
    aspect=1.37,
    captions_per_image=CAPTIONS_PER_IMAGE,
    words_per_caption=11,
    published=PublishedSet("COCO", PUBLISHED["2014"], species=None, image_size=256, citations=("lin2014microsoft",)),
)
