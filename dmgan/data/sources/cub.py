"""Source `cub`: CUB-200-2011 as published, with the captions of Reed et al. and their split by species."""

import hashlib
import os
from pathlib import Path

from dmgan.data.letters import RELEASED
from dmgan.data.sources.listing import (
    FEWER,
    LEFT_OUT,
    NO_BOX,
    NO_FILE,
    NO_LABEL,
    NO_SPLIT,
    NOT_IN_LIST,
    UNLISTED,
    UNUSED_TEXT,
    Decision,
    Listed,
    Listing,
    caption_lines,
    files_under,
    merge_partial_lists,
    read_lines,
    readable_captions,
    size_and_sha256,
    unexpected_counts,
    unlisted_images,
    unused_captions,
    usable_captions,
    without_duplicates,
)
from dmgan.data.sources.table import CAPTIONS_PER_IMAGE_HELP, CAPTIONS_PICKLE, Flag, PublishedSet, Source, letters_flag
from dmgan.errors import UserError
from dmgan.runtime.progress import log
from dmgan.storage.plain_pickle import load_plain_pickle

PUBLISHED = PublishedSet(
    "CUB", {"train": 8_855, "test": 2_933}, species=200, image_size=256,
    citations=("wah2011caltech", "reed2016learning"),
)  # fmt: skip
CAPTIONS_PER_IMAGE = 10
BOX, WHOLE = "box", "whole"
# The archive has grey images and boxes that reach beyond the image: of species 1 to 50, image 448, and 999 and 1218.
KNOWN = frozenset({"grey image", "box that reaches beyond the image"})
# Irregularities of lists and files that are none if a whole species is not there: the data set is a part of CUB.
_OF_ABSENT_SPECIES = frozenset({NO_FILE, NO_SPLIT, NO_LABEL, NOT_IN_LIST, UNLISTED, UNUSED_TEXT})
_HINT = "give the folder CUB_200_2011 of the original archive (fetch cub-images)"
_HINT_METADATA = "give the folder birds of AttnGAN's metadata, its text.zip unpacked (fetch cub-captions)"
_HINT_CAPTIONS = "give the folder cvpr2016_cub of Reed et al.: text_c10/ and testclasses.txt"


def list_cub(
    root: Path,
    metadata: Path | None = None,
    captions: Path | None = None,
    captions_per_image: int = CAPTIONS_PER_IMAGE,
    texts: Path | None = None,
    crop: str = BOX,
    letters: str = RELEASED,
) -> Listing:
    """Return CUB's listing, with captions and split from AttnGAN's `metadata` or Reed et al.'s `captions`.

    metadata holds text/SPECIES/IMAGE.txt, train/filenames.pickle and test/filenames.pickle; captions holds
    text_c10/SPECIES/IMAGE.txt and testclasses.txt, the published list of the 50 test species. texts: another folder of
    SPECIES/IMAGE.txt. Class ids are those of image_class_labels.txt, minus 1. crop: to the square about the bounding
    box, as in the papers, or the whole image. A part of the archive may come with the lists of the whole: species
    without any image are left out, which --strict accepts.
    """
    root = Path(root)
    if (metadata is None) == (captions is None):
        raise UserError(
            "--source cub: the archive has neither captions nor the papers' split; "
            "give either --metadata birds (AttnGAN's) or --captions cvpr2016_cub (Reed et al.'s)"
        )
    inputs: dict[str, dict[str, object]] = {}
    columns = {name: _table(root / name, inputs) for name in ("images.txt", "image_class_labels.txt")}
    boxes = _boxes(root / "bounding_boxes.txt", inputs) if crop == BOX else {}
    species = _table(root / "classes.txt", inputs)
    names = {number: file_name.removesuffix(".jpg") for number, file_name in columns["images.txt"].items()}
    classes = _classes(root / "image_class_labels.txt", columns["image_class_labels.txt"])
    own_texts, texts = texts is not None, _texts(metadata, captions, texts)
    if metadata is not None:
        splits, decisions = _split_by_pickles(Path(metadata), {names[n]: classes.get(n) for n in names}, inputs)
    else:
        splits, decisions = _split_by_species(Path(captions) / "testclasses.txt", species, names, inputs)
    listed, present, hasher, size = [], set(), hashlib.sha256(), 0
    for number, name in names.items():
        image = root / "images" / columns["images.txt"][number]
        absent = {NO_FILE: not os.path.isfile(image), NO_SPLIT: name not in splits, NO_LABEL: number not in classes}
        if any(absent.values()):
            decisions.append(Decision(name, next(kind for kind, here in absent.items() if here), LEFT_OUT))
            continue
        present.add(name.split("/")[0])
        if crop == BOX and number not in boxes:
            decisions.append(Decision(name, NO_BOX, "whole image kept"))
        path = texts / f"{name}.txt"
        lines, wrong = caption_lines(path) if os.path.lexists(path) else ([], [])
        content = "\n".join(lines).encode()
        hasher.update(f"{name} {len(content)}\n".encode() + content)
        size += len(content)
        decisions += [Decision(name, found, decision, detail) for found, decision, detail in wrong]
        readable, unreadable = readable_captions(name, lines)
        kept, found = usable_captions(name, readable, captions_per_image, letters)
        if own_texts:  # which have their own number of captions
            found = [each._replace(accepted=each.found == FEWER) for each in found]
        decisions += unreadable + found
        if kept:
            listed.append(Listed(name, image, kept, classes[number], splits[name], boxes.get(number)))
    decisions += unlisted_images(root / "images", set(columns["images.txt"].values()))
    decisions += unused_captions(files_under(texts), {f"{name}.txt" for name in names.values()})
    decisions = _accept_absent_species(decisions, set(species.values()) - present)
    inputs[f"{texts.name}/"] = {"bytes": size, "sha256": hasher.hexdigest()}
    listed, twice = without_duplicates(listed)
    counts = unexpected_counts(listed, PUBLISHED.images, "CUB")
    source = {"name": "cub", "split": "metadata" if metadata else "testclasses.txt", "crop": crop, "letters": letters}
    source |= {"captions_per_image": captions_per_image}
    decisions = merge_partial_lists([*decisions, *twice, *counts])
    return Listing(source, listed, decisions, inputs, known=KNOWN, letters=letters)


def _accept_absent_species(decisions: list[Decision], absent: set[str]) -> list[Decision]:
    """Return decisions in which those on lists and files of absent species are accepted."""
    return [
        each._replace(decision="species left out", accepted=True)
        if each.found in _OF_ABSENT_SPECIES and each.image.split("/")[0] in absent
        else each
        for each in decisions
    ]


def _texts(metadata: Path | None, captions: Path | None, texts: Path | None) -> Path:
    """Return the folder of the texts, which exists."""
    if texts is not None:
        folder, hint = Path(texts), "give a folder that holds SPECIES/IMAGE.txt"
    elif metadata is not None:
        folder, hint = Path(metadata) / "text", _HINT_METADATA
    else:
        folder, hint = Path(captions) / "text_c10", _HINT_CAPTIONS
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; {hint}")
    return folder


def _table(path: Path, inputs: dict) -> dict[int, str]:
    """Read lines such as "1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg" as {number: text}."""
    table = {}
    for line in read_lines(path, _HINT):
        number, _, text = line.strip().partition(" ")
        if not number.isdecimal() or len(number) > 9 or not text:
            raise UserError(f"{path}: line {line[:80]!r} is not a number and a text; {_HINT}")
        if int(number) in table:
            raise UserError(f"{path}: number {number} occurs more than once; {_HINT}")
        table[int(number)] = text
    inputs[path.name] = size_and_sha256(path)
    return table


def _classes(path: Path, labels: dict[int, str]) -> dict[int, int]:
    """Convert labels that count from 1 to class ids that count from 0, by image number."""
    classes = {}
    for number, text in labels.items():
        if not text.isdecimal() or len(text) > 9 or int(text) < 1:
            raise UserError(f"{path}: label {text[:60]!r} of image {number} is not a number from 1; {_HINT}")
        classes[number] = int(text) - 1
    return classes


def _boxes(path: Path, inputs: dict) -> dict[int, tuple[int, int, int, int]]:
    """Read the boxes by image number: left, top, width, height, truncated to whole pixels as in the released code."""
    boxes = {}
    for number, text in _table(path, inputs).items():
        try:
            left, top, width, height = (int(float(each)) for each in text.split())
        except (ValueError, OverflowError) as error:
            raise UserError(f"{path}: line of image {number} is not four numbers; {_HINT}") from error
        boxes[number] = (left, top, width, height)
    return boxes


def _split_by_pickles(metadata: Path, class_of: dict[str, int | None], inputs: dict):
    """Return {name: split} from the two filenames.pickle, and decisions; class ids are compared with the archive's."""
    splits: dict[str, str] = {}
    decisions = []
    for split in ("train", "test"):
        path = metadata / split / "filenames.pickle"
        names = load_plain_pickle(path, _HINT_METADATA)
        if type(names) not in (list, tuple) or not all(type(name) is str for name in names):
            raise UserError(f"{path}: is not a list of file names; {_HINT_METADATA}")
        inputs[f"{split}/{path.name}"] = size_and_sha256(path)
        names = [name.removesuffix(".jpg") for name in names]  # some copies have the suffix
        for name in names:
            if name not in class_of:
                decisions.append(Decision(name, NOT_IN_LIST, LEFT_OUT))
            elif name not in splits:
                splits[name] = split
            elif splits[name] == split:
                decisions.append(Decision(name, "image that filenames.pickle lists more than once", "kept once", split))
            else:
                decisions.append(Decision(name, "image of both splits", "kept for training"))
        decisions += _compare_classes(path.with_name("class_info.pickle"), names, class_of, inputs)
    return splits, decisions


def _compare_classes(path: Path, names: list[str], class_of: dict[str, int | None], inputs: dict) -> list[Decision]:
    """Return a decision for every image whose class in class_info.pickle differs from image_class_labels.txt.

    The two files may number the classes differently.
    """
    if not path.is_file():
        return []
    ids = load_plain_pickle(path, f"delete it (image_class_labels.txt has the same content), or {_HINT_METADATA}")
    inputs[f"{path.parent.name}/{path.name}"] = size_and_sha256(path)
    if type(ids) in (list, tuple) and any(type(each) not in (int, str) for each in ids):
        raise UserError(f"{path}: is not a list of class numbers; {_HINT_METADATA}")
    if type(ids) not in (list, tuple) or len(ids) != len(names):
        detail = f"{path.parent.name}: {len(ids) if type(ids) in (list, tuple) else 'no list'}, {len(names)} names"
        return [Decision(None, "class_info.pickle of another length", "classes of image_class_labels.txt", detail)]
    first: dict[object, int | None] = {}
    decision = "class of image_class_labels.txt"
    return [
        Decision(name, "class_info.pickle that disagrees with the labels", decision, f"class {number}")
        for name, number in zip(names, ids, strict=True)
        if name in class_of and first.setdefault(number, class_of[name]) != class_of[name]
    ]


def _split_by_species(path: Path, species: dict[int, str], names: dict[int, str], inputs: dict):
    """Return {name: split} from the list of test species, with lines such as "004.Groove_billed_Ani"."""
    test = {line.strip() for line in read_lines(path, _HINT_CAPTIONS) if line.strip()}
    inputs[path.name] = size_and_sha256(path)
    unknown = sorted(test - set(species.values()))
    if unknown:
        raise UserError(f"{path}: {unknown[0]} is not a species of classes.txt; {_HINT_CAPTIONS}")
    return {name: "test" if name.split("/")[0] in test else "train" for name in names.values()}, []


def _input_files(options: dict) -> list[Path]:
    files = [
        options["root"] / name for name in ("images.txt", "image_class_labels.txt", "classes.txt", "bounding_boxes.txt")
    ]
    if options["metadata"] is not None:
        files += [options["metadata"] / split / "filenames.pickle" for split in ("train", "test")]
    if options["captions"] is not None:
        files.append(options["captions"] / "testclasses.txt")
    return files


def _input_folders(options: dict) -> list[Path]:
    folders = [options["root"] / "images"]
    if options["texts"] is not None:
        folders.append(options["texts"])
    elif options["metadata"] is not None:
        folders.append(options["metadata"] / "text")
    elif options["captions"] is not None:
        folders.append(options["captions"] / "text_c10")
    return folders


def _list(options: dict) -> Listing:
    return list_cub(**{name: value for name, value in options.items() if name != "captions_pickle"})


def _collect(options: dict, _: int) -> Listing:
    """Return the listing; log that a vocabulary in the metadata is not read unless `captions_pickle` names it."""
    listing, metadata = _list(options), options["metadata"]
    if options["captions_pickle"] is None and metadata is not None and (metadata / "captions.pickle").is_file():
        log(
            f"{metadata / 'captions.pickle'}: is not read: the vocabulary is made from the captions. "
            "To train with released encoders, give this file as --captions-pickle"
        )
    return listing


def _image_counts(options: dict) -> tuple[int, int]:
    """Return the numbers of training and test images of the lists; the published numbers if there are no lists yet."""
    try:
        splits = [image.split for image in _list(options).images]
    except UserError:
        return tuple(PUBLISHED.images.values())
    return splits.count("train"), splits.count("test")


SOURCE = Source(
    name="cub",
    flags={
        "root": Flag(Path, "the folder CUB_200_2011", bounds={"minLength": 1}, required=True, is_input=True),
        "metadata": Flag(
            Path, "AttnGAN's folder birds, with captions and split", bounds={"minLength": 1}, is_input=True
        ),
        "captions": Flag(
            Path, "Reed et al.'s folder cvpr2016_cub, instead of --metadata", bounds={"minLength": 1}, is_input=True
        ),
        "texts": Flag(
            Path, "another folder of SPECIES/IMAGE.txt with the captions", bounds={"minLength": 1}, is_input=True
        ),
        "crop": Flag(str, "the papers' square about the bounding box, or the whole image", BOX, {"enum": [BOX, WHOLE]}),
        "letters": letters_flag(RELEASED),
        "captions_pickle": CAPTIONS_PICKLE,
        "captions_per_image": Flag(int, CAPTIONS_PER_IMAGE_HELP, CAPTIONS_PER_IMAGE, {"minimum": 0}),
    },
    collect=_collect,
    input_files=_input_files,
    input_folders=_input_folders,
    image_counts=_image_counts,
    aspect=1.05,  # the crops are squares that the image's edge sometimes clips
    captions_per_image=CAPTIONS_PER_IMAGE,
    words_per_caption=15,
    published=PUBLISHED,
)
