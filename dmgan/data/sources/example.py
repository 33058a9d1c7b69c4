"""Captioned images that a source draws."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Example:
    """One captioned image of a source, before it is written into a prepared data set."""

    name: str  # unique within the source
    image: np.ndarray  # uint8 (H, W, 3), RGB
    captions: tuple[str, ...]  # as written; tokenised later
    class_id: int  # species; the image's number if the source has no classes
    split: str  # "train" or "test"
    attributes: dict[str, str] = field(default_factory=dict)  # true attributes; empty if unknown


@dataclass(frozen=True)
class Drawn:
    """Images that a source computes; sources of photographs return a `Listing` of files instead."""

    source: dict[str, object]  # the source's name and options, for dataset.json
    examples: Sequence[Example]  # item i is a pure function of i; the sequence can be pickled
