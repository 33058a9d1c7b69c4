"""Source `coco`: photographs and captions of MS-COCO in the published layout of 2014 or 2017."""

from collections import defaultdict
from pathlib import Path

from dmgan.data.sources.listing import (
    Decision,
    Listed,
    Listing,
    size_and_sha256,
    unexpected_counts,
    unlisted_images,
    usable_captions,
    without_duplicates,
    without_missing_files,
)
from dmgan.data.sources.table import CAPTIONS_PER_IMAGE_HELP, CAPTIONS_PICKLE, Flag, Source
from dmgan.errors import UserError
from dmgan.storage.files import read_json

FOLDERS = {"train": "train", "test": "val"}  # the papers test on the validation images
PUBLISHED = {"2014": {"train": 82_783, "test": 40_504}, "2017": {"train": 118_287, "test": 5_000}}
CAPTIONS_PER_IMAGE = 5
_HINT = "give the folder that holds annotations/captions_train2014.json, train2014/, val2014/ (or 2017)"


def list_coco(root: Path, year: str | None = None, captions_per_image: int = CAPTIONS_PER_IMAGE) -> Listing:
    """Return COCO's listing: train2014 (or 2017) is the training split, val2014 the test split.

    COCO has no classes: an image's class id is its number. Captions are in the order of the annotations. year: "2014"
    (as in the papers) or "2017"; None: the year whose annotations exist.
    """
    root = Path(root)
    year = year or _find_year(root)
    listed, decisions, inputs = [], [], {}
    for split, folder in FOLDERS.items():
        path = root / "annotations" / f"captions_{folder}{year}.json"
        images, captions = _read(path)
        inputs[f"annotations/{path.name}"] = size_and_sha256(path)
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


def _find_year(root: Path) -> str:
    """Return the year whose annotations exist; UserError if none or both exist."""
    found = [year for year in PUBLISHED if (root / "annotations" / f"captions_train{year}.json").is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{root}: holds COCO {' and '.join(found)}; choose with --year")
    raise UserError(f"{root}: holds no COCO captions; {_HINT}")


def _read(path: Path) -> tuple[list[tuple[int, str]], dict[int, list[str]]]:
    """Return (id, file name) of the images of an annotation file, in order, and the captions by id."""
    content = read_json(path, _HINT)
    captions: dict[int, list[str]] = defaultdict(list)
    try:
        images = [(int(each["id"]), str(each["file_name"])) for each in content["images"]]
        for each in content["annotations"]:
            captions[int(each["image_id"])].append(str(each["caption"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: is not a file of COCO captions ({type(error).__name__}: {error}); fetch it again"
        ) from error
    return images, captions


def _input_files(options: dict) -> list[Path]:
    return sorted((options["root"] / "annotations").glob(f"captions_*{options['year'] or ''}.json"))


def _image_counts(options: dict) -> tuple[int, int]:
    published = PUBLISHED[options["year"] or "2014"]
    return published["train"], published["test"]


SOURCE = Source(
    name="coco",
    flags={
        "root": Flag(Path, "the folder that holds COCO", bounds={"minLength": 1}, required=True, is_input=True),
        "year": Flag(str, "year of the layout (default: the year that --root holds)", bounds={"enum": list(PUBLISHED)}),
        "captions_pickle": CAPTIONS_PICKLE,
        "captions_per_image": Flag(int, CAPTIONS_PER_IMAGE_HELP, CAPTIONS_PER_IMAGE, {"minimum": 0}),
    },
    collect=lambda options, _: list_coco(options["root"], options["year"], options["captions_per_image"]),
    input_files=_input_files,
    image_counts=_image_counts,
    aspect=1.37,
    captions_per_image=CAPTIONS_PER_IMAGE,
    words_per_caption=11,
)
