"""Validation during training: snapshots of a generator, measured on held-out images of the training classes.

One image is generated for each held-out image: its caption and its noise are a pure function of the held-out image, the
same at every step and for every model, so that curves are comparable. FID is against the held-out images, R-precision
chooses among captions of held-out images. The few images bias FID upwards, by the same amount at every step: it ranks
steps, and does not compare with FID of the test set.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from dmgan.data.batches import to_uint8
from dmgan.data.dataset import PreparedDataset
from dmgan.data.validation import SEED, ValidationSplit, cut_validation_split
from dmgan.errors import UserError
from dmgan.evaluation.feature_store import StoredFeatures, features_in_ram
from dmgan.evaluation.image_sets import ImageSet, RealImages
from dmgan.evaluation.metrics.base import Measurement
from dmgan.evaluation.metrics.table import metrics
from dmgan.evaluation.networks.loaded import EvaluationNetworks, NetworkFiles
from dmgan.models.registry import build_model, find
from dmgan.models.retrieval import MemoryBank
from dmgan.models.vgg import feature_network
from dmgan.options import EvaluationOptions, SamplingOptions, TrainingSettings
from dmgan.sampling.captions import CaptionChoice, batches_by_length, choose_test_caption
from dmgan.sampling.inference import InferenceGenerator
from dmgan.sampling.sample import generate_batches
from dmgan.sampling.trained_model import TrainedModel, retrieve
from dmgan.storage.weights import load_weights
from dmgan.text.damsm import VOCABULARY
from dmgan.training.train import TrainingInputs

# Other weights at every measurement would need another CUDA graph.
_SAMPLING = SamplingOptions(cuda_graphs=False, workers=0)
_CAPTIONS = "one caption of every held-out image; mismatched captions are of held-out images"


class ImagesInRam:
    """Images (N, s, s, 3) uint8 in RAM."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def __call__(self, number: int) -> np.ndarray:
        return self.pixels[number]

    def name(self, number: int) -> str:
        return f"validation image {number}"


class Validator:
    """Measures weights of one model on a validation split, with a generator of its own.

    The generator has its own memory, so that a measurement cannot change the model that is trained.
    """

    def __init__(self, generator: TrainedModel, split: ValidationSplit, networks: EvaluationNetworks):
        """generator: the model, whose weights are read at every measurement."""
        self._generator, self._split = generator, split
        built = [kind.build(networks) for kind in metrics().values() if kind.facts.in_validation]
        self._metrics = [each for some in built for each in some]
        self._extractors = list(dict.fromkeys(each.extractor for each in self._metrics))
        self._reference = [each for each in self._extractors if each in networks.extractors.values()]
        ranking = [each.key for each in self._metrics if each.facts.better == "down"]
        if not ranking:
            raise UserError(
                f"--extractors {' '.join(networks.extractors)}: none of them has FID, which evaluate_every measures; "
                "give another extractor"
            )
        self.criterion = ranking[0]

    @classmethod
    def read(
        cls,
        name: str,
        settings: TrainingSettings,
        inputs: TrainingInputs,
        network_files: NetworkFiles,
        out: Path,
        device: torch.device,
    ) -> "Validator":
        """Return the validator of a training of model `name` into the run folder `out`; read all networks."""
        dataset, options = PreparedDataset(inputs.data), settings.training
        split = cut_validation_split(dataset, options.held_out(len(dataset.indices("train"))))
        networks = EvaluationNetworks.read(network_files, split.validation, device)
        damsm = networks.damsm
        with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at every measurement
            model = build_model(name, settings.architecture, damsm.options.embedding_dim)
        model.to(device).eval().requires_grad_(False)
        bank = None
        if find(name).retrieves:
            features = feature_network(settings.architecture.feature_network, inputs.vgg16_weights)
            bank = MemoryBank(split.training, damsm, features, settings.matching, options.max_words)
        generator = TrainedModel(name, model, damsm, options.max_words, {}, Path(out), device, bank)
        return cls(generator, split, networks)

    @property
    def num_images(self) -> int:
        """Number of held-out images, and of generated images of a measurement."""
        return len(self._held_out)

    @property
    def protocol(self) -> dict[str, object]:
        """Images, captions and seed of the measurements, and each metric's network with the hash of its weights."""
        networks = {each.key: each.extractor.protocol for each in self._metrics}
        return {"images": self.num_images, "seed": SEED, "captions": _CAPTIONS, "metrics": networks}

    def measure(self, weights: Path) -> dict[str, float]:
        """Return the value of each metric, by METRIC(READER), of the generator with the weights of a file."""
        images = ImagesInRam(self._images(weights))
        stored = features_in_ram(images, len(images.pixels), self._extractors, self._generator.device)
        rows, options = np.arange(self.num_images), EvaluationOptions(seed=SEED)
        subject = self._subject(images)
        measurement = Measurement(subject, self._split.validation, options, stored, self._real, rows)
        return {each.key: each.value(measurement) for each in self._metrics}

    def _images(self, weights: Path) -> np.ndarray:
        """Return the last stage's images (N, s, s, 3) uint8 of all validation captions."""
        generator, side = self._generator, self._generator.model.architecture.image_size
        load_weights(generator.model, weights, "delete checkpoint.pt to train again")
        model = InferenceGenerator(generator.model, _SAMPLING, generator.device, generator.max_words)
        pixels = np.empty((self.num_images, side, side, 3), np.uint8)
        batches = batches_by_length(self._choices, _SAMPLING.batch_size, set())
        for numbers, images in generate_batches(generator, model, self._choices, self._retrieved, SEED, batches):
            pixels[numbers] = to_uint8(images[-1])
        return pixels

    # Computed at the first measurement, after the training has chosen the GPU's algorithms.

    @property
    def _held_out(self) -> np.ndarray:
        return self._split.validation.indices("test")

    @cached_property
    def _choices(self) -> Sequence[CaptionChoice]:
        dataset, max_words = self._split.validation, self._generator.max_words
        return [choose_test_caption(dataset, number, SEED, max_words) for number in range(self.num_images)]

    @cached_property
    def _retrieved(self) -> np.ndarray | None:
        """The training image that each caption retrieves; None if the model does not retrieve."""
        if self._generator.memory_bank is None:
            return None
        return retrieve(self._generator, [choice.tokens for choice in self._choices])

    @cached_property
    def _real(self) -> dict[str, StoredFeatures]:
        """Features of the held-out images."""
        dataset = self._split.validation
        images = RealImages(dataset, self._held_out, dataset.image_size)
        return features_in_ram(images, self.num_images, self._reference, self._generator.device)

    def _subject(self, images: ImagesInRam) -> ImageSet:
        """Return generated images with their captions."""
        generator = self._generator
        return ImageSet(
            kind="model",
            name=generator.name,
            seed=None,
            size=generator.model.architecture.image_size,
            read=images,
            test_images=np.array([choice.image for choice in self._choices]),
            captions=np.array([choice.caption for choice in self._choices]),
            tokens=[choice.tokens for choice in self._choices],
            reference=self._held_out,
            reference_name="all held-out training images, centre crop",
            inputs={"vocabulary_sha256": generator.damsm.sha256[VOCABULARY]},
        )
