"""DAMSM as an encoder of images and captions."""

from collections.abc import Hashable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.evaluation.image_sets import ImageSet
from dmgan.evaluation.networks.base import CODEC, FeatureExtractor, signed
from dmgan.evaluation.networks.caption_encoder import CaptionEncoder
from dmgan.options import EvaluationOptions
from dmgan.runtime.randomness import generator
from dmgan.text.damsm import VOCABULARY, Damsm

TRAINING, HELD_OUT, RELEASED = "training DAMSM", "held-out DAMSM", "released DAMSM"
_DESCRIPTIONS = {
    TRAINING: "DAMSM, the one that trained the generators",
    HELD_OUT: "DAMSM of another seed, which no generator was trained with",
    RELEASED: "DAMSM, the released one (imported)",
}


class DamsmEmbeddings(FeatureExtractor):
    """The DAMSM's image embeddings."""

    packages = ("torch",)
    code = ("dmgan.text.damsm", "dmgan.text.encoders", "dmgan.text.efficientnet_lite", "dmgan.text.resizing")

    def __init__(self, encoders: Damsm, name: str, description: str):
        self.name, self._encoders = name, encoders
        protocol = {"feature_network": description, "feature_network_sha256": encoders.sha256, "codec": CODEC}
        super().__init__({"embeddings": encoders.options.embedding_dim}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"embeddings": self._encoders.encode_images(signed(batch))[1]}


class DamsmEncoder(CaptionEncoder):
    """DAMSM that encodes whole captions, or at most `caption_words` words of a caption."""

    def __init__(self, name: str, encoders: Damsm, dataset: PreparedDataset, folder: Path):
        self.name = name
        self.extractor = DamsmEmbeddings(encoders, name.replace(" ", "-").lower(), _DESCRIPTIONS[name])
        self._encoders, self._other_vocabulary = encoders, encoders.vocabulary != dataset.vocabulary
        self._tokens_of = encoders.caption_reader(
            dataset, f"{folder}: its vocabulary is not that of {dataset.folder}; give the encoders of this data set"
        )

    def caption(self, dataset: PreparedDataset, image: int, caption: int, options: EvaluationOptions) -> Hashable:
        tokens = self._tokens_of(image, caption)
        if options.caption_words:
            tokens = fit_caption(tokens, options.caption_words, generator(options.seed, "judged words", image, caption))
        return tuple(tokens.tolist())

    def reading(self, options: EvaluationOptions) -> str:
        words = f"{options.caption_words} words at most of each" if options.caption_words else "whole"
        if self._other_vocabulary:
            return f"{words}, encoded in the encoders' own vocabulary, unknown words left out"
        return words

    def own_captions(self, subject: ImageSet, dataset: PreparedDataset, options: EvaluationOptions) -> list[Hashable]:
        """Return each image's own caption; if shortened, the words that the generator read, if equally many.

        The release does the same.
        """
        captions = super().own_captions(subject, dataset, options)
        if subject.inputs.get("vocabulary_sha256") != self._encoders.sha256[VOCABULARY]:
            return captions
        read = [tuple(tokens.tolist()) for tokens in subject.tokens]
        return [own if len(own) == len(cut) else cut for own, cut in zip(read, captions, strict=True)]

    def encode(self, captions: list[Hashable]) -> np.ndarray:
        return sentence_features(self._encoders, [np.array(each, dtype=np.int32) for each in captions]).numpy()


def sentence_features(encoders: Damsm, captions: list[np.ndarray]) -> Tensor:
    """Return the sentence features (N, E) of captions given as token arrays, on the CPU."""
    starts = range(0, len(captions), 256)
    return torch.cat([encoders.encode_captions(captions[i : i + 256]).sentence.cpu() for i in starts])


def read_damsm_encoders(
    training: Damsm, folder: Path, held_out: Path | None, dataset: PreparedDataset, device: torch.device
) -> list[DamsmEncoder]:
    """Return the DAMSM that trained the generators (or was released with them), and the held-out DAMSM, if any."""
    encoders = [DamsmEncoder(RELEASED if training.imported else TRAINING, training, dataset, folder)]
    if held_out is not None:
        other = Damsm.read(held_out).to(device)
        if other.sha256["image_encoder.safetensors"] == training.sha256["image_encoder.safetensors"]:
            raise UserError(f"{held_out}: is the DAMSM of {folder}; a held-out DAMSM must be of another seed")
        encoders.append(DamsmEncoder(HELD_OUT, other, dataset, held_out))
    return encoders
