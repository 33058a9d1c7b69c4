"""Extractor `openai-released`: the released COCO Inception Score, OpenAI's script on images that Pillow resized."""

from torch import Tensor

from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor, channels_first
from dmgan.evaluation.networks.inception_2015 import (
    CLASSES,
    PIL_BILINEAR,
    Inception2015,
    pil_bilinear,
    read_inception_2015,
)


class OpenaiInception(FeatureExtractor):
    """Logits of Inception of 2015 on 8-bit images that Pillow resized."""

    name = "openai-released"
    prepare = staticmethod(pil_bilinear)
    packages = ("torch", "pillow", "torch-fidelity")
    code = ("dmgan.evaluation.networks.inception_2015",)

    def __init__(self, network: Inception2015):
        self._network = network
        super().__init__({"logits": CLASSES}, network.protocol(PIL_BILINEAR))

    @classmethod
    def read(cls, inputs: ExtractorInputs) -> "OpenaiInception":
        return cls(inputs.once(read_inception_2015))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"logits": self._network(channels_first(batch))["logits"]}
