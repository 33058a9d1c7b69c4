"""Inspection of the images of one run: words, scores and the nearest training image of every image."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.networks.caption_encoder import CaptionEncoder
from dmgan.inspection.nearest import NearestImage, TrainingImages, read_extractor
from dmgan.inspection.scores import CaptionScorer, DamsmScorer, draw_candidates
from dmgan.sampling.generate import CaptionImages
from dmgan.sampling.trained_model import TrainedModel, read_training_set
from dmgan.sampling.word_maps import ChosenWord, darkened, refined_image, unique_labels
from dmgan.storage import files


@dataclass(frozen=True)
class ComparedWith:
    """Files of the data set and networks that images are compared with."""

    data: Path | None = None  # prepared data set; None: the one that the run was trained on
    clip: tuple[str, Path] | None = None  # name and weights of a CLIP model; None: no scores by CLIP
    classifier: Path | None = None  # species classifier; None: see nearest.read_extractor
    features: Path | None = None  # folder for the features of training images; None: they are not stored


class Word(NamedTuple):
    """A word of the caption in one refinement of an image."""

    label: str  # the word, numbered if it is repeated
    share: float | None  # of all words' attention; None: the model's attention weights give no share of a word
    gate: float | None  # mean memory writing gate; None: the model has no gate
    pixels: np.ndarray  # (s, s, 3) uint8: the refined image, darkened where the word has a low weight


class Refinement(NamedTuple):
    """The words in one refinement, in the order of the caption."""

    side: int  # of the attention maps, px
    image_side: int  # of the darkened images, px
    words: list[Word]


class InspectedImage(NamedTuple):
    """A generated image with the results of its inspection."""

    stages: list[np.ndarray]  # per stage (s, s, 3) uint8, in ascending size
    refinements: list[Refinement]  # empty: not requested, or the model does not attend to words
    scores: dict[str, float]  # by KIND(SCORER); empty: not requested
    nearest: NearestImage | None  # None: not requested
    retrieved: np.ndarray | None  # (s, s, 3) uint8, the training image whose features were read; None: none was read


class SharedNetworks:
    """Data sets, scorers and training images that the inspection of several runs shares; read at the first use."""

    def __init__(self, compared: ComparedWith, device: torch.device):
        self.compared, self.device = compared, device
        self._training_images: dict[tuple, TrainingImages] = {}

    @cached_property
    def clip(self) -> CaptionEncoder | None:
        if self.compared.clip is None:
            return None
        from dmgan.evaluation.networks.clip import ClipEncoder  # takes seconds to import

        return ClipEncoder(*self.compared.clip, self.device)

    def dataset(self, trained: TrainedModel) -> PreparedDataset | None:
        """Return the data set that a run's images are compared with; None: released weights, and no data set given."""
        if self.compared.data is not None:
            return PreparedDataset(self.compared.data)
        return read_training_set(trained.folder, trained.options) if "data_folder" in trained.options else None

    def training_images(self, trained: TrainedModel, dataset: PreparedDataset | None) -> TrainingImages:
        """Return the training images that a run's images are compared with; UserError if there is no data set."""
        if dataset is None:
            raise UserError(f"{trained.folder}: released weights name no training images; give --data FOLDER")
        extractor = read_extractor(trained.folder, self.compared.classifier, dataset, self.device)
        of_set = f"{files.json_sha256(dataset.sha256)[:12]}-{len(dataset.indices('train'))}"
        key = (of_set, extractor.name, files.json_sha256(extractor.protocol))
        if key not in self._training_images:
            store = None if self.compared.features is None else self.compared.features / of_set
            self._training_images[key] = TrainingImages(dataset, extractor, store, self.device)
        return self._training_images[key]

    def scorers(self, trained: TrainedModel, dataset: PreparedDataset | None) -> list[CaptionScorer]:
        """Return the scorers of a run's images: its own DAMSM and, if given, CLIP. Without a data set: no rank."""
        candidates = [] if dataset is None else draw_candidates(dataset, trained.damsm.vocabulary)
        found: list[CaptionScorer] = [DamsmScorer(trained, candidates)]
        if self.clip is not None:
            found.append(CaptionScorer(lambda captions: self.clip, candidates, self.device))
        return found


class Aspects(NamedTuple):
    """The inspections of an image that a user asks for; its stages are always shown."""

    attention: bool = False
    scores: bool = False
    nearest: bool = False


class Inspector:
    """Inspects the images of one run."""

    def __init__(self, trained: TrainedModel, shared: SharedNetworks):
        self.trained, self._shared = trained, shared

    @cached_property
    def dataset(self) -> PreparedDataset | None:
        """The data set that the run's images are compared with; None: released weights, and no data set given."""
        return self._shared.dataset(self.trained)

    @cached_property
    def scorers(self) -> list[CaptionScorer]:
        """The scorers of the run's images; UserError if their files are missing."""
        return self._shared.scorers(self.trained, self.dataset)

    @cached_property
    def training_images(self) -> TrainingImages:
        """The training images that the run's images are compared with; UserError if they are missing."""
        return self._shared.training_images(self.trained, self.dataset)

    def check(self, aspects: Aspects) -> None:
        """Read what `inspect` will need; UserError if a file is missing."""
        if aspects.scores:
            _ = self.scorers
        if aspects.nearest:
            _ = self.training_images

    def inspect(self, generated: CaptionImages, aspects: Aspects) -> list[InspectedImage]:
        """Return every image of one caption with the results of its inspection; UserError as in `check`."""
        last = generated.stages[-1]
        scores = [scorer.score(generated.caption, last) for scorer in self.scorers] if aspects.scores else []
        nearest = self.training_images.nearest(last) if aspects.nearest else [None] * len(last)
        return [
            InspectedImage(
                stages=generated.stages_of(image),
                refinements=self._refinements(generated, image) if aspects.attention else [],
                scores={key: value for each in scores for key, value in each.of_image(image).items()},
                nearest=nearest[image],
                retrieved=generated.retrieved,
            )
            for image in range(len(last))
        ]

    def protocols(self, aspects: Aspects) -> list[dict[str, object]]:
        """Return the protocols of the scorers and of the comparison with training images."""
        scored = [scorer.protocol() for scorer in self.scorers] if aspects.scores else []
        return [*scored, self.training_images.protocol()] if aspects.nearest else scored

    def _refinements(self, generated: CaptionImages, image: int) -> list[Refinement]:
        stages, words, model = generated.stages_of(image), generated.words_used, self.trained.model
        has_shares = model.attention_axis == "word"  # other axes give every word the same share
        found = []
        for weights in generated.word_weights(image):
            pixels = refined_image(stages, weights)
            chosen = [ChosenWord(word, float(weights.shares[place]), place) for place, word in enumerate(words)]
            gates = [None] * len(words) if weights.gates is None else weights.gates.tolist()
            cells = [
                Word(label, each.weight if has_shares else None, gate, darkened(pixels, weights.maps[each.position]))
                for label, each, gate in zip(unique_labels(chosen, words), chosen, gates, strict=True)
            ]
            found.append(Refinement(weights.maps.shape[1], pixels.shape[0], cells))
        return found
