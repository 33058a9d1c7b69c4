"""Extractor `inception-tf`: torch-fidelity's protocol, with TensorFlow 1's bilinear resize (not antialiased)."""

from torch import Tensor

from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor, channels_first
from dmgan.evaluation.networks.inception_2015 import CLASSES, POOL, SIZE, Inception2015, read_inception_2015


class TfInception(FeatureExtractor):
    """Inception of 2015 after TensorFlow 1's resize."""

    name = "inception-tf"
    packages = ("torch", "torch-fidelity")
    code = ("dmgan.evaluation.networks.inception_2015",)

    def __init__(self, network: Inception2015):
        self._network = network
        resize = "to 299 px, bilinear as TensorFlow 1's (no antialiasing, corners not aligned)"
        super().__init__({"features": POOL, "logits": CLASSES}, network.protocol(resize))

    @classmethod
    def read(cls, inputs: ExtractorInputs) -> "TfInception":
        return cls(inputs.once(read_inception_2015))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as tf_resize

        return self._network(tf_resize(channels_first(batch), size=(SIZE, SIZE), align_corners=False))
