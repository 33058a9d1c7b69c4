"""Scores of images against a user's caption, by encoders of images and captions.

The encoders are those of R-precision. An image's caption is ranked among 99 test captions, as in R-precision, which is
the share of images of rank 1. The 99 captions are the same for every caption and image.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import Vocabulary
from dmgan.evaluation.captions_file import CaptionLine
from dmgan.evaluation.free_captions import FreeCaptions
from dmgan.evaluation.networks.base import FeatureExtractor, signed
from dmgan.evaluation.networks.caption_encoder import CaptionEncoder
from dmgan.evaluation.networks.damsm import read_damsm_encoders
from dmgan.evaluation.statistics.retrieval import CANDIDATES, mismatched_captions, pool_of_test_captions
from dmgan.options import EvaluationOptions, MatchingOptions
from dmgan.sampling.trained_model import TrainedModel
from dmgan.text.damsm import Damsm
from dmgan.training.damsm_loss import pack_words, pad_words, word_scores

SIMILARITY, WORD_SCORE, RANK = "similarity", "word score", f"rank of {CANDIDATES}"
MEANINGS = {
    SIMILARITY: "cosine of the embeddings of image and caption, -1 to 1; higher is better",
    WORD_SCORE: "R(Q, D) of AttnGAN Eq. 10, times gamma2, over the caption's known words; higher is better",
    RANK: f"place of the caption, by similarity, among itself and {CANDIDATES - 1} test captions; 1 is the best",
}
_OPTIONS = EvaluationOptions()
_NO_CLASS = -1  # a user's caption is of no class of the test captions


class Scores(NamedTuple):
    """Scores of B images of one caption, by one encoder."""

    scorer: str  # name of the encoder
    values: dict[str, np.ndarray]  # by kind, a key of MEANINGS: (B,)

    def of_image(self, image: int) -> dict[str, float]:
        """Return the scores of one image as KIND(SCORER): value; a rank is a whole number."""
        return {f"{kind}({self.scorer})": each[image].item() for kind, each in self.values.items()}


class CaptionScorer:
    """Scores images against a caption by one encoder of images and captions."""

    def __init__(
        self, encoder_of: Callable[[FreeCaptions], CaptionEncoder], candidates: Sequence[str], device: torch.device
    ):
        """encoder_of: returns the encoder that reads given captions; candidates: test captions; none: no rank."""
        self._encoder_of, self._candidates, self._device = encoder_of, list(candidates), device

    def score(self, caption: str, images: np.ndarray) -> Scores:
        """Return the scores of images (B, s, s, 3) uint8 against a caption with a word that the encoder knows."""
        captions = _captions([caption, *self._candidates])
        encoder = self._encoder_of(captions)
        distinct = encoder.encode([encoder.caption(captions, row, 0, _OPTIONS) for row in range(len(captions))])
        embeddings = image_features(encoder.extractor, images, "embeddings", self._device)
        cosines = _unit(embeddings) @ _unit(distinct).T[:, captions.rows]  # an equal caption has an equal cosine
        values = {SIMILARITY: cosines[:, 0]}
        if self._candidates:
            values[RANK] = 1 + (cosines[:, 1:] > cosines[:, :1]).sum(axis=1)
        return Scores(encoder.name, values)

    def protocol(self) -> dict[str, object]:
        """Return the encoder's protocol, and the number and hash of the candidates."""
        captions = _captions(self._candidates)
        encoder = self._encoder_of(captions)
        return {
            "scorer": encoder.name,
            **encoder.extractor.protocol,
            "captions": encoder.reading(_OPTIONS),
            "candidates": CANDIDATES if self._candidates else None,
            "candidates_sha256": captions.captions_sha256 if self._candidates else None,
        }


class DamsmScorer(CaptionScorer):
    """Scores by the DAMSM of a run: also by words."""

    def __init__(self, trained: TrainedModel, candidates: Sequence[str]):
        self._damsm, self.gammas = trained.damsm, _gammas(trained)
        super().__init__(partial(_damsm_encoder, trained), candidates, trained.device)

    def score(self, caption: str, images: np.ndarray) -> Scores:
        scores = super().score(caption, images)
        by_word = _word_scores(self._damsm, images, self._damsm.vocabulary.encode(caption), self.gammas)
        return scores._replace(values={WORD_SCORE: by_word, **scores.values})

    def protocol(self) -> dict[str, object]:
        return {**super().protocol(), "gamma1": self.gammas.gamma1, "gamma2": self.gammas.gamma2}


def draw_candidates(dataset: PreparedDataset, vocabulary: Vocabulary) -> list[str]:
    """Return 99 random test captions, drawn with replacement among those with a word of the vocabulary.

    A pure function of the arguments; empty if no test caption has a known word.
    """
    pool, classes = pool_of_test_captions(dataset)
    if vocabulary != dataset.vocabulary:
        kept = [row for row, each in enumerate(pool) if len(vocabulary.encode(dataset.caption(*each)))]
        pool, classes = [pool[row] for row in kept], classes[kept]
    if not pool:
        return []
    (rows,) = mismatched_captions(np.array([_NO_CLASS]), classes, _OPTIONS.seed)
    return [dataset.caption(*pool[row]) for row in rows]


@torch.inference_mode()
def image_features(extractor: FeatureExtractor, images: np.ndarray, array: str, device: torch.device) -> np.ndarray:
    """Return an extractor's output `array` (B, D) for images (B, s, s, 3) uint8."""
    prepared = images if extractor.prepare is None else np.stack([extractor.prepare(each) for each in images])
    return extractor.forward(torch.tensor(prepared, device=device))[array].float().cpu().numpy()


@torch.inference_mode()
def _word_scores(damsm: Damsm, images: np.ndarray, tokens: np.ndarray, gammas: MatchingOptions) -> np.ndarray:
    """Return the word scores (B,) of images (B, s, s, 3) uint8 with one caption."""
    device = damsm.text_encoder.encoder.weight.device
    regions, _ = damsm.encode_images(signed(torch.from_numpy(images).to(device)))
    captions = damsm.encode_captions([tokens])
    packed = regions.device.type == "cpu"
    words = pack_words(captions.words, captions.lengths) if packed else pad_words(captions.words, captions.mask)
    scores: Tensor = word_scores(regions, words, gammas.gamma1, gammas.gamma2)
    return scores[:, 0].cpu().numpy()


def _captions(texts: Sequence[str]) -> FreeCaptions:
    return FreeCaptions(Path("captions"), [CaptionLine(text, None, None) for text in texts], None, "captions")


def _damsm_encoder(trained: TrainedModel, captions: FreeCaptions) -> CaptionEncoder:
    return read_damsm_encoders(trained.damsm, trained.folder, None, captions, trained.device)[0]


def _gammas(trained: TrainedModel) -> MatchingOptions:
    """Return the smoothing factors of a run; the papers' for imported weights, which do not state them."""
    return MatchingOptions(**trained.options["gammas"]) if "gammas" in trained.options else MatchingOptions()


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings (N, E) of length 1, in float64."""
    embeddings = embeddings.astype(np.float64)
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-8)
