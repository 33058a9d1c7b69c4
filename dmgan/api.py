"""Python interface: load a trained model, generate images from captions, evaluate a folder of images.

The functions call the same code as the subcommands `generate` and `evaluate`, and return the same images and numbers.
`import dmgan` offers these names as dmgan.load, dmgan.evaluate, and so on.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from dmgan.errors import UserError
from dmgan.evaluation.evaluate import ComparedWith, evaluate_folder
from dmgan.evaluation.evaluate import evaluate as write_metrics
from dmgan.evaluation.external_images import OwnImages
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.evaluation.paired_comparison import METRICS
from dmgan.options import EvaluationOptions
from dmgan.runtime.device import find_device
from dmgan.sampling.generate import images_from_captions
from dmgan.sampling.trained_model import TrainedModel, load_run
from dmgan.storage import files

__all__ = ["EvaluationOptions", "GeneratedImage", "Model", "NetworkFiles", "OwnImages", "UserError", "evaluate", "load"]

FilePath = str | os.PathLike[str]
_DEFAULT_EVALUATION = EvaluationOptions()


@dataclass(frozen=True)
class GeneratedImage:
    """An image generated from a caption."""

    caption: str
    stages: tuple[Image.Image, ...]  # image of every stage, from the smallest to the largest
    words_used: tuple[str, ...]  # words that the generator read
    words_unknown: tuple[str, ...]  # words that the text encoder does not know; they were left out

    @property
    def image(self) -> Image.Image:
        """The image of the last stage."""
        return self.stages[-1]


class Model:
    """A trained generator with the text encoder of its training; `load` returns it."""

    def __init__(self, trained: TrainedModel):
        self._trained = trained

    def __repr__(self) -> str:
        return f"<dmgan.Model {self.name}, {'/'.join(map(str, self.image_sizes))} px, {self.device}>"

    @property
    def name(self) -> str:
        """Name of the model in the registry, such as "dmgan"."""
        return self._trained.name

    @property
    def device(self) -> torch.device:
        """Device that generates the images."""
        return self._trained.device

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Side of the image of every stage, px."""
        return tuple(self._trained.model.image_sizes)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Words that the text encoder knows."""
        return self._trained.damsm.vocabulary.words[1:]

    def generate(
        self, captions: str | Sequence[str], *, images_per_caption: int = 1, seed: int = 100
    ) -> list[GeneratedImage]:
        """Return images_per_caption images of every caption, in the order of the captions.

        The images are those that `python -m dmgan generate` writes with the same captions and seed: the noise of image
        number n of a caption depends on `seed` and n only. UserError if a caption holds no known word.
        """
        captions = [captions] if isinstance(captions, str) else list(captions)
        return [
            GeneratedImage(
                each.caption,
                tuple(Image.fromarray(stage[number]) for stage in each.stages),
                tuple(each.words_used),
                tuple(each.words_unknown),
            )
            for each in images_from_captions(self._trained, captions, images_per_caption, seed)
            for number in range(images_per_caption)
        ]


def load(run: FilePath, device: str = "auto") -> Model:
    """Return the model of a run folder that `train` or `import` wrote, or of a published model, hub:OWNER/NAME.

    device: "auto", "cpu" or "cuda[:N]". UserError if the run is missing, unfinished or inconsistent.
    """
    return Model(load_run(Path(run), find_device(device)))


def evaluate(
    images: FilePath | OwnImages,
    data: FilePath | None,
    networks: NetworkFiles,
    *,
    reference: FilePath | None = None,
    reference_features: FilePath | None = None,
    out: FilePath | None = None,
    options: EvaluationOptions = _DEFAULT_EVALUATION,
    device: str = "auto",
) -> dict[str, Any]:
    """Evaluate a folder of images and return the content of metrics.json.

    The entry "metrics" holds a dictionary per metric: value, spread, interval, protocol. images: a folder that `sample`
    wrote, or OwnImages, a folder of images of any program. data: the prepared data set; networks: files of the networks
    that score the images. reference: a folder of real images to compare OwnImages with, instead of the test images of
    `data`; OwnImages need neither. reference_features: folder of the real images' features, written if missing. out:
    the metrics.json to write; the images' features are stored beside it. Without `reference_features` and `out`,
    features are computed in a temporary folder and then deleted.
    """
    features = None if reference_features is None else Path(reference_features)
    with tempfile.TemporaryDirectory(prefix="dmgan-") as temporary:
        out = Path(temporary) / METRICS if out is None else Path(out)
        settings = {"network_files": networks, "out": out, "options": options, "device": find_device(device)}
        if isinstance(images, OwnImages):
            folders = [None if each is None else Path(each) for each in (data, reference)]
            captions = None if images.captions is None else Path(images.captions)
            own = images._replace(folder=Path(images.folder), captions=captions)
            evaluate_folder(images=own, compared_with=ComparedWith(*folders, features), **settings)
        elif data is None or reference is not None:
            raise UserError(
                f"{images}: images of sample are compared with the test images of their data set; give data and leave "
                "reference out, or give OwnImages, a folder of images of any program"
            )
        else:
            write_metrics(images=Path(images), data=Path(data), reference=features, **settings)
        return files.read_json(out, "evaluate the images again")
