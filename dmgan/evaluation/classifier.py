"""Small classifiers of a data set's images: one network, one training, whatever is told apart.

The species classifier's features are the `species` rung of IS, FID and KID: it is to this project's sets what
StackGAN's bird-tuned Inception is to CUB, trained on the training classes. attributes.py has the other one.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.data.batches import centre_crop, to_tensor
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.options import ClassifierOptions, from_dict
from dmgan.runtime.randomness import generator
from dmgan.storage import files
from dmgan.storage.weights import load_weights
from dmgan.training.run_folder import RunDescription, RunFolder

WEIGHTS = "classifier.safetensors"


class ImageClassifier(nn.Module):
    """A small convolutional network: images -> features and class logits."""

    def __init__(self, width: int, features: int, classes: int, places: int = 2):
        super().__init__()
        self.places = places  # side of the map that is looked at place by place
        channels = [3, width, 2 * width, 4 * width, 4 * width]
        blocks = [_block(inputs, outputs) for inputs, outputs in zip(channels, channels[1:], strict=False)]
        self.trunk = nn.Sequential(*blocks)
        self.embed = nn.Sequential(
            nn.Linear(places * places * channels[-1], features), nn.BatchNorm1d(features), nn.ReLU()
        )
        self.logits = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and logits (B, classes) of images (B, 3, s, s) in [-1, 1]."""
        features = self.embed(F.adaptive_avg_pool2d(self.trunk(images), self.places).flatten(1))
        return features, self.logits(features)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class TrainedClassifier(NamedTuple):
    """A frozen classifier and what its numbers must be tagged with."""

    network: ImageClassifier
    options: ClassifierOptions
    sha256: str  # of its weights
    validation_accuracy: float  # on training classes' images it was not trained on

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> "TrainedClassifier":
        """Read the folder that `train_classifier` wrote."""
        folder = Path(folder)
        hint = f"train it: python -m dmgan classifier --data FOLDER --out {folder}"
        written = files.read_json(folder / "options.json", hint)
        options = from_dict(ClassifierOptions, written["options"], str(folder / "options.json"))
        network = ImageClassifier(options.width, options.features, written["classes"])
        load_weights(network, folder / WEIGHTS, hint)
        network.to(device).eval().requires_grad_(False)
        return cls(network, options, files.file_sha256(folder / WEIGHTS), written["validation_accuracy"])


class Labels(NamedTuple):
    """What a classifier tells apart: one label or several per image."""

    of_image: np.ndarray  # (images, L) int64, each from 0
    sizes: tuple[int, ...]  # values of each label

    def losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross entropy (L,) of logits (B, sum of sizes) against target (B, L)."""
        parts = zip(logits.split(self.sizes, dim=1), target.unbind(dim=1), strict=True)
        return torch.stack([F.cross_entropy(part, wanted) for part, wanted in parts])

    def predicted(self, logits: Tensor) -> Tensor:
        """The likeliest value of each label, (B, L)."""
        return torch.stack([part.argmax(dim=1) for part in logits.split(self.sizes, dim=1)], dim=1)


class Task(NamedTuple):
    """What a classifier is trained for."""

    name: str
    labels: Labels
    written: dict[str, object]  # into options.json, beside the options
    measured: Callable[[nn.Module], dict[str, object]]  # what options.json says of the trained network
    places: int = 2  # side of the map that the network looks at place by place


def train_classifier(
    data: Path, out: Path, options: ClassifierOptions, seed: int, device: torch.device, mlflow: str | None = None
) -> None:
    """Train the species classifier on the training classes; writes its weights, history.csv and options.json."""
    dataset = PreparedDataset(data)
    train = dataset.indices("train")
    classes, of_train = np.unique(dataset.class_ids[train], return_inverse=True)
    labels = np.full((len(dataset), 1), -1, dtype=np.int64)  # test classes have none
    labels[train, 0] = of_train
    task = Task(
        "species-classifier", Labels(labels, (len(classes),)), {"classes": len(classes)}, measured=lambda network: {}
    )
    fit(dataset, out, task, options, seed, device, mlflow)


def fit(
    dataset: PreparedDataset,
    out: Path,
    task: Task,
    options: ClassifierOptions,
    seed: int,
    device: torch.device,
    mlflow: str | None,
) -> None:
    """Train a classifier on the training split; writes its weights, history.csv and options.json.

    options.json also holds the accuracy on training images kept aside.
    """
    labels = task.labels
    if options.image_size > dataset.description["stored_size"]:
        raise UserError(
            f"{dataset.folder}: its images are smaller than --image-size {options.image_size}; prepare larger ones"
        )
    train_indices, validation_indices = _divide(dataset, options.validation_share, seed)
    steps_per_epoch = len(train_indices) // options.batch_size
    if not steps_per_epoch:
        raise UserError(
            f"{dataset.folder}: {len(train_indices)} training images do not fill a batch of {options.batch_size}"
        )

    torch.manual_seed(seed)
    network = ImageClassifier(options.width, options.features, sum(labels.sizes), task.places).to(device).train()
    adam = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=0.01)
    total_steps = options.epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, options.lr, total_steps=total_steps)

    def step_function(step: int) -> dict[str, Tensor]:
        epoch, position = divmod(step, steps_per_epoch)
        order = generator(seed, "classifier order", epoch).permutation(train_indices)
        rows = order[position * options.batch_size : (position + 1) * options.batch_size]
        images = to_tensor(
            [_augmented(dataset, i, options.image_size, generator(seed, "classifier crop", epoch, i)) for i in rows]
        )
        target = torch.from_numpy(labels.of_image[rows]).to(device)
        _, logits = network(images.to(device))
        loss = labels.losses(logits, target).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        schedule.step()
        return {"cross_entropy": loss, "accuracy": (labels.predicted(logits) == target).float().mean()}

    written = {"options": asdict(options), **task.written, "seed": seed, "inputs": {"data": dataset.sha256}}
    title = task.name.replace("-", " ")
    run = RunDescription(task.name, "classifier", title, dataset, seed, written, steps_depend_on_epochs=True)
    with RunFolder(out, run, mlflow) as folder:
        folder.train(step_function, {"network": network, "adam": adam, "schedule": schedule}, total_steps)
        network.eval()
        predicted = predictions(network, dataset, validation_indices, labels, options.image_size, device)
        accuracy = float((predicted == labels.of_image[validation_indices]).mean())
        further = {"validation_accuracy": accuracy, "validation_images": len(validation_indices)}
        further |= task.measured(network)
        folder.finish({WEIGHTS: network}, further, {"validation_accuracy": accuracy})
        folder.close()


def _divide(dataset: PreparedDataset, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training images and those kept aside, both ascending."""
    shuffled = generator(seed, "classifier validation").permutation(dataset.indices("train"))
    kept = max(1, int(len(shuffled) * share))
    return np.sort(shuffled[kept:]), np.sort(shuffled[:kept])


def _augmented(dataset: PreparedDataset, index: int, size: int, random: np.random.Generator) -> np.ndarray:
    """A random crop, flipped at random."""
    image = dataset.image(index)
    top, left = random.integers(image.shape[0] - size + 1), random.integers(image.shape[1] - size + 1)
    crop = image[top : top + size, left : left + size]
    return crop[:, ::-1] if random.integers(2) else crop


@torch.inference_mode()
def predictions(
    network: nn.Module,
    dataset: PreparedDataset,
    indices: np.ndarray,
    labels: Labels,
    size: int,
    device: torch.device,
) -> np.ndarray:
    """The likeliest value of each label of real images, centre crops, (len(indices), L)."""
    parts = []
    for start in range(0, len(indices), 256):
        images = to_tensor([centre_crop(dataset, i, size) for i in indices[start : start + 256]])
        parts.append(labels.predicted(network(images.to(device))[1]).cpu().numpy())
    return np.concatenate(parts)
