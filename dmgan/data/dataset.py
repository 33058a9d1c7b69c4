"""The prepared data set: a folder whose format is the same for every source."""

import copy
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dmgan.data.checksums import check_files, sampled_hashes
from dmgan.data.names import is_table_name
from dmgan.data.sources.example import Example
from dmgan.data.sources.table import find_source
from dmgan.data.vocabulary import Vocabulary, caption_to_words
from dmgan.errors import UserError
from dmgan.storage.files import OwnFiles, atomic_folder, file_sha256
from dmgan.storage.npy import read_arrays
from dmgan.storage.reading import check_entries, open_regular_file, read_json
from dmgan.storage.seals import write_sealed_json

FORMAT = 1
OVERSIZE = 76 / 64  # side of stored images over side of random crops, as in the papers
SPLITS = ("train", "test")
FILES = ("captions.json", "images.bin", "index.npz", "vocabulary.json")  # beside dataset.json
READ = "read.jsonl"  # exists during preparation: one line per photograph whose pixels are in images.bin
PREPARED = OwnFiles("prepare", ("dataset.json", READ), "|".join(map(re.escape, ("dataset.json", *FILES, READ))))
_COUNTS = dict.fromkeys(SPLITS, int)
_DESCRIBED = {  # entries of dataset.json, as in dmgan.storage.reading.read_object
    "name?": str, "source": {"name": str, "crop?": str}, "image_size": int, "stored_size": int, "images": _COUNTS,
    "classes": (None, _COUNTS), "captions": int, "vocabulary": int, "sha256": dict,
}  # fmt: skip
_RECORD = {"name": str, "captions": [str], "attributes": dict}  # of captions.json
_SAMPLED = "sampled_sha256"  # entry of dataset.json
_HINT = "prepare it again: python -m dmgan prepare --out FOLDER, with its source's flags"


def oversize(image_size: int) -> int:
    """Return the shorter side in pixels of stored images, from which crops of side `image_size` are drawn."""
    return int(image_size * OVERSIZE)


@dataclass(frozen=True)
class About:
    """What dataset.json states of a data set beside counts and hashes."""

    name: str  # in tables, figures and MLflow
    source: dict[str, object]  # the source's name and options
    image_size: int
    has_classes: bool = True  # false: every image is a class of its own
    origin: dict[str, object] = field(default_factory=dict)  # additional entries


def name_of_set(given: str | None, folder: Path) -> str:
    """Return the name of a prepared data set: the given name, else the folder's; UserError if it cannot be printed."""
    name = os.path.basename(os.path.abspath(folder)) if given is None else given
    if not is_table_name(name):
        raise UserError(
            f"data set name {name!r}: must be printable and must not begin with = + - @, which spreadsheets execute; "
            "give another --name"
        )
    return name


def pack(
    examples: Iterable[Example], folder: Path, *, source: dict[str, object], image_size: int, name: str | None = None
) -> None:
    """Write examples as a prepared data set called `name` (default: as its folder), atomically.

    Files: images.bin (uint8 pixels, image after image), index.npz (offsets of images, captions and tokens),
    captions.json (names, captions, attributes), vocabulary.json, and dataset.json with counts and the SHA-256 of the
    other files.
    """
    about = About(name_of_set(name, folder), source, image_size)
    with atomic_folder(folder, PREPARED) as temporary:
        shapes, records = [], []
        with open(temporary / "images.bin", "wb") as images:
            for example in examples:
                _check(example, image_size)
                images.write(np.ascontiguousarray(example.image).tobytes())
                shapes.append(example.image.shape[:2])
                records.append(
                    record(example.name, example.split, example.class_id, example.captions, example.attributes)
                )
        seal(temporary, shapes, records, about)


def record(name: str, split: str, class_id: int, captions: Iterable[str], attributes: dict[str, str]) -> dict:
    """Return one image's entry of captions.json."""
    return {
        "name": name, "split": split, "class_id": class_id, "captions": list(captions), "attributes": attributes
    }  # fmt: skip


def seal(
    folder: Path,
    shapes: Sequence[tuple[int, int]],
    records: list[dict],
    about: About,
    vocabulary: Vocabulary | None = None,
) -> None:
    """Complete a folder that holds images.bin: write index, captions, vocabulary and dataset.json.

    vocabulary: None: all words of the captions.
    """
    _check_all(records)
    if vocabulary is None:
        vocabulary = Vocabulary.of(caption for each in records for caption in each["captions"])
    vocabulary.write(folder / "vocabulary.json")
    (folder / "captions.json").write_text(json.dumps(records), encoding="utf-8")
    np.savez(folder / "index.npz", **_index(shapes, records, vocabulary))
    counts = {split: sum(each["split"] == split for each in records) for split in SPLITS}
    classes = {split: len({each["class_id"] for each in records if each["split"] == split}) for split in SPLITS}
    description = {
        "format": FORMAT,
        "name": about.name,
        "source": about.source,
        "image_size": about.image_size,
        "stored_size": oversize(about.image_size),
        "images": counts,
        "classes": classes if about.has_classes else None,
        "captions": sum(len(each["captions"]) for each in records),
        "vocabulary": len(vocabulary),
        **about.origin,
        "sha256": {name: file_sha256(folder / name) for name in FILES},
    }
    if sampled := sampled_hashes(folder, description["sha256"]):
        description[_SAMPLED] = sampled
    write_sealed_json(folder / "dataset.json", description)


def _check(example: Example, image_size: int) -> None:
    image = example.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"image {example.name}: must be uint8 RGB, is {image.dtype} {image.shape}")
    if min(image.shape[:2]) < image_size:
        raise UserError(f"image {example.name}: {image.shape[1]}x{image.shape[0]} is smaller than {image_size} px")
    if example.split not in SPLITS:
        raise UserError(f"image {example.name}: split {example.split!r} must be train or test")
    if not example.captions or any(not caption_to_words(caption) for caption in example.captions):
        raise UserError(
            f"image {example.name}: has no caption, or an empty caption; add a caption or leave the image out"
        )


def _check_all(records: list[dict]) -> None:
    names = [record["name"] for record in records]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"image {twice}: the name occurs more than once; names must be unique")
    for split in SPLITS:
        if not any(record["split"] == split for record in records):
            raise UserError(f"the source has no {split} image; both splits are needed")


def _index(shapes, records, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    tokens = [vocabulary.encode(caption) for record in records for caption in record["captions"]]
    return {
        "shapes": np.array(shapes, dtype=np.int32),
        "class_ids": np.array([record["class_id"] for record in records], dtype=np.int64),
        "is_test": np.array([record["split"] == "test" for record in records]),
        "caption_starts": np.cumsum([0] + [len(record["captions"]) for record in records]),
        "token_starts": np.cumsum([0] + [len(each) for each in tokens]),
        "tokens": np.concatenate(tokens),
    }


class PreparedDataset:
    """A prepared data set, opened for reading; pixels are read from disk on access."""

    def __init__(self, folder: Path, check: bool = True):
        """Open the folder; UserError if it is missing, unfinished, of another version or damaged.

        check=False: without comparing hashes, in a worker of a process that has compared them, or if only its
        description is asked.
        """
        self.folder = Path(folder)
        if not (self.folder / "dataset.json").exists():
            state = "is not a prepared data set" if self.folder.exists() else "does not exist"
            raise UserError(f"{self.folder}: {state}; {_HINT}")
        found = read_json(self.folder / "dataset.json", _HINT, check)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise UserError(f"{self.folder}: was prepared by another version of this program; {_HINT}")
        self.description = check_entries(found, _DESCRIBED, self.folder / "dataset.json", _HINT)
        if "name" in self.description and not is_table_name(self.description["name"]):
            raise UserError(f"{self.folder / 'dataset.json'}: is damaged (its name cannot stand in a table); {_HINT}")
        self.vocabulary = Vocabulary.read(self.folder / "vocabulary.json")
        try:
            index = read_arrays(self.folder / "index.npz", _HINT)
            self._shapes, self.class_ids = index["shapes"], index["class_ids"]
            is_test, self._caption_starts = index["is_test"], index["caption_starts"]
            self._token_starts, self._tokens = index["token_starts"], index["tokens"]
            self._check_index(is_test)
            open_regular_file(self.folder / "images.bin").close()
            self._pixels = np.memmap(self.folder / "images.bin", dtype=np.uint8, mode="r")
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(f"{self.folder}: is damaged ({error}); {_HINT}") from error
        self._splits = {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}
        self.held_out = 0  # training images that a validation split took out of the training split
        sizes = self._shapes.astype(np.int64).prod(axis=1) * 3
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])
        if self._offsets[-1] != len(self._pixels):
            raise UserError(
                f"{self.folder / 'images.bin'}: holds {len(self._pixels)} bytes, not {self._offsets[-1]}; {_HINT}"
            )
        if check:
            self._check_bytes()

    def _check_bytes(self) -> None:
        """Raise UserError if the bytes of a file that dataset.json records changed."""
        sampled = self.description.get(_SAMPLED, {})
        if not isinstance(self.sha256, dict) or set(self.sha256) != set(FILES) or not isinstance(sampled, dict):
            raise UserError(f"{self.folder / 'dataset.json'}: is damaged (its hashes are of other files); {_HINT}")
        try:
            check_files(self.folder, self.sha256, sampled, _HINT)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be read ({error}); {_HINT}") from error

    def _check_index(self, is_test: np.ndarray) -> None:
        """Raise ValueError unless the arrays of index.npz fit each other and the vocabulary."""
        count = len(self._shapes)
        arrays = (self._shapes, self.class_ids, self._caption_starts, self._token_starts, self._tokens)
        if any(each.dtype.kind != "i" for each in arrays) or is_test.dtype != bool:
            raise ValueError("index.npz: an array has another type")
        if self._shapes.shape != (count, 2) or (count and self._shapes.min() < 1):
            raise ValueError("index.npz: shapes are not heights and widths")
        if self.class_ids.shape != (count,) or is_test.shape != (count,) or self._tokens.ndim != 1:
            raise ValueError("index.npz: its arrays are of different lengths")
        for starts, number, end in (
            (self._caption_starts, count, len(self._token_starts) - 1),
            (self._token_starts, len(self._token_starts) - 1, len(self._tokens)),
        ):
            if starts.shape != (number + 1,) or starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 1).any():
                raise ValueError("index.npz: an image has no caption, or a caption no word")
        if len(self._tokens) and not 0 < self._tokens.min() <= self._tokens.max() < len(self.vocabulary):
            raise ValueError("index.npz: a token is no word of vocabulary.json")

    def __len__(self) -> int:
        return len(self._shapes)

    @property
    def name_of_set(self) -> str:
        """Name of the data set in tables, figures and MLflow; that of the folder if dataset.json states none."""
        return self.description.get("name") or name_of_set(None, self.folder)

    @property
    def has_classes(self) -> bool:
        """Whether images have classes; otherwise every image's class id is its own."""
        return self.description["classes"] is not None

    @cached_property
    def published_set(self) -> tuple[str, tuple[str, ...]] | None:
        """Title of the papers' data set of this source, and the differences from it; None if there is none."""
        published = find_source(self.description["source"]["name"]).published
        return None if published is None else (published.title, published.differences(self.description))

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that models are trained on; stored images are larger."""
        return self.description["image_size"]

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 of the folder's files, by file name."""
        return self.description["sha256"]

    def indices(self, split: str) -> np.ndarray:
        """Return the indices of the images of a split ("train" or "test"), ascending."""
        return self._splits[split].copy()

    def with_splits(self, train: np.ndarray, test: np.ndarray, held_out: int) -> "PreparedDataset":
        """Return this data set with other images in its splits; the files and their hashes are the same."""
        other = copy.copy(self)
        other._splits, other.held_out = {"train": train, "test": test}, held_out
        return other

    def image(self, index: int) -> np.ndarray:
        """Return the stored pixels (H, W, 3) uint8 of one image, read-only."""
        pixels = self._pixels[self._offsets[index] : self._offsets[index + 1]]
        return pixels.reshape(*self._shapes[index], 3)

    def caption_count(self, index: int) -> int:
        """Return the number of captions of one image."""
        return int(self._caption_starts[index + 1] - self._caption_starts[index])

    def tokens(self, index: int, caption: int) -> np.ndarray:
        """Return the token ids (length,) int32 of one caption of one image."""
        row = self._caption_starts[index] + caption
        return self._tokens[self._token_starts[row] : self._token_starts[row + 1]]

    @cached_property
    def _records(self) -> list[dict]:
        path = self.folder / "captions.json"
        records = check_entries(read_json(path, _HINT), [_RECORD], path, _HINT)
        counts = np.diff(self._caption_starts).tolist()
        if [len(record["captions"]) for record in records] != counts:
            raise UserError(f"{path}: is damaged (its captions are not those of index.npz); {_HINT}")
        return records

    def name(self, index: int) -> str:
        """Return the image's name in its source."""
        return self._records[index]["name"]

    def caption(self, index: int, caption: int) -> str:
        """Return one caption of one image as text."""
        return self._records[index]["captions"][caption]

    def attributes(self, index: int) -> dict[str, str]:
        """Return the stored attributes of one image; empty if the source has no attributes."""
        return self._records[index]["attributes"]
