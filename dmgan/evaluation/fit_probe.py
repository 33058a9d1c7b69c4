"""Fitting of the linear probe of `efficientnet-lite0` on the classes of the training images."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.feature_store import features_in_ram
from dmgan.evaluation.image_sets import RealImages
from dmgan.evaluation.networks.efficientnet_lite0 import EfficientNetLite0Features
from dmgan.evaluation.networks.linear_probe import OPTIONS, WEIGHTS, LinearProbe
from dmgan.options import ProbeOptions
from dmgan.runtime.cost import Cost
from dmgan.runtime.progress import log
from dmgan.runtime.provenance import provenance
from dmgan.runtime.randomness import generator
from dmgan.storage import files
from dmgan.storage.seals import write_sealed_json
from dmgan.storage.weights import save_weights
from dmgan.text.efficientnet_lite import SHA256

_ITERATIONS = 1000  # of L-BFGS, at most


def fit_probe(data: Path, out: Path, options: ProbeOptions, device: torch.device) -> None:
    """Fit the probe on centre crops of the training images; write its weights and options.json into `out`.

    The result is a pure function of data set and options. options.json has the accuracy on held-out images.
    """
    cost, dataset = Cost(device), PreparedDataset(data)
    if not dataset.has_classes:
        raise UserError(f"{data}: its images have no classes, which a probe names; leave the probe out")
    train = dataset.indices("train")
    classes, labels = np.unique(dataset.class_ids[train], return_inverse=True)
    extractor = EfficientNetLite0Features(device)
    images = RealImages(dataset, train, dataset.image_size)
    stored = features_in_ram(images, len(train), [extractor], device)[extractor.name]
    features = torch.from_numpy(stored["features"].take(np.arange(len(train)))).double()
    shuffled = generator(0, "validation of the probe").permutation(len(train))
    held_out = np.sort(shuffled[: max(1, int(len(train) * options.validation_share))])
    shown = np.setdiff1d(np.arange(len(train)), held_out)
    probe = fitted(features[shown], torch.from_numpy(labels[shown]), len(classes), options.l2)
    found = probe(features[held_out]).argmax(dim=1).numpy()
    accuracy = float((found == labels[held_out]).mean())
    log(f"{out}: names the class of {100 * accuracy:.1f} % of {len(held_out)} held-out training images")
    with files.locked(Path(out)):
        Path(out).mkdir(parents=True, exist_ok=True)
        save_weights(probe.float(), Path(out) / WEIGHTS)
        content = {
            "options": asdict(options),
            "features": features.shape[1],
            "classes": len(classes),
            "inputs": {"data": dataset.sha256, extractor.name: SHA256},
            "validation_accuracy": accuracy,
            "validation_images": len(held_out),
            "provenance": provenance(cost.measured()),
        }
        write_sealed_json(Path(out) / OPTIONS, content, [WEIGHTS])


def fitted(features: Tensor, labels: Tensor, classes: int, l2: float) -> LinearProbe:
    """Return the probe that minimises mean cross entropy + l2 / 2 * (sum of squared weights), in float64.

    features (N, D) float64, labels (N,). The loss is strictly convex in the weights.
    """
    probe = LinearProbe(features.shape[1], classes).double()
    torch.nn.init.zeros_(probe.linear.weight)
    torch.nn.init.zeros_(probe.linear.bias)
    probe.mean.copy_(features.mean(dim=0))
    probe.scale.copy_(1 / features.std(dim=0).clamp_min(1e-6))
    optimizer = torch.optim.LBFGS(
        probe.parameters(), max_iter=_ITERATIONS, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(probe(features), labels) + l2 / 2 * probe.linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return probe.requires_grad_(False)
