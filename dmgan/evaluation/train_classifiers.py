"""Training of the classifiers that evaluations read: species, and attributes of synthbirds."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dmgan.data.batches import to_tensor
from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.synthbirds.attributes import SPECIES_ATTRIBUTES
from dmgan.errors import UserError
from dmgan.evaluation.attribute_values import (
    NAMES,
    PLACES,
    SIZES,
    has_named_attributes,
    shown_attributes,
    wanted_values,
)
from dmgan.evaluation.networks.classifier import WEIGHTS, ImageClassifier, Labels, predictions
from dmgan.options import ClassifierOptions
from dmgan.runtime.randomness import generator
from dmgan.training.optimizers import PlainAdamW
from dmgan.training.run_folder import RunDescription, RunFolder


class Task(NamedTuple):
    """The labels of a classifier and the entries of its options.json."""

    name: str
    labels: Labels
    written: dict[str, object]  # additional entries of options.json, known before training
    measured: Callable[[nn.Module], dict[str, object]]  # trained network -> further entries of options.json
    places: int = 2  # side of the feature map that the linear layer reads
    split: str = "train"  # whose images the classifier is trained on, but for those that validate it


def train_classifier(
    data: Path,
    out: Path,
    options: ClassifierOptions,
    seed: int,
    device: torch.device,
    mlflow: str | None = None,
    split: str = "train",
) -> None:
    """Train the species classifier on the classes of a split; write its weights, history.csv and options.json.

    split "test": the classes that evaluations score, from their real images, as the released bird Inception is.
    """
    dataset = PreparedDataset(data)
    if not dataset.has_classes:
        raise UserError(f"{data}: its images have no classes; give a data set with classes, or another extractor")
    shown = dataset.indices(split)
    classes, of_shown = np.unique(dataset.class_ids[shown], return_inverse=True)
    labels = np.full((len(dataset), 1), -1, dtype=np.int64)  # images of the other split have no label
    labels[shown, 0] = of_shown
    written = {"classes": len(classes), "split": split}
    labelled = Labels(labels, (len(classes),))
    task = Task("species-classifier", labelled, written, measured=lambda network: {}, split=split)
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
    """Train a classifier on the images of the task's split; write its weights, history.csv and options.json.

    options.json also holds the accuracy on held-out images of the same classes.
    """
    labels = task.labels
    if options.image_size > dataset.description["stored_size"]:
        raise UserError(
            f"{dataset.folder}: its images are smaller than --image-size {options.image_size}; prepare larger ones"
        )
    train_indices, validation_indices = _divide(dataset.indices(task.split), options.validation_share, seed)
    steps_per_epoch = len(train_indices) // options.batch_size
    if not steps_per_epoch:
        raise UserError(
            f"{dataset.folder}: {len(train_indices)} images to train on do not fill a batch of {options.batch_size}; "
            "give a smaller --batch-size"
        )

    torch.manual_seed(seed)
    network = ImageClassifier(options.width, options.features, sum(labels.sizes), task.places).to(device).train()
    adam = PlainAdamW(network.parameters(), lr=options.lr, weight_decay=0.01)
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
    with RunFolder(out, run, mlflow, device=device) as folder:
        folder.train(step_function, {"network": network, "adam": adam, "schedule": schedule}, total_steps)
        network.eval()
        predicted = predictions(network, dataset, validation_indices, labels, options.image_size, device)
        accuracy = float((predicted == labels.of_image[validation_indices]).mean())
        further = {"validation_accuracy": accuracy, "validation_images": len(validation_indices)}
        further |= task.measured(network)
        folder.finish({WEIGHTS: network}, further, {"validation_accuracy": accuracy})
        folder.close()


def _divide(images: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images to train on and the held-out validation images, both ascending."""
    shuffled = generator(seed, "classifier validation").permutation(images)
    kept = max(1, int(len(shuffled) * share))
    return np.sort(shuffled[kept:]), np.sort(shuffled[:kept])


def _augmented(dataset: PreparedDataset, index: int, size: int, random: np.random.Generator) -> np.ndarray:
    """Return a random crop, flipped at random."""
    image = dataset.image(index)
    top, left = random.integers(image.shape[0] - size + 1), random.integers(image.shape[1] - size + 1)
    crop = image[top : top + size, left : left + size]
    return crop[:, ::-1] if random.integers(2) else crop


def train_attributes(
    data: Path, out: Path, options: ClassifierOptions, seed: int, device: torch.device, mlflow: str | None = None
) -> None:
    """Train the attribute classifier on the training split; write its weights, history.csv and options.json."""
    dataset = PreparedDataset(data)
    if not has_named_attributes(dataset):
        raise UserError(
            f"{data}: its captions name no known attributes; attribute accuracy is defined on synthbirds only"
        )
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
    fit(dataset, out, Task("attribute-classifier", labels, written, measured, PLACES), options, seed, device, mlflow)


def _captions_of(dataset: PreparedDataset, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for every caption of `images`, the position of its image (captions,) and its values (captions, A)."""
    counts = [dataset.caption_count(image) for image in images]
    texts = [dataset.caption(image, number) for image, n in zip(images, counts, strict=True) for number in range(n)]
    return np.repeat(np.arange(len(images)), counts), wanted_values(texts)
