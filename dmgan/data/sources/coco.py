"""Source `coco`: photographs and captions of MS-COCO as they are published, in the layout of 2014 or 2017."""

from collections import defaultdict
from pathlib import Path

from dmgan.data.sources.listing import (
    Decision,
    Listed,
    Listing,
    described,
    unexpected_counts,
    unlisted_images,
    usable_captions,
    without_duplicates,
    without_missing_files,
)
from dmgan.errors import UserError
from dmgan.storage.files import read_json

FOLDERS = {"train": "train", "test": "val"}  # the papers test on the validation images
PUBLISHED = {"2014": {"train": 82_783, "test": 40_504}, "2017": {"train": 118_287, "test": 5_000}}
CAPTIONS_PER_IMAGE = 5
_HINT = "give the folder that holds annotations/captions_train2014.json, train2014/, val2014/ (or 2017)"


def list_coco(root: Path, year: str | None = None, captions_per_image: int = CAPTIONS_PER_IMAGE) -> Listing:
    """What COCO lists: train -> train, val -> test; an image's class id is its number, for COCO has no classes.

    year: "2014" (the papers') or "2017"; None: whichever is there. Captions in the order of the annotations.
    """
    root = Path(root)
    year = year or _year(root)
    listed, decisions, inputs = [], [], {}
    for split, folder in FOLDERS.items():
        path = root / "annotations" / f"captions_{folder}{year}.json"
        images, captions = _read(path)
        inputs[f"annotations/{path.name}"] = described(path)
        for image, file_name in images:
            name = Path(file_name).stem
            kept, found = usable_captions(name, captions.get(image, []), captions_per_image)
            decisions += found
            if kept:
                listed.append(Listed(name, root / f"{folder}{year}" / file_name, kept, len(listed), split))
        decisions += [
            Decision(str(image), "captions of an image that is not listed", "captions left out", path.name)
            for image in sorted(captions.keys() - {image for image, _ in images})
        ]
        decisions += unlisted_images(root / f"{folder}{year}", {file_name for _, file_name in images})
    listed, twice = without_duplicates(listed)
    listed, missing = without_missing_files(listed)
    counts = unexpected_counts(listed, PUBLISHED[year], f"COCO {year}")
    source = {"name": "coco", "year": year, "captions_per_image": captions_per_image}
    return Listing(source, listed, decisions + twice + missing + counts, inputs)


def _year(root: Path) -> str:
    """The one layout that is there."""
    found = [year for year in PUBLISHED if (root / "annotations" / f"captions_train{year}.json").is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{root}: holds COCO {' and '.join(found)}; say which with --year")
    raise UserError(f"{root}: holds no COCO captions; {_HINT}")


def _read(path: Path) -> tuple[list[tuple[int, str]], dict[int, list[str]]]:
    """(id, file name) of the images of an annotation file in their order, and the captions of each id."""
    content = read_json(path, _HINT)
    captions: dict[int, list[str]] = defaultdict(list)
    try:
        images = [(int(each["id"]), str(each["file_name"])) for each in content["images"]]
        for each in content["annotations"]:
            captions[int(each["image_id"])].append(str(each["caption"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: is no file of COCO captions ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return images, captions
