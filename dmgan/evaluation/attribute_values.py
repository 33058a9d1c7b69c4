"""Attribute values of synthbirds: values named in captions, compared with values shown in images."""

from collections.abc import Sequence

import numpy as np

from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.synthbirds.attributes import SPECIES_ATTRIBUTES
from dmgan.data.sources.synthbirds.captions import named_attributes
from dmgan.data.sources.table import SOURCES, find_source

NAMES = tuple(SPECIES_ATTRIBUTES)  # attributes that captions name
PLACES = 4  # side of the classifier's feature map; bill and legs have the same colours and differ only by position
SIZES = tuple(len(values) for values in SPECIES_ATTRIBUTES.values())


def has_named_attributes(dataset: PreparedDataset) -> bool:
    """Return whether the captions of a data set name attributes whose values are known."""
    name = dataset.description["source"]["name"]
    return name in SOURCES and find_source(name).has_attributes


def wanted_values(captions: Sequence[str]) -> np.ndarray:
    """Return the value of each attribute in each caption, (N, attributes) int64; -1 if the caption names no value."""
    wanted = np.full((len(captions), len(NAMES)), -1, dtype=np.int64)
    for row, caption in enumerate(captions):
        for name, value in named_attributes(caption).items():
            wanted[row, NAMES.index(name)] = SPECIES_ATTRIBUTES[name].index(value)
    return wanted


def shown_attributes(shown: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, per image, the number of caption attributes that the image shows, and the number of caption attributes.

    shown (N, A): values in the images; wanted (N, A): values in the captions, -1 for none.
    """
    named = wanted >= 0
    return ((shown == wanted) & named).sum(axis=1), named.sum(axis=1)
