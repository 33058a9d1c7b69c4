"""Scene of the figures: trained runs, and sampled test captions with their noises."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dmgan.data.batches import centre_crop
from dmgan.data.dataset import PreparedDataset
from dmgan.models.interface import Generated
from dmgan.models.registry import find
from dmgan.sampling.captions import choose_test_caption
from dmgan.sampling.trained_model import TrainedModel, generate_images
from dmgan.storage.files import file_sha256
from dmgan.training.train import WEIGHTS

MAIN, RIVAL = "dmgan", "attngan"  # the models in the paper's figures


class Scene(NamedTuple):
    """Input of every figure: one run of each model, and the data set of the captions."""

    runs: list[TrainedModel]
    dataset: PreparedDataset
    seed: int

    def made_from(self) -> dict[str, object]:
        """Return the hashes of the weights and of the data set that figures are drawn from."""
        generators = [file_sha256(run.folder / WEIGHTS) for run in self.runs]
        return {"generators": generators, "data": self.dataset.sha256}

    def caption_numbers(self, count: int) -> list[int]:
        """Return the numbers of the first sampled test captions, which are of random test images."""
        return list(range(count))

    def caption(self, number: int) -> str:
        """Return the original text of a sampled caption."""
        choice = choose_test_caption(self.dataset, number, self.seed, max_words=1)
        return self.dataset.caption(choice.image, choice.caption)

    def real_image(self, number: int) -> np.ndarray:
        """Return the test image (s, s, 3) uint8 that a sampled caption describes."""
        choice = choose_test_caption(self.dataset, number, self.seed, max_words=1)
        return centre_crop(self.dataset, choice.image, self.dataset.image_size)

    def tokens(self, run: TrainedModel, number: int) -> np.ndarray:
        """Return the tokens of a sampled caption that a run reads."""
        return choose_test_caption(self.dataset, number, self.seed, run.max_words).tokens

    def generate(self, run: TrainedModel, numbers: Sequence[int]) -> Generated:
        """Generate images of sampled captions, with the same noises as `sample`."""
        return generate_images(run, [self.tokens(run, number) for number in numbers], run.noise(self.seed, numbers))

    def run_of(self, name: str) -> TrainedModel | None:
        """Return the run of a model; None if it was not run."""
        return next((run for run in self.runs if run.name == name), None)

    def main_run(self) -> tuple[TrainedModel, str]:
        """Return the run of DM-GAN, else the first run, and its name for titles."""
        run = self.run_of(MAIN) or self.runs[0]
        instead = "" if run.name == MAIN else f" ({title(MAIN)}: not run)"
        return run, f"{named(run)}{instead}"


def title(name: str) -> str:
    """Return the name of a model as figures print it."""
    return find(name).title


def named(run: TrainedModel, between: str = ", ") -> str:
    """Return the name of a run as figures print it: its model and its seed."""
    return f"{title(run.name)}{between}seed {run.options['seed']}"


def one_of_each(runs: Sequence[TrainedModel]) -> list[TrainedModel]:
    """Return the first run of each model, in the given order."""
    found: dict[str, TrainedModel] = {}
    for run in runs:
        found.setdefault(run.name, run)
    return list(found.values())
