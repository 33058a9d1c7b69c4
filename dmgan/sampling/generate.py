"""Generation of images from a user's own captions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dmgan.data.batches import centre_crop, to_uint8
from dmgan.data.sources.listing import is_unicode
from dmgan.data.vocabulary import Vocabulary, fit_caption
from dmgan.errors import UserError
from dmgan.models.interface import Generated
from dmgan.runtime.progress import log
from dmgan.runtime.randomness import generator
from dmgan.sampling.trained_model import TrainedModel, generate_images, retrieve
from dmgan.sampling.word_maps import WordWeights, word_weights
from dmgan.storage.reading import read_text

MOST_CAPTIONS, MOST_IMAGES = 1000, 100  # captions per call; images per caption, which are generated as one batch
LONGEST_CAPTION = 1000  # characters


def read_captions(path: Path) -> list[str]:
    """Return the non-empty lines of a text file; UserError if it cannot be read or has none."""
    lines = read_text(path, "give a file with one caption per line").split("\n")  # no other character ends a line
    captions = [line.strip() for line in lines if line.strip()]
    if not captions:
        raise UserError(f"{path}: holds no caption; write one caption per line")
    return captions


class OwnCaption(NamedTuple):
    """A user's caption that a text encoder can read."""

    number: int  # among the given captions
    text: str
    tokens: np.ndarray  # (length,) int32, of the known words


def encode_own_caption(vocabulary: Vocabulary, number: int, text: str) -> OwnCaption:
    """Return caption `number` with its tokens; UserError if it holds no known word or is too long to be a caption.

    Half a surrogate pair, such as a byte of the command line that is not UTF-8, is replaced by U+FFFD.
    """
    text = "".join(each if is_unicode(each) else "\ufffd" for each in text)
    if len(text) > LONGEST_CAPTION:
        raise UserError(
            f"caption {text[:40]!r}...: has {len(text)} characters; write at most {LONGEST_CAPTION} characters"
        )
    return OwnCaption(number, text, vocabulary.encode_or_refuse(text))


class CaptionImages(NamedTuple):
    """The images generated from one caption."""

    number: int  # of the caption, among the given captions
    caption: str
    words_used: list[str]  # words that the generator read
    words_unknown: list[str]  # words that the text encoder does not know
    stages: list[np.ndarray]  # one array (images_per_caption, s, s, 3) uint8 per stage, in ascending size
    generated: Generated  # images of every stage as tensors, attention and memory writing gates
    retrieved: np.ndarray | None  # (s, s, 3) uint8, the training image whose features were read; None: none was read

    def stages_of(self, image: int) -> list[np.ndarray]:
        """Return the stages (s, s, 3) uint8 of one image."""
        return [stage[image] for stage in self.stages]

    def word_weights(self, image: int) -> list[WordWeights]:
        """Return the weights of `words_used` in every attending refinement of one image."""
        return word_weights(self.generated, image, len(self.words_used))


def images_from_captions(
    trained: TrainedModel, captions: Sequence[str], images_per_caption: int, seed: int
) -> Iterator[CaptionImages]:
    """Return an iterator over the images of every caption; images of a caption differ in their noise.

    UserError, before any image is generated, if a caption holds no known word or images_per_caption is below 1.
    """
    vocabulary = trained.damsm.vocabulary
    encoded = [encode_own_caption(vocabulary, number, caption) for number, caption in enumerate(captions)]
    return images_of_encoded(trained, encoded, images_per_caption, seed)


def images_of_encoded(
    trained: TrainedModel, captions: Sequence[OwnCaption], images_per_caption: int, seed: int
) -> Iterator[CaptionImages]:
    """Return an iterator over the images of encoded captions.

    Of a caption too long for the generator, random words are read; they depend on `seed` and the caption's number.
    UserError if images_per_caption is below 1.
    """
    if images_per_caption < 1:
        raise UserError(f"images_per_caption {images_per_caption}: must be 1 or more")
    return _generate(trained, captions, trained.noise(seed, range(images_per_caption)), seed)


def _generate(
    trained: TrainedModel, captions: Sequence[OwnCaption], noise: Tensor, seed: int
) -> Iterator[CaptionImages]:
    """Yield the images of every caption for the same noise (images_per_caption, noise_dim)."""
    vocabulary = trained.damsm.vocabulary
    for number, text, tokens in captions:
        kept = fit_caption(tokens, trained.max_words, generator(seed, "own caption", number))
        unknown = vocabulary.unknown(text)
        if unknown:
            log(f"caption {text!r}: left out the unknown words {', '.join(unknown)}")
        bank, indices, retrieved = trained.memory_bank, None, None
        if bank is not None:
            indices = retrieve(trained, [kept] * len(noise))
            retrieved = centre_crop(bank.dataset, int(indices[0]), bank.dataset.image_size)
        generated = generate_images(trained, [kept] * len(noise), noise, indices)
        stages = [to_uint8(images) for images in generated.images]
        yield CaptionImages(number, text, vocabulary.decode(kept), unknown, stages, generated, retrieved)
