"""Extractor `clean`: clean-fid's protocol, with its own resize."""

import functools
from collections.abc import Callable

import numpy as np
from torch import Tensor

from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor, channels_first
from dmgan.evaluation.networks.inception_2015 import POOL, Inception2015, read_inception_2015


@functools.cache
def _clean_resizer() -> Callable[[np.ndarray], np.ndarray]:
    from cleanfid.resize import build_resizer

    return build_resizer("clean")


def clean_resize(pixels: np.ndarray) -> np.ndarray:
    """Resize to 299 px, float levels, by clean-fid's function (Pillow's bicubic filter on each channel as floats).

    clean-fid's function is a closure, which cannot be pickled for a worker process; this function can.
    """
    return _clean_resizer()(pixels)


class CleanInception(FeatureExtractor):
    """Inception of 2015 after clean-fid's resize."""

    name = "clean"
    prepare = staticmethod(clean_resize)
    packages = ("torch", "pillow", "torch-fidelity", "clean-fid")
    code = ("dmgan.evaluation.networks.inception_2015",)

    def __init__(self, network: Inception2015):
        self._network = network
        resize = "to 299 px, clean-fid's (Pillow bicubic, each channel as floats)"
        super().__init__({"features": POOL}, network.protocol(resize))

    @classmethod
    def read(cls, inputs: ExtractorInputs) -> "CleanInception":
        return cls(inputs.once(read_inception_2015))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"features": self._network(channels_first(batch))["features"]}
