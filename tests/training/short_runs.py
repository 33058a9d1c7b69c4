"""Short trainings, interrupted trainings, and the comparison of their results."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dmgan.evaluation.train_classifiers import train_classifier
from dmgan.models.registry import MODELS
from dmgan.options import (
    PLAIN_ENGINE,
    CaptionerOptions,
    ClassifierOptions,
    DamsmSettings,
    EngineOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.storage.files import file_sha256, read_json
from dmgan.training.checkpoints import Checkpoint
from dmgan.training.pretrain_captioner import train_captioner
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import TrainingInputs, train
from tests.conftest import ARCHITECTURE, CPU, DAMSM, TRAINING
from tests.reading import read_csv

LOSSES = ("discriminator0", "discriminator1", "discriminator2", "adversarial", "word0", "sentence0", "kl")


def train_briefly(
    inputs: TrainingInputs,
    out: Path,
    name: str = "dmgan",
    training: TrainingOptions = TRAINING,
    engine: EngineOptions = PLAIN_ENGINE,
    seed: int = 0,
    device: torch.device = CPU,
) -> Path:
    """Train the model called `name` at the tests' small sizes, and return its run folder."""
    train(name, inputs, out, TrainingSettings(ARCHITECTURE, training, engine=engine), seed, device)
    return out


def train_command(inputs: TrainingInputs, out: Path, epochs: int, model: str = "dmgan", threads: int = 1) -> list[str]:
    """The words after `python` that train a model at small sizes from the command line."""
    flags = {
        "--model": model, "--data": inputs.data, "--damsm": inputs.damsm, "--out": out, "--device": "cpu",
        "--threads": threads, "--base-size": 8, "--generator-width": 4, "--discriminator-width": 2, "--noise-dim": 6,
        "--condition-dim": 5, "--residual-blocks": 1, "--batch-size": 4, "--epochs": epochs, "--max-words": 12,
        "--checkpoint-every": 20,
    }  # fmt: skip
    return ["-m", "dmgan", "train", *(str(word) for pair in flags.items() for word in pair)]


def first_losses(folder: Path) -> dict[str, float]:
    """Mean losses of a run's first steps: the first row of its history."""
    row = read_csv(folder / "history.csv")[0]
    return {name: float(row[name]) for name in LOSSES}


def segments(out: Path) -> list[tuple[int, str]]:
    """First step and precision of every segment of a run."""
    return [(segment["from_step"], segment["precision"]) for segment in read_json(out / "options.json", "")["engine"]]


def stop_after(steps: int, monkeypatch) -> None:
    """Interrupt training after the first checkpoint at `steps` or later, before any result is written."""

    def save(self, content):
        saved(self, content)
        if content["step"] >= steps:
            raise KeyboardInterrupt

    saved = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", save)


def assert_equal_states(found, expected, where="state"):
    """Raise if two nested states differ in a single bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_equal_states(found[key], value, f"{where}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for i, pair in enumerate(zip(found, expected, strict=True)):
            assert_equal_states(*pair, f"{where}.{i}")
    else:
        assert found == expected, where


def assert_equal_files(folder: Path, other: Path, *names: str) -> None:
    """Raise if a file of one run folder differs from the other's; by default generator and history."""
    for name in names or ("generator.safetensors", "history.csv"):
        assert file_sha256(folder / name) == file_sha256(other / name), name


def assert_resumes_bit_exactly(make: Callable[[Path], object], folder: Path, monkeypatch) -> None:
    """make(out) trains: an interruption after four steps must not change a bit of the final run."""
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 4)  # checkpoints fall on row ends
    make(folder / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(4, patch)
        make(folder / "run")
    assert not (folder / "run" / "generator.safetensors").exists()
    make(folder / "run")
    whole, stopped = (
        torch.load(folder / name / "checkpoint.pt", weights_only=True)["state"] for name in ("whole", "run")
    )
    assert_equal_states(stopped, whole)  # discriminators, optimisers and weight averages too
    assert_equal_files(folder / "whole", folder / "run")


def assert_restarted(out: Path, checkpoint: str, reason: str, log: str) -> None:
    """Raise unless the run kept a checkpoint with SHA-256 `checkpoint` under another name and started again."""
    (aside,) = out.glob("checkpoint-*.pt")
    assert f"checkpoint.pt: {reason} and is kept as {aside.name}; starting from the first step" in log
    assert file_sha256(aside) == checkpoint != file_sha256(out / "checkpoint.pt")


def training_stage(name: str, inputs: TrainingInputs) -> Callable[[int, int, Path], list[str]]:
    """Return (epochs, checkpoint_every, out) -> hashes of the weights, for a model, "pretrain", "captioner" or
    "classifier"; an epoch has 4 or 6 steps.
    """

    def make(epochs: int, checkpoint_every: int, out: Path) -> list[str]:
        common = {"epochs": epochs, "batch_size": 4, "checkpoint_every": checkpoint_every}
        if name in MODELS:
            train_briefly(inputs, out, name, dataclasses.replace(TRAINING, **common))
        elif name == "pretrain":
            pretrain(inputs.data, out, DamsmSettings(dataclasses.replace(DAMSM, **common)), 0, CPU)
        elif name == "captioner":
            train_captioner(inputs.data, inputs.damsm, out, CaptionerOptions(8, 8, **common), 0, CPU)
        else:
            train_classifier(inputs.data, out, ClassifierOptions(32, 4, 16, **common), 0, CPU)
        return [file_sha256(path) for path in sorted(out.glob("*.safetensors"))]

    return make
