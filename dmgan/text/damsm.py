"""The DAMSM: a pretrained pair of text and image encoder (AttnGAN, section 3.2)."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import Vocabulary, pad_captions
from dmgan.errors import UserError
from dmgan.options import DamsmOptions, from_dict
from dmgan.runtime.device import to_device
from dmgan.storage import files
from dmgan.storage.reading import read_object
from dmgan.storage.weights import build_network
from dmgan.text.encoders import ImageEncoder, TextEncoder, build_image_encoder, padding_mask
from dmgan.text.resizing import resized

TEXT_ENCODER, IMAGE_ENCODER, VOCABULARY = "text_encoder.safetensors", "image_encoder.safetensors", "vocabulary.json"
HASHED = (TEXT_ENCODER, IMAGE_ENCODER, VOCABULARY)  # files whose hashes a run records


class EncodedCaptions(NamedTuple):
    """Features of B captions, the input of a generator."""

    sentence: Tensor  # (B, E)
    words: Tensor  # (B, E, T)
    mask: Tensor  # (B, T) true at padding
    lengths: Tensor | None = None  # (B,) on the CPU; None: only the mask tells which words are padding
    tokens: Tensor | None = None  # (B, T) token ids, if known

    def rows(self, rows: slice | Tensor) -> "EncodedCaptions":
        """Return the captions in `rows`: a slice, or a CPU tensor of row numbers."""
        return EncodedCaptions(*(None if each is None else each[rows] for each in self))

    def padded_to(self, length: int) -> "EncodedCaptions":
        """Return the captions padded to `length` words; the mask hides the padding."""
        more = length - self.words.shape[2]
        words, mask = F.pad(self.words, (0, more)), F.pad(self.mask, (0, more), value=True)
        tokens = None if self.tokens is None else F.pad(self.tokens, (0, more))
        return self._replace(words=words, mask=mask, tokens=tokens)


class Damsm(NamedTuple):
    """A pretrained, frozen pair of encoders and the vocabulary that belongs to them."""

    text_encoder: TextEncoder
    image_encoder: ImageEncoder
    vocabulary: Vocabulary
    options: DamsmOptions
    sha256: dict[str, str]
    imported: bool = False  # whether the weights are released weights

    @classmethod
    def read(cls, folder: Path) -> "Damsm":
        """Read the folder that `pretrain` wrote; the returned encoders are frozen and in evaluation mode."""
        folder = Path(folder)
        hint = "pretrain the encoders: python -m dmgan pretrain --data FOLDER --out " + str(folder)
        written = read_object(folder / "options.json", hint, {"options": dict, "imported?": bool})
        options = from_dict(DamsmOptions, written["options"], str(folder / "options.json"))
        vocabulary = Vocabulary.read(folder / VOCABULARY)
        text_encoder = build_network(
            lambda: TextEncoder(len(vocabulary), options.embedding_dim, options.dropout), folder / TEXT_ENCODER, hint
        )
        image_encoder = build_network(
            lambda: build_image_encoder(
                options.image_encoder, options.embedding_dim, options.width, options.trunk_size
            ),
            folder / IMAGE_ENCODER,
            hint,
        )
        for encoder in (text_encoder, image_encoder):
            encoder.eval().requires_grad_(False)
        sha256 = {name: files.file_sha256(folder / name) for name in HASHED}
        return cls(text_encoder, image_encoder, vocabulary, options, sha256, written.get("imported", False))

    @classmethod
    def read_for(cls, dataset: PreparedDataset, folder: Path) -> "Damsm":
        """Read the encoders for training on `dataset`; UserError if they were pretrained with another vocabulary."""
        damsm = cls.read(folder)
        if damsm.vocabulary != dataset.vocabulary:
            raise UserError(
                f"{folder}: has another vocabulary than {dataset.folder}; pretrain the encoders on this data set"
            )
        return damsm

    def to(self, device: torch.device) -> "Damsm":
        """Move both encoders to `device`."""
        self.text_encoder.to(device)
        self.image_encoder.to(device)
        return self

    def caption_reader(self, dataset: PreparedDataset, refusal: str) -> Callable[[int, int], np.ndarray]:
        """Return a function (image, caption) -> token ids (length,) int32 in these encoders' vocabulary.

        If the vocabularies differ, released encoders tokenise the captions again and leave out unknown words; a caption
        without a known word raises UserError. For encoders of this project, raise UserError(refusal) instead. Captions
        of no data set (vocabulary None) are tokenised by all encoders.
        """
        if self.vocabulary == dataset.vocabulary:
            return dataset.tokens
        if dataset.vocabulary is not None and not self.imported:
            raise UserError(refusal)

        def read(image: int, caption: int) -> np.ndarray:
            text = dataset.caption(image, caption)
            tokens = self.vocabulary.encode(text)
            if not len(tokens):
                raise UserError(
                    f"{dataset.folder}: caption {caption} of {dataset.name(image)} ({text!r}) holds no word that the "
                    "encoders know; give encoders of these captions"
                )
            return tokens

        return read

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return regions (B, E, h, w) and embeddings (B, E) of images (B, 3, s, s) in [-1, 1] of any side.

        Images are resized to the encoder's training side; encoders with ImageNet weights resize them themselves.
        """
        if not self.image_encoder.resizes_images:
            images = resized(images, self.options.image_size)
        return self.image_encoder(images)

    @torch.no_grad()
    def encode(self, tokens: Tensor, lengths: Tensor) -> EncodedCaptions:
        """Return the features of captions; tokens (B, T') padded with 0, lengths (B,)."""
        device = self.text_encoder.encoder.weight.device
        tokens, mask = to_device(tokens, device), to_device(padding_mask(lengths), device)
        words, sentence = self.text_encoder(tokens, lengths)
        return EncodedCaptions(sentence, words, mask, lengths, tokens[:, : mask.shape[1]])

    def encode_captions(self, captions: list[np.ndarray]) -> EncodedCaptions:
        """Return the features of captions that are given as token arrays."""
        tokens, lengths = pad_captions(captions)
        return self.encode(torch.from_numpy(tokens), torch.from_numpy(lengths))
