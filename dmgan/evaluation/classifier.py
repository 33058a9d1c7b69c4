"""The species classifier: its features are the `species` rung of IS, FID and KID.

It is to this project's sets what StackGAN's bird-tuned Inception is to CUB: trained on the training classes.
"""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan import files
from dmgan.checkpoints import Checkpoint, exclusive, run_steps
from dmgan.data.batches import centre_crop, to_tensor
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.options import ClassifierOptions, from_dict
from dmgan.provenance import provenance
from dmgan.randomness import generator
from dmgan.tracking import LabBook
from dmgan.weights import load_weights, save_weights

ROW_EVERY = 20  # steps per row of history.csv
WEIGHTS = "classifier.safetensors"


class SpeciesClassifier(nn.Module):
    """A small convolutional network: images -> features and class logits."""

    def __init__(self, width: int, features: int, classes: int):
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 4 * width]
        blocks = [_block(inputs, outputs) for inputs, outputs in zip(channels, channels[1:], strict=False)]
        self.trunk = nn.Sequential(*blocks)
        self.embed = nn.Sequential(nn.Linear(4 * channels[-1], features), nn.BatchNorm1d(features), nn.ReLU())
        self.logits = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and logits (B, classes) of images (B, 3, s, s) in [-1, 1]."""
        features = self.embed(F.adaptive_avg_pool2d(self.trunk(images), 2).flatten(1))
        return features, self.logits(features)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class TrainedClassifier(NamedTuple):
    """A frozen classifier and what its numbers must be tagged with."""

    network: SpeciesClassifier
    options: ClassifierOptions
    sha256: str  # of its weights
    validation_accuracy: float  # on training classes' images it was not trained on

    @classmethod
    def read(cls, folder: Path, device: torch.device) -> "TrainedClassifier":
        """Read the folder that `train_classifier` wrote."""
        folder = Path(folder)
        mend = f"train it: python -m dmgan classifier --data FOLDER --out {folder}"
        written = files.read_json(folder / "options.json", mend)
        options = from_dict(ClassifierOptions, written["options"], str(folder / "options.json"))
        network = SpeciesClassifier(options.width, options.features, written["classes"])
        load_weights(network, folder / WEIGHTS, mend)
        network.to(device).eval().requires_grad_(False)
        return cls(network, options, files.file_sha256(folder / WEIGHTS), written["validation_accuracy"])


def train_classifier(
    data: Path, out: Path, options: ClassifierOptions, seed: int, device: torch.device, mlflow: str | None = None
) -> None:
    """Train the classifier on the training classes; writes its weights, history.csv and options.json into `out`."""
    dataset = PreparedDataset(data)
    if options.image_size > dataset.description["stored_size"]:
        raise UserError(f"{data}: its images are smaller than --image-size {options.image_size}; prepare larger ones")
    train_indices, validation_indices = _divide(dataset, options.validation_share, seed)
    classes, labels = np.unique(dataset.class_ids[dataset.indices("train")], return_inverse=True)
    label_of = dict(zip(dataset.indices("train"), labels, strict=True))
    steps_per_epoch = len(train_indices) // options.batch_size
    if not steps_per_epoch:
        raise UserError(f"{data}: {len(train_indices)} training images do not fill a batch of {options.batch_size}")

    torch.manual_seed(seed)
    network = SpeciesClassifier(options.width, options.features, len(classes)).to(device).train()
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
        target = torch.tensor([label_of[i] for i in rows], device=device)
        _, logits = network(images.to(device))
        loss = F.cross_entropy(logits, target)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        schedule.step()
        return {"cross_entropy": loss, "accuracy": (logits.argmax(dim=1) == target).float().mean()}

    written = {"options": asdict(options), "classes": len(classes), "seed": seed, "inputs": {"data": dataset.sha256}}
    fingerprint = files.json_sha256(written)
    with exclusive(out):
        tags = {"stage": "classifier", "dataset": dataset.description["source"]["name"], "model": "species-classifier"}
        tags |= {"seed": str(seed), "config": fingerprint[:12], "commit": provenance()["commit"]}
        lab_book = LabBook(mlflow, out, "species classifier", tags, asdict(options))
        history = run_steps(
            step_function,
            {"network": network, "adam": adam, "schedule": schedule},
            total_steps,
            ROW_EVERY,
            Checkpoint(out, "species-classifier", fingerprint),
            options.checkpoint_every,
            lab_book,
        )
        network.eval()
        accuracy = _accuracy(network, dataset, validation_indices, label_of, options.image_size, device)
        save_weights(network, out / WEIGHTS)
        files.write_csv(out / "history.csv", history)
        written |= {"validation_accuracy": accuracy, "validation_images": len(validation_indices)}
        files.write_json(out / "options.json", {**written, "provenance": provenance()})
        lab_book.scores({"validation_accuracy": accuracy})
        lab_book.file(out / "options.json")
        lab_book.close()


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
def _accuracy(network, dataset, indices, label_of, size, device) -> float:
    hits = 0
    for start in range(0, len(indices), 256):
        rows = indices[start : start + 256]
        _, logits = network(to_tensor([centre_crop(dataset, i, size) for i in rows]).to(device))
        hits += int((logits.argmax(dim=1).cpu() == torch.tensor([label_of[i] for i in rows])).sum())
    return hits / len(indices)
