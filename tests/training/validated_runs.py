"""Short trainings that are measured on validation images."""

import dataclasses
from pathlib import Path

import torch

from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.evaluation.validation import Validator
from dmgan.options import PLAIN_ENGINE, EngineOptions, TrainingOptions, TrainingSettings
from dmgan.training.train import TrainingInputs, train
from tests.conftest import ARCHITECTURE, CPU, TRAINING

VALIDATED = dataclasses.replace(TRAINING, evaluate_every=3, validation_images=6)


def train_validated(
    inputs: TrainingInputs,
    networks: NetworkFiles,
    out: Path,
    training: TrainingOptions = VALIDATED,
    name: str = "dmgan",
    mlflow: str | None = None,
    engine: EngineOptions = PLAIN_ENGINE,
    device: torch.device = CPU,
) -> Path:
    """Train a model of seed 0 with a validator of these networks, and return its run folder."""
    settings = TrainingSettings(ARCHITECTURE, training, engine=engine)
    validator = Validator.read(name, settings, inputs, networks, out, device)
    train(name, dataclasses.replace(inputs, validator=validator), out, settings, 0, device, mlflow)
    return out
