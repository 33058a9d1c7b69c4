"""The captions of sampled images: their choice, order and encoding."""

from collections.abc import Callable, Iterator, Sequence, Set
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.data.coco_objects import plan_coco_images
from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.runtime.randomness import generator
from dmgan.sampling.trained_model import TrainedModel
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.text.encoders import padding_mask


class CaptionEncodings:
    """Encodes every distinct caption once, for batches in an order in which equal captions follow one another."""

    def __init__(self, damsm: Damsm):
        self._damsm = damsm
        self._last: dict[bytes, tuple[Tensor, Tensor]] = {}  # of the last batch: sentence (E,), words (E, T)

    @torch.inference_mode()
    def encode(self, captions: Sequence[np.ndarray]) -> EncodedCaptions:
        """Features of B captions (token arrays)."""
        keys = [caption.tobytes() for caption in captions]
        known = {key: self._last[key] for key in keys if key in self._last}
        new = {key: caption for key, caption in zip(keys, captions, strict=True) if key not in known}
        if new:
            encoded = self._damsm.encode_captions(list(new.values()))
            each = zip(new, encoded.sentence, encoded.words, encoded.lengths.tolist(), strict=True)
            known |= {key: (sentence, words[:, :length]) for key, sentence, words, length in each}
        self._last = known
        sentence = torch.stack([known[key][0] for key in keys])
        lengths = torch.tensor([len(caption) for caption in captions])
        words = sentence.new_zeros(len(keys), sentence.shape[1], int(lengths.max()))
        for row, key, length in zip(words, keys, lengths, strict=True):
            row[:, :length] = known[key][1]
        return EncodedCaptions(sentence, words, padding_mask(lengths).to(sentence.device), lengths)


class CaptionChoice(NamedTuple):
    """The caption of one sampled image."""

    image: int  # number of the test image in the data set
    caption: int  # which of its captions
    tokens: np.ndarray  # (length,) int32


def choose_test_caption(
    dataset: PreparedDataset,
    number: int,
    seed: int,
    max_words: int,
    read: Callable[[int, int], np.ndarray] | None = None,
) -> CaptionChoice:
    """The caption of sampled image `number`: passes over the test images, a random caption each time.

    A pure function of its arguments; of a longer caption a random ordered subset of max_words is kept. `read` gives
    the tokens of (image, caption) where they are not the data set's own (Damsm.caption_reader).
    """
    indices = dataset.indices("test")
    index = int(indices[number % len(indices)])
    random = generator(seed, "test caption", number)
    caption = int(random.integers(dataset.caption_count(index)))
    return CaptionChoice(index, caption, fit_caption((read or dataset.tokens)(index, caption), max_words, random))


def choose_soa_captions(
    dataset: PreparedDataset,
    seed: int,
    max_words: int,
    read: Callable[[int, int], np.ndarray] | None = None,
) -> tuple[list[CaptionChoice], list[int]]:
    """The captions of the images that SOA asks for, and the number of the COCO class that each is made for."""
    keys = [(int(image), n) for image in dataset.indices("test") for n in range(dataset.caption_count(image))]
    plan = plan_coco_images({key: dataset.caption(*key) for key in keys}, seed)
    if not plan:
        raise UserError(f"{dataset.folder}: no test caption names an object of COCO; sample without --soa")
    choices = []
    for number, each in enumerate(plan):
        tokens = (read or dataset.tokens)(each.image, each.caption)
        kept = fit_caption(tokens, max_words, generator(seed, "SOA caption", number))
        choices.append(CaptionChoice(each.image, each.caption, kept))
    return choices, [each.class_number for each in plan]


def _unknown_words(trained: TrainedModel, dataset: PreparedDataset, choice: CaptionChoice) -> list[str]:
    if trained.damsm.vocabulary == dataset.vocabulary:
        return []
    return trained.damsm.vocabulary.unknown(dataset.caption(choice.image, choice.caption))


def _by_length(choices: Sequence[CaptionChoice], batch_size: int, done: Set[int]) -> Iterator[list[int]]:
    """Numbers of the images that are not done, in batches of captions of like length; equal captions follow another."""
    left = (number for number in range(len(choices)) if number not in done)
    order = sorted(left, key=lambda number: (len(choices[number].tokens), choices[number].tokens.tolist(), number))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
