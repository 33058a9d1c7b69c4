"""Attribute accuracy: the share of the attributes named in a caption that its image shows.

Only `synthbirds` names attributes whose truth is stored. A classifier of the attributes judges the images; it is
trained on real ones and has errors of its own: its accuracy on real test images (of species it has never seen) stands
beside every number, with the share that one and the same answer would get (chance).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.synthbirds.attributes import SPECIES_ATTRIBUTES
from dmgan.data.sources.synthbirds.captions import named_attributes
from dmgan.errors import UserError
from dmgan.evaluation.classifier import WEIGHTS, ImageClassifier, Labels, Task, fit, predictions
from dmgan.options import ClassifierOptions, from_dict
from dmgan.storage import files
from dmgan.storage.weights import load_weights

METRIC = "attribute accuracy(attribute classifier)"
NAMES = tuple(SPECIES_ATTRIBUTES)  # what captions speak of
_PLACES = 4  # a bill is small: where it is tells it from the legs
SIZES = tuple(len(values) for values in SPECIES_ATTRIBUTES.values())


def has_named_attributes(dataset: PreparedDataset) -> bool:
    """Whether the captions of a data set can be read back into attributes."""
    return dataset.description["source"]["name"] == "synthbirds"


def wanted_values(captions: Sequence[str]) -> np.ndarray:
    """The value that each caption names of each attribute, (N, attributes) int64; -1 where it names none."""
    wanted = np.full((len(captions), len(NAMES)), -1, dtype=np.int64)
    for row, caption in enumerate(captions):
        for name, value in named_attributes(caption).items():
            wanted[row, NAMES.index(name)] = SPECIES_ATTRIBUTES[name].index(value)
    return wanted


def shown_attributes(shown: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each image how many of the named attributes it shows, and how many are named; shown, wanted (N, A)."""
    named = wanted >= 0
    return ((shown == wanted) & named).sum(axis=1), named.sum(axis=1)


class TrainedAttributes(NamedTuple):
    """A frozen attribute classifier and what its numbers must be tagged with."""

    network: ImageClassifier
    options: ClassifierOptions
    labels: Labels
    majority: np.ndarray  # (A,) the value that training captions name most often
    protocol: dict[str, object]

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> "TrainedAttributes":
        """Read the folder that `train_attributes` wrote."""
        folder = Path(folder)
        hint = f"train it: python -m dmgan attributes --data FOLDER --out {folder}"
        written = files.read_json(folder / "options.json", hint)
        options = from_dict(ClassifierOptions, written["options"], str(folder / "options.json"))
        if written.get("attributes") != {name: list(values) for name, values in SPECIES_ATTRIBUTES.items()}:
            raise UserError(f"{folder / 'options.json'}: is no classifier of these attributes; {hint}")
        network = ImageClassifier(options.width, options.features, sum(SIZES), _PLACES)
        load_weights(network, folder / WEIGHTS, hint)
        network.to(device).eval().requires_grad_(False)
        protocol = {
            "feature_network": "attribute-classifier",
            "feature_network_sha256": files.file_sha256(folder / WEIGHTS),
            "accuracy_on_real_test_images": written["test_accuracy_of_named"],
        }
        return cls(network, options, Labels(np.empty((0, len(NAMES))), SIZES), np.array(written["majority"]), protocol)

    def predicted(self, logits: np.ndarray) -> np.ndarray:
        """The likeliest value of each attribute, (N, A), from logits (N, sum of SIZES)."""
        return self.labels.predicted(torch.from_numpy(np.asarray(logits))).numpy()


def train_attributes(
    data: Path, out: Path, options: ClassifierOptions, seed: int, device: torch.device, mlflow: str | None = None
) -> None:
    """Train the attribute classifier on the training split; writes its weights, history.csv and options.json."""
    dataset = PreparedDataset(data)
    if not has_named_attributes(dataset):
        raise UserError(f"{data}: names no attributes; attribute accuracy is defined on synthbirds alone")
    values = [
        [SPECIES_ATTRIBUTES[name].index(dataset.attributes(image)[name]) for name in NAMES]
        for image in range(len(dataset))
    ]
    labels = Labels(np.array(values, dtype=np.int64), SIZES)

    def measured(network: nn.Module) -> dict[str, object]:
        test = dataset.indices("test")
        shown = predictions(network, dataset, test, labels, options.image_size, device)
        owner, wanted = _captions_of(dataset, test)
        hits, counts = shown_attributes(shown[owner], wanted)
        accuracies = (shown == labels.of_image[test]).mean(axis=0)
        return {
            "test_accuracy_of_named": float(hits.sum() / counts.sum()),
            "test_accuracy": dict(zip(NAMES, accuracies.tolist(), strict=True)),
            "test_images": len(test),
        }

    _, wanted = _captions_of(dataset, dataset.indices("train"))
    majority = [int(np.bincount(column[column >= 0], minlength=1).argmax()) for column in wanted.T]
    written = {"attributes": {name: list(each) for name, each in SPECIES_ATTRIBUTES.items()}, "majority": majority}
    fit(dataset, out, Task("attribute-classifier", labels, written, measured, _PLACES), options, seed, device, mlflow)


def _captions_of(dataset: PreparedDataset, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every caption of some images: the position (captions,) of its image among them, and what it names."""
    counts = [dataset.caption_count(image) for image in images]
    texts = [dataset.caption(image, number) for image, n in zip(images, counts, strict=True) for number in range(n)]
    return np.repeat(np.arange(len(images)), counts), wanted_values(texts)
