"""Table of the sources of captioned images.

A new source is one module that defines `SOURCE`, and one line of SOURCES. The command line, the configuration schema,
the workflow's inputs and the plan read this table. This module imports neither torch nor numpy, so that they start
fast.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dmgan.data.letters import LETTERS
from dmgan.errors import UserError
from dmgan.options import broken_bound, with_maximum

if TYPE_CHECKING:
    from dmgan.data.sources.example import Drawn
    from dmgan.data.sources.listing import Listing


IMAGE_SIZES = (8, 4096)  # smallest and largest side of training images of any source, px


@dataclass(frozen=True)
class Flag:
    """An option of a source: a flag of `prepare`, and a key of the data set's block in a configuration."""

    type: type  # int, float, str or Path
    help: str
    default: object = None
    bounds: dict[str, object] = field(default_factory=dict)  # keywords of JSON schema, such as {"minimum": 1}
    required: bool = False
    is_input: bool = False  # a path that the prepared data set must not replace

    def __post_init__(self):
        if self.type in (int, float):
            object.__setattr__(self, "bounds", with_maximum(self.bounds, self.type))


@dataclass(frozen=True)
class PublishedSet:
    """The data set on which the papers' numbers were measured."""

    title: str  # in the papers' tables
    images: Mapping[str, int]  # by split
    species: int | None  # of both splits; None: no classes
    image_size: int  # px
    citations: tuple[str, ...]  # keys of its papers in dmgan/runtime/bibliography.bib

    def differences(self, description: Mapping) -> tuple[str, ...]:
        """Return how a prepared set, by its dataset.json, differs from the published set; empty if it does not."""
        found, classes = [], description["classes"]
        species = None if classes is None else sum(classes.values())
        if self.species is not None and species != self.species:
            found.append(f"{species or 'no'} of {self.species} species")
        else:
            counts = {split: (description["images"][split], count) for split, count in self.images.items()}
            found += [
                f"{own:,} {'of' if own < count else 'instead of'} {count:,} {split} images"
                for split, (own, count) in counts.items()
                if own != count
            ]
        if description["source"].get("crop", "box") != "box":
            found.append("whole images")
        if description["image_size"] != self.image_size:
            found.append(f"{description['image_size']} px")
        return tuple(found)


@dataclass(frozen=True)
class Source:
    """A source of captioned images. Its functions get the values of all flags, including defaults."""

    name: str
    flags: dict[str, Flag]
    collect: "Callable[[dict, int], Listing | Drawn]"  # (flags, shorter side of stored images in px) -> the images
    input_files: Callable[[dict], list[Path]]  # files whose change triggers a new preparation; they need not exist
    image_counts: Callable[[dict], tuple[int, int]]  # training and test images to expect
    aspect: float  # width over height of stored images, for an estimate of the disk space
    captions_per_image: int  # if all captions are kept
    words_per_caption: int
    rate: str = "photographs"  # name of its preparation in the table of rates (benchmarks/rates.py)
    # Folders of texts and images whose change triggers a new preparation; they need not exist.
    input_folders: Callable[[dict], list[Path]] = lambda options: []
    has_classes: Callable[[dict], bool] = lambda options: True  # images have classes, which a classifier learns
    published: PublishedSet | None = None  # the papers' data set that comes from this source
    # Feature extractors of configurations that name none: an ImageNet network for photographs.
    extractors: tuple[str, ...] = ("efficientnet-lite0",)
    image_sizes: tuple[int, int] = IMAGE_SIZES  # smallest and largest side of training images, px
    has_attributes: bool = False  # captions name attributes, and dataset.json stores their true values

    def is_published(self, title: str) -> bool:
        """Return whether the papers' data set of this title comes from this source."""
        return self.published is not None and self.published.title == title

    def options(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return the value of every flag: the given value, else the default."""
        values = {name: given.get(name) for name in self.flags}
        return {
            name: flag.default if values[name] is None else flag.type(values[name]) for name, flag in self.flags.items()
        }


CAPTIONS_PICKLE = Flag(
    Path,
    "captions.pickle of released encoders, whose vocabulary is used, to train with these encoders",
    bounds={"minLength": 1},
)

CAPTIONS_PER_IMAGE_HELP = "captions kept per image, the first ones; 0 keeps all captions of photographs"
DEFAULT_SOURCE = "synthbirds"


def letters_flag(default: str) -> Flag:
    """Return the flag that chooses the rule for letters of captions that are not ASCII (dmgan/data/letters.py)."""
    text = "letters that are not ASCII: folded (grüner becomes gruner) or, as in the released code, dropped (grner)"
    return Flag(str, text, default, {"enum": list(LETTERS)})


SOURCES = {
    "synthbirds": "dmgan.data.sources.synthbirds",
    "cub":        "dmgan.data.sources.cub",
    "coco":       "dmgan.data.sources.coco",
    "folder":     "dmgan.data.sources.folder",
}  # fmt: skip


def find_source(name: str) -> Source:
    """Return the source called `name`; UserError naming the known sources otherwise."""
    if name not in SOURCES:
        raise UserError(f"source {name!r}: unknown; known sources are {', '.join(SOURCES)}")
    return importlib.import_module(SOURCES[name]).SOURCE


def every_source() -> list[Source]:
    """Return all sources in the order of the table."""
    return [find_source(name) for name in SOURCES]


def citations_of(published_set: str) -> tuple[str, ...]:
    """Return the bibliography's keys of a published data set by its title; an empty tuple if no source has it."""
    return next((each.published.citations for each in every_source() if each.is_published(published_set)), ())


def check_image_size(source: Source, image_size: int) -> None:
    """Raise UserError if a source cannot make training images of this side."""
    low, high = source.image_sizes
    if not low <= image_size <= high:
        raise UserError(f"--image-size {image_size}: must be from {low} to {high} with --source {source.name}")


def check_flags(source: Source, given: Mapping[str, object]) -> None:
    """Raise UserError if `given` (flag -> value or None) has an unread flag or a number out of bounds, or lacks one."""
    for name, value in given.items():
        if value is not None and name not in source.flags:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}: is not used with --source {source.name}; leave it out")
    for name, flag in source.flags.items():
        if flag.required and given.get(name) is None:
            raise UserError(f"--source {source.name}: needs --{name.replace('_', '-')}, {flag.help}")
        value = given.get(name)
        if type(value) in (int, float) and (rule := broken_bound(value, flag.bounds)):
            raise UserError(f"--{name.replace('_', '-')} {value}: must be {rule}")
