"""Generation and inspection for the page of `serve`: captions, models and seeds in, HTML out."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import torch

from dmgan.data.vocabulary import Vocabulary
from dmgan.errors import UserError
from dmgan.inspection import page
from dmgan.inspection.inspector import Aspects, ComparedWith, Inspector, SharedNetworks
from dmgan.inspection.runs import FoundRun
from dmgan.runtime.progress import log
from dmgan.sampling.generate import LONGEST_CAPTION, images_from_captions
from dmgan.sampling.trained_model import load_run
from dmgan.storage.reading import read_object
from dmgan.text.damsm import VOCABULARY

MOST_MODELS, MOST_SEEDS = 6, 6  # of one request
_LARGEST_SEED = 2**31 - 1
_SEED = re.compile(r"[0-9]{1,10}")  # Python refuses to convert numbers of thousands of digits
_LOADED_AT_ONCE = 8  # models; the model that was used longest ago is dropped


class PageRequest(NamedTuple):
    """The inputs of the page when a user presses Generate."""

    caption: str
    labels: Sequence[str]  # of the models
    seeds: str  # whole numbers, separated by spaces or commas
    aspects: Aspects


class Playground:
    """The runs that the page offers; models are read at the first use."""

    def __init__(self, runs: Sequence[FoundRun], compared: ComparedWith, device: torch.device, seconds: float):
        """seconds: time after which a request generates no further image."""
        self.runs = {run.label: run.folder for run in runs}
        self.seconds, self._device = seconds, device
        self._shared = SharedNetworks(compared, device)
        self._threads = torch.get_num_threads()
        self._inspector = lru_cache(maxsize=_LOADED_AT_ONCE)(self._read_inspector)
        self._vocabulary = lru_cache(maxsize=None)(self._read_vocabulary)

    def example_captions(self, count: int) -> list[str]:
        """Return captions of `count` test images of the first run's data set; none if the data set is not there."""
        try:
            dataset = self._inspector(next(iter(self.runs))).dataset
        except UserError as error:
            log(f"no test captions to choose from: {error}")
            return []
        if dataset is None:
            return []
        test = dataset.indices("test")
        return [dataset.caption(int(test[place * len(test) // count]), 0) for place in range(count)]

    def unknown_words(self, caption: str, labels: Sequence[str]) -> str:
        """Return a line of HTML that names the words that a chosen model does not know; "" if there is none."""
        unknown: dict[tuple[str, ...], list[str]] = {}
        try:
            for label in labels:
                words = self._vocabulary(label).unknown(caption[:LONGEST_CAPTION])
                unknown.setdefault(tuple(dict.fromkeys(words)), []).append(label)
        except UserError as error:
            return page.message(str(error))
        lines = []
        for words, of in unknown.items():
            models = "" if len(unknown) == 1 else f" ({', '.join(of)})"
            lines += [page.note(f"Unknown words, left out{models}: {', '.join(words)}.")] if words else []
        return "".join(lines)

    def answer(self, request: PageRequest) -> Iterator[str]:
        """Yield the page's HTML after every image; the HTML of bad input is a message."""
        # PyTorch keeps this setting per thread, and the server's threads start without it. The bits of an image depend
        # on it.
        torch.set_num_threads(self._threads)
        messages: list[str] = []
        cards: list[str] = []
        try:
            seeds, labels = read_seeds(request.seeds), self._chosen(request)
            left, spent = len(seeds) * len(labels), 0.0
            for label in labels:
                for progress in self._prepare(label, request.aspects):
                    yield _html([*messages, page.note(f"{label}: {progress}")], cards)
                for done, seed in enumerate(seeds):
                    if spent > self.seconds:
                        raise UserError(
                            f"stopped after {spent:.0f} seconds, with {left} images left; choose fewer models or "
                            "seeds, or start serve with a larger --seconds"
                        )
                    started = time.monotonic()
                    try:
                        cards.append(self._card(label, request, seed))
                    except UserError as error:
                        messages.append(page.message(f"{label}: {error}"))
                        left -= len(seeds) - done
                        break
                    spent, left = spent + time.monotonic() - started, left - 1
                    yield _html(messages, cards)
        except UserError as error:
            messages.append(page.message(str(error)))
        yield _html(messages, cards)

    def _chosen(self, request: PageRequest) -> list[str]:
        """Return the labels of the chosen models; UserError if there are none, too many, or unknown models."""
        if not 1 <= len(request.labels) <= MOST_MODELS:
            raise UserError(f"{len(request.labels)} models: choose from 1 to {MOST_MODELS}")
        if unknown := [label for label in request.labels if label not in self.runs]:
            raise UserError(f"{unknown[0]}: is not a model of this page; reload the page")
        return list(request.labels)

    def _prepare(self, label: str, aspects: Aspects) -> Iterator[str]:
        """Yield what is done before the first image of a model, then do it."""
        yield "generating ..."
        with suppress(UserError):  # raised again, and shown, by the first image
            images = self._inspector(label).training_images if aspects.nearest else None
            if images is not None and not images.is_computed:
                yield f"computing the features of {len(images):,} training images, once ..."
                _ = images.features

    def _card(self, label: str, request: PageRequest, seed: int) -> str:
        """Return the card of one model and seed."""
        inspector = self._inspector(label)
        (generated,) = images_from_captions(inspector.trained, [request.caption], 1, seed)
        (image,) = inspector.inspect(generated, request.aspects)
        words = page.words_line(generated.words_used, generated.words_unknown)
        return page.card(f"{label}, noise seed {seed}", words, image)

    def _read_inspector(self, label: str) -> Inspector:
        return Inspector(load_run(self.runs[label], self._device), self._shared)

    def _read_vocabulary(self, label: str) -> Vocabulary:
        folder = self.runs[label]
        written = read_object(folder / "options.json", "train it again", {"damsm_folder": str})
        return Vocabulary.read(folder / written["damsm_folder"] / VOCABULARY)


def read_seeds(text: str) -> list[int]:
    """Return the seeds in a text such as "100, 101", without repetitions; UserError if one is invalid, or too many."""
    words = text.replace(",", " ").split()
    if not all(_SEED.fullmatch(word) and int(word) <= _LARGEST_SEED for word in words):
        raise UserError(f"seeds {text!r}: must be whole numbers from 0 to {_LARGEST_SEED}, such as 100 101")
    seeds = list(dict.fromkeys(map(int, words)))
    if not 1 <= len(seeds) <= MOST_SEEDS:
        raise UserError(f"{len(seeds)} seeds: give from 1 to {MOST_SEEDS}")
    return seeds


def _html(messages: Sequence[str], cards: Sequence[str]) -> str:
    return "".join(messages) + page.cards(cards)
