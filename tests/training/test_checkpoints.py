"""Checkpoints of other models, options or lengths: refused, or kept under another name."""

import dataclasses
import json
import shutil

import pytest

from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.models.registry import MODELS
from dmgan.options import LossOptions
from dmgan.sampling.trained_model import load_run
from dmgan.storage.files import file_sha256, read_json
from tests.conftest import CPU, TRAINING
from tests.training.short_runs import assert_equal_files, assert_restarted, train_briefly, training_stage


def test_a_checkpoint_of_another_model_is_refused(run_folder, training_inputs, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    with pytest.raises(UserError, match=r"checkpoint.pt: is a checkpoint of dmgan, not of attngan; delete it"):
        train_briefly(training_inputs, out, "attngan")


def test_a_checkpoint_of_other_options_is_renamed_and_the_run_starts_again(
    run_folder, training_inputs, tmp_path, capsys
):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    train_briefly(training_inputs, out, training=dataclasses.replace(TRAINING, generator_lr=1e-3))
    checkpoint = file_sha256(run_folder / "checkpoint.pt")
    assert_restarted(out, checkpoint, "was made with other options or inputs", capsys.readouterr().err)
    assert file_sha256(out / "generator.safetensors") != file_sha256(run_folder / "generator.safetensors")


def test_a_checkpoint_of_other_losses_is_renamed_and_the_run_starts_again(
    run_folder, training_inputs, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    monkeypatch.setitem(
        MODELS, "dmgan", dataclasses.replace(MODELS["dmgan"], losses=LossOptions(half_adversarial=True))
    )
    train_briefly(training_inputs, out)
    checkpoint = file_sha256(run_folder / "checkpoint.pt")
    assert_restarted(out, checkpoint, "was made with other options or inputs", capsys.readouterr().err)
    assert file_sha256(out / "generator.safetensors") != file_sha256(run_folder / "generator.safetensors")


@pytest.mark.parametrize("name", ["stackgan", "classifier"])
def test_a_run_whose_schedule_depends_on_the_epochs_starts_again_for_more_epochs(
    name, training_inputs, tmp_path, capsys
):
    make = training_stage(name, training_inputs)
    make(1, 100, tmp_path / "run")
    checkpoint = file_sha256(tmp_path / "run" / "checkpoint.pt")
    capsys.readouterr()
    make(2, 100, tmp_path / "run")
    assert_restarted(tmp_path / "run", checkpoint, "was made with other options or inputs", capsys.readouterr().err)


def test_a_checkpoint_of_a_longer_run_is_renamed_and_the_run_starts_again(
    run_folder, training_inputs, tmp_path, capsys
):
    train_briefly(training_inputs, tmp_path / "short", training=dataclasses.replace(TRAINING, epochs=1))
    shutil.copytree(run_folder, tmp_path / "run")
    train_briefly(training_inputs, tmp_path / "run", training=dataclasses.replace(TRAINING, epochs=1))
    checkpoint = file_sha256(run_folder / "checkpoint.pt")
    assert_restarted(tmp_path / "run", checkpoint, "belongs to a longer run, of 12 steps,", capsys.readouterr().err)
    assert_equal_files(tmp_path / "run", tmp_path / "short", "generator.safetensors")


def test_a_damaged_checkpoint_is_refused(run_folder, training_inputs, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    (out / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(UserError, match="is not a readable checkpoint .* delete it to start over"):
        train_briefly(training_inputs, out)


def test_weights_of_another_model_are_refused(run_folder, training_inputs, damsm_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    train_briefly(training_inputs, tmp_path / "attngan", "attngan")
    shutil.copy(tmp_path / "attngan" / "generator.safetensors", tmp_path / "run" / "generator.safetensors")
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    options["damsm_folder"] = str(damsm_folder)
    (tmp_path / "run" / "options.json").write_text(json.dumps(options))
    with pytest.raises(UserError, match="does not hold the weights of a DMGAN"):
        load_run(tmp_path / "run", CPU)


def test_a_step_that_is_not_finite_records_its_images_and_captions(dataset, training_inputs, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"step \d+: .* is not a finite number; the last good checkpoint is kept"):
        train_briefly(training_inputs, out, training=dataclasses.replace(TRAINING, generator_lr=1e30))
    failure = read_json(out / "failure.json", "")
    batches = TrainingBatches(dataset, [32], TRAINING.batch_size, TRAINING.max_words, 0)
    assert failure["seed"] == 0 and failure["images"] == batches.rows(failure["step"] - 1).tolist()
    assert "nan" in failure["losses"].values() and len(failure["captions"]) == TRAINING.batch_size
