"""Captions of sampled images: choice, order and encoding."""

from collections.abc import Callable, Iterator, Sequence, Set
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dmgan.data.coco_objects import plan_coco_images
from dmgan.data.dataset import PreparedDataset
from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.runtime.device import to_device
from dmgan.runtime.randomness import generator
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.text.encoders import padding_mask


class CaptionEncodings:
    """Encoder of captions that reuses the features of captions in the last batch."""

    def __init__(self, damsm: Damsm):
        self._damsm = damsm
        self._last: dict[bytes, tuple[Tensor, Tensor]] = {}  # features of the last batch: sentence (E,), words (E, T)

    @torch.inference_mode()
    def encode(self, captions: Sequence[np.ndarray]) -> EncodedCaptions:
        """Return the features of B captions, given as token arrays."""
        keys = [caption.tobytes() for caption in captions]
        known = {key: self._last[key] for key in keys if key in self._last}
        new = {key: caption for key, caption in zip(keys, captions, strict=True) if key not in known}
        if new:
            encoded = self._damsm.encode_captions(list(new.values()))
            features = zip(new, encoded.sentence, encoded.words, encoded.lengths.tolist(), strict=True)
            known |= {key: (sentence, words[:, :length]) for key, sentence, words, length in features}
        self._last = known
        sentence = torch.stack([known[key][0] for key in keys])
        lengths = torch.tensor([len(caption) for caption in captions])
        words = sentence.new_zeros(len(keys), sentence.shape[1], int(lengths.max()))
        for row, key, length in zip(words, keys, lengths, strict=True):
            row[:, :length] = known[key][1]
        return EncodedCaptions(sentence, words, to_device(padding_mask(lengths), sentence.device), lengths)


class CaptionChoice(NamedTuple):
    """The caption of one sampled image."""

    image: int  # number of the test image in the data set
    caption: int  # number of the caption among the captions of that image
    tokens: np.ndarray  # (length,) int32


def choose_test_caption(
    dataset: PreparedDataset,
    number: int,
    seed: int,
    max_words: int,
    read: Callable[[int, int], np.ndarray] | None = None,
) -> CaptionChoice:
    """Return the caption of sampled image `number`: a random caption of a test image.

    A pure function of its arguments. Every pass over the test images takes them in a random order of its own, so that
    the first images of a sampling, however many, are of a random part of the test images. A caption longer than
    max_words is cut to a random subset, in order. read: returns tokens of (image, caption) in the encoders' vocabulary
    (Damsm.caption_reader); None: the data set's own tokens.
    """
    indices = dataset.indices("test")
    turn, step = divmod(number, len(indices))
    index = int(indices[pass_order(len(indices), seed, turn)[step]])
    random = generator(seed, "test caption", number)
    caption = int(random.integers(dataset.caption_count(index)))
    return CaptionChoice(index, caption, fit_caption((read or dataset.tokens)(index, caption), max_words, random))


@lru_cache(maxsize=4)
def pass_order(count: int, seed: int, turn: int) -> np.ndarray:
    """Return the permutation (count,) by which pass number `turn` takes the test images."""
    return generator(seed, "order of the test images", turn).permutation(count)


def choose_soa_captions(
    dataset: PreparedDataset,
    seed: int,
    max_words: int,
    read: Callable[[int, int], np.ndarray] | None = None,
) -> tuple[list[CaptionChoice], list[int]]:
    """Return the captions of the images that SOA needs, and the COCO class number of every image.

    Arguments as in choose_test_caption. UserError if no test caption names a COCO class.
    """
    keys = [(int(image), n) for image in dataset.indices("test") for n in range(dataset.caption_count(image))]
    plan = plan_coco_images({key: dataset.caption(*key) for key in keys}, seed)
    if not plan:
        raise UserError(f"{dataset.folder}: no test caption names a COCO class; sample without --soa")
    choices = []
    for number, planned in enumerate(plan):
        tokens = (read or dataset.tokens)(planned.image, planned.caption)
        kept = fit_caption(tokens, max_words, generator(seed, "SOA caption", number))
        choices.append(CaptionChoice(planned.image, planned.caption, kept))
    return choices, [planned.class_number for planned in plan]


def unknown_words(damsm: Damsm, dataset: PreparedDataset, choices: Sequence[CaptionChoice]) -> list[str]:
    """Return the words of the chosen captions that the encoders do not know, sorted."""
    if damsm.vocabulary == dataset.vocabulary:
        return []
    texts = (dataset.caption(choice.image, choice.caption) for choice in choices)
    return sorted({word for text in texts for word in damsm.vocabulary.unknown(text)})


def batches_by_length(choices: Sequence[CaptionChoice], batch_size: int, done: Set[int]) -> Iterator[list[int]]:
    """Yield batches of image numbers that are not in `done`, sorted by caption length, with equal captions together."""
    left = (number for number in range(len(choices)) if number not in done)
    order = sorted(left, key=lambda number: (len(choices[number].tokens), choices[number].tokens.tolist(), number))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
