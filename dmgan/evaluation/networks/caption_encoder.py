"""Interface of an encoder of images and captions into one space, for R-precision."""

from abc import ABC, abstractmethod
from collections.abc import Hashable

import numpy as np

from dmgan.data.dataset import PreparedDataset
from dmgan.evaluation.image_sets import ImageSet
from dmgan.evaluation.networks.base import FeatureExtractor
from dmgan.options import EvaluationOptions


class CaptionEncoder(ABC):
    """Encodes captions; its `extractor` stores image embeddings in the array "embeddings".

    The own caption of an image and the mismatched captions are encoded in the same way, whatever words the generator
    read, so that the task is the same for all models and control rows.
    """

    name: str  # in a metric's key: R-precision(NAME)
    extractor: FeatureExtractor

    @abstractmethod
    def caption(self, dataset: PreparedDataset, image: int, caption: int, options: EvaluationOptions) -> Hashable:
        """Return a test caption in the form that `encode` takes."""

    @abstractmethod
    def reading(self, options: EvaluationOptions) -> str:
        """Return a description of the part of a caption that is encoded, for the protocol."""

    @abstractmethod
    def encode(self, captions: list[Hashable]) -> np.ndarray:
        """Return the embeddings (N, E) of captions."""

    def own_captions(self, subject: ImageSet, dataset: PreparedDataset, options: EvaluationOptions) -> list[Hashable]:
        """Return each image's own caption."""
        places = zip(subject.test_images, subject.captions, strict=True)
        return [self.caption(dataset, *each, options) for each in places]
