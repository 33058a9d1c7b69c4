"""Table of feature extractors; add an extractor as a file in this folder and a line here.

This module does not import torch, because the command line and the workflow read the names.
"""

import importlib
from typing import TYPE_CHECKING

from dmgan.errors import UserError

if TYPE_CHECKING:
    from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor

_FOLDER = "dmgan.evaluation.networks"
EXTRACTORS = {
    "species":              "species:SpeciesFeatures",
    "efficientnet-lite0":   "efficientnet_lite0:EfficientNetLite0Features",
    "inception-tf":         "inception_tf:TfInception",
    "clean":                "inception_clean:CleanInception",
    "torchvision":          "inception_torchvision:TorchvisionInception",
    "torchvision-released": "inception_torchvision_released:ReleasedTorchvisionInception",
    "openai-released":      "inception_openai:OpenaiInception",
    "birds-released":       "inception_birds:BirdLogits",
}  # fmt: skip
CITATIONS = {  # keys of dmgan/runtime/bibliography.bib, by the start of the name of an extractor or a scorer
    "efficientnet-lite0": ("tan2019efficientnet",),
    "inception-tf":       ("szegedy2016rethinking", "obukhov2020torchfidelity"),
    "clean":              ("szegedy2016rethinking", "obukhov2020torchfidelity", "parmar2022aliased"),
    "torchvision":        ("szegedy2016rethinking",),
    "openai-released":    ("szegedy2016rethinking", "obukhov2020torchfidelity"),
    "birds-released":     ("szegedy2016rethinking", "zhang2017stackgan"),
    "CLIP":               ("radford2021learning",),
    "frcnn":              ("ren2015faster",),
}  # fmt: skip
WITHOUT_INCEPTION = ("species", "efficientnet-lite0")  # extractors that take a fraction of an Inception pass


def read_extractors(names: tuple[str, ...], inputs: "ExtractorInputs") -> "dict[str, FeatureExtractor]":
    """Return the extractors called `names`, in that order.

    Raise UserError for an unknown or repeated name, or if the weights of an extractor cannot be read.
    """
    if [name for name in names if name not in EXTRACTORS] or len(set(names)) != len(names):
        raise UserError(
            f"--extractors {' '.join(names)}: unknown or repeated name; known extractors are {', '.join(EXTRACTORS)}"
        )
    return {name: _class_of(name).read(inputs) for name in names}


def citations_of(reader: str) -> tuple[str, ...]:
    """Return the bibliography's keys of an extractor or a scorer; an empty tuple if it is this project's."""
    return next((keys for start, keys in CITATIONS.items() if reader.startswith(start)), ())


def _class_of(name: str) -> "type[FeatureExtractor]":
    module, class_name = EXTRACTORS[name].split(":")
    return getattr(importlib.import_module(f"{_FOLDER}.{module}"), class_name)
