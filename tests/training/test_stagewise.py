"""StackGAN: stages that are trained one after the other."""

import dataclasses

import pytest
import torch

from dmgan.errors import UserError
from dmgan.options import TrainingSettings
from dmgan.runtime.distributed import DistributedContext
from dmgan.training.train import train
from tests.conftest import ARCHITECTURE, CPU, TRAINING
from tests.reading import read_csv
from tests.training.short_runs import assert_equal_files, stop_after, train_briefly


@pytest.mark.slow
@pytest.mark.parametrize("stop", [20, 40])
def test_stagewise_training_resumes_bit_exactly_in_either_half(stop, training_inputs, tmp_path, monkeypatch):
    training = dataclasses.replace(TRAINING, epochs=10, checkpoint_every=20)  # 60 steps
    train_briefly(training_inputs, tmp_path / "whole", "stackgan", training)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(stop, patch)
        train_briefly(training_inputs, tmp_path / "stopped", "stackgan", training)
    assert not (tmp_path / "stopped" / "generator.safetensors").exists()
    train_briefly(training_inputs, tmp_path / "stopped", "stackgan", training)
    assert_equal_files(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_the_first_stage_is_trained_before_the_second_and_then_frozen(training_inputs, tmp_path, monkeypatch):
    training = dataclasses.replace(TRAINING, epochs=20, checkpoint_every=20)  # 120 steps, 60 of Stage-I
    states = {}

    def save(self, content):
        states[content["step"]] = {name: tensor.clone() for name, tensor in content["state"]["model"].items()}

    monkeypatch.setattr("dmgan.training.checkpoints.Checkpoint.save", save)
    train_briefly(training_inputs, tmp_path / "run", "stackgan", training)
    for before, after, moved in ((20, 60, "stage1"), (80, 120, "stage2")):
        changed = {
            key.split(".")[0] for key in states[before] if not torch.equal(states[before][key], states[after][key])
        }
        assert changed == {moved}
    history = read_csv(tmp_path / "run" / "history.csv")
    assert [float(row["discriminator0"]) > 0 for row in history] == [True] * 3 + [False] * 3
    assert [float(row["discriminator1"]) > 0 for row in history] == [False] * 3 + [True] * 3


def test_stagewise_training_on_several_processes_is_refused(training_inputs, tmp_path):
    distributed = DistributedContext(0, 2)
    with pytest.raises(UserError, match="stackgan: trains its stages one after another, .*; use one GPU"):
        train(
            "stackgan", training_inputs, tmp_path, TrainingSettings(ARCHITECTURE, TRAINING), 0, CPU,
            distributed=distributed,
        )  # fmt: skip
