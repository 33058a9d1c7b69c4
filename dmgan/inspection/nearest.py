"""The training image nearest to a generated image, by the features of one extractor."""

import tempfile
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dmgan.data.batches import centre_crop, to_tensor
from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.table import find_source
from dmgan.evaluation.feature_store import extract
from dmgan.evaluation.image_sets import RealImages
from dmgan.evaluation.memorisation import feature_distance, pixel_distance
from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor
from dmgan.evaluation.networks.table import read_extractors
from dmgan.inspection.scores import image_features
from dmgan.runtime.progress import log
from dmgan.storage.reading import read_object

_FEATURES = "features"
SPECIES, PHOTOGRAPHS = "species", "efficientnet-lite0"  # extractors that download nothing


class NearestImage(NamedTuple):
    """The training image nearest to a generated image."""

    name: str  # in the data set's source
    caption: str  # its first caption
    pixels: np.ndarray  # (s, s, 3) uint8, centre crop
    distance: float  # 1 minus the cosine of the features
    pixel_distance: float | None  # root mean squared difference, black to white is 1; None: the sides differ

    def as_scores(self, extractor: str) -> dict[str, object]:
        """Return name and distances by the names of their columns."""
        found = {"nearest training image": self.name, f"distance({extractor})": self.distance}
        return found if self.pixel_distance is None else {**found, "distance(pixels)": self.pixel_distance}


class TrainingImages:
    """The training images of a data set, with their features by one extractor; computed at the first use."""

    def __init__(self, dataset: PreparedDataset, extractor: FeatureExtractor, store: Path | None, device: torch.device):
        """store: folder of stored features, which are computed if they are missing; None: they are not stored."""
        self.dataset, self.extractor, self._store, self._device = dataset, extractor, store, device
        self._numbers = dataset.indices("train")

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def is_computed(self) -> bool:
        """Whether the features are in RAM."""
        return "features" in vars(self)

    @cached_property
    def features(self) -> torch.Tensor:
        """Features (N, D) of the centre crops of all training images."""
        log(f"{self.dataset.folder}: features of {len(self):,} training images by {self.extractor.name}")
        images = RealImages(self.dataset, self._numbers, self.dataset.image_size)
        with tempfile.TemporaryDirectory(prefix="dmgan-") as temporary:
            folder = Path(temporary) if self._store is None else self._store
            stored = extract(images, len(self), [self.extractor], folder, self._device)
            return torch.from_numpy(stored[self.extractor.name][_FEATURES].all())

    def nearest(self, images: np.ndarray) -> list[NearestImage]:
        """Return the nearest training image of every image (B, s, s, 3) uint8; on a tie, the first in the data set."""
        outputs = torch.from_numpy(image_features(self.extractor, images, _FEATURES, self._device))
        found = []
        for pixels, output in zip(images, outputs, strict=True):
            distances = feature_distance(output[None], self.features)
            place = int(distances.argmin())
            found.append(self._described(int(self._numbers[place]), float(distances[place]), pixels))
        return found

    def _described(self, index: int, distance: float, output: np.ndarray) -> NearestImage:
        pixels = centre_crop(self.dataset, index, self.dataset.image_size)
        in_pixels = None
        if output.shape == pixels.shape:
            in_pixels = float(pixel_distance(to_tensor([output]), to_tensor([pixels])))
        return NearestImage(self.dataset.name(index), self.dataset.caption(index, 0), pixels, distance, in_pixels)

    def protocol(self) -> dict[str, object]:
        """Return the extractor's protocol, and the data set whose training images are compared."""
        compared = {"training_images": len(self), "data_sha256": self.dataset.sha256}
        return {"extractor": self.extractor.name, **self.extractor.protocol, **compared}


def read_extractor(
    run: Path, classifier: Path | None, dataset: PreparedDataset, device: torch.device
) -> FeatureExtractor:
    """Return the extractor that training images of a run are compared by.

    The features of the species classifier `classifier`. If it is None: of EfficientNet-lite0, which is installed with
    the project, for photographs; for drawn images of the classifier in the run's results folder ({dataset}/species) if
    it was trained on the data set, else of EfficientNet-lite0.
    """
    if classifier is None and PHOTOGRAPHS not in find_source(dataset.description["source"]["name"]).extractors:
        beside = run.absolute().parent.parent / SPECIES
        classifier = beside if _was_trained_on(beside, dataset) else None
    inputs = ExtractorInputs(classifier, Path("downloads"), device)
    name = PHOTOGRAPHS if classifier is None else SPECIES
    return read_extractors((name,), inputs)[name]


def _was_trained_on(classifier: Path, dataset: PreparedDataset) -> bool:
    if not (classifier / "options.json").exists():
        return False
    written = read_object(classifier / "options.json", "train the classifier again", {"inputs?": dict})
    return written.get("inputs", {}).get("data") == dataset.sha256
