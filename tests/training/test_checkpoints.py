"""Checkpoints of other models, options or lengths: refused, or kept under another name."""

import dataclasses
import errno
import json
import os
import shutil

import pytest
import torch

from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.models.registry import MODELS
from dmgan.options import LossOptions
from dmgan.sampling.trained_model import load_run
from dmgan.storage.files import file_sha256, read_json
from dmgan.storage.seals import write_sealed_json
from dmgan.training import checkpoints
from dmgan.training.checkpoints import Checkpoint
from tests.conftest import CPU, TRAINING
from tests.storage.full_disk import check_full_disk
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


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    """Flip one bit of a weight: torch reads such a file without an error."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.fixture(scope="module")
def whole_run(training_inputs, tmp_path_factory):
    """A run with checkpoints at steps 9 and 12, its last."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dmgan.training.loop.ROW_EVERY", 3)  # checkpoints fall on row ends
        return train_briefly(training_inputs, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def rows_of_three_steps(monkeypatch):
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 3)


REASONS = {cut: "is not a readable checkpoint", emptied: "is empty", flipped: "its bytes changed after it was written"}


@pytest.mark.parametrize("damage", REASONS)
@pytest.mark.usefixtures("rows_of_three_steps")
def test_a_run_goes_back_to_the_checkpoint_before_a_damaged_one(damage, whole_run, training_inputs, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    checkpoint = out / "checkpoint.pt"
    damaged = damage(checkpoint.read_bytes())
    checkpoint.write_bytes(damaged)
    train_briefly(training_inputs, out)
    said = capsys.readouterr().err
    assert f"checkpoint.pt: {REASONS[damage]}" in said and "going back to the checkpoint before it, of step 9" in said
    assert_equal_files(out, whole_run)
    assert (out / "checkpoint-damaged.pt").read_bytes() == damaged


@pytest.mark.parametrize("damage", REASONS)
def test_a_damaged_checkpoint_without_one_before_it_is_refused(damage, whole_run, training_inputs, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    for name in ("checkpoint.pt", "checkpoint-previous.pt"):
        (out / name).write_bytes(damage((out / name).read_bytes()))
    with pytest.raises(UserError, match=f"{REASONS[damage]}.*; there is no earlier checkpoint .* delete it to start"):
        train_briefly(training_inputs, out)


@pytest.mark.usefixtures("rows_of_three_steps")
def test_a_missing_checkpoint_is_replaced_by_the_one_before_it(whole_run, training_inputs, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    (out / "checkpoint.pt").unlink()
    train_briefly(training_inputs, out)
    assert "checkpoint.pt: is missing; going back to the checkpoint before it" in capsys.readouterr().err
    assert_equal_files(out, whole_run)


def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path):
    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    checkpoint.save({"step": 1, "history": [], "state": {"network": {"weight": torch.arange(40.0)}}})
    content = (tmp_path / "checkpoint.pt").read_bytes()
    assert checkpoint.load()["step"] == 1
    for place in range(0, len(content), 37):
        changed = content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]
        (tmp_path / "checkpoint.pt").write_bytes(changed)
        if place < len(content) - 71:  # in the mark itself the file reads as one of an earlier version
            with pytest.raises(UserError):
                checkpoint.recover()


def test_weights_of_another_model_are_refused(run_folder, training_inputs, damsm_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    train_briefly(training_inputs, tmp_path / "attngan", "attngan")
    shutil.copy(tmp_path / "attngan" / "generator.safetensors", tmp_path / "run" / "generator.safetensors")
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    options["damsm_folder"] = str(damsm_folder)
    write_sealed_json(tmp_path / "run" / "options.json", options)
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


def test_a_disk_that_is_full_at_any_write_leaves_the_checkpoint_before(tmp_path):
    folder = tmp_path / "run"

    def write() -> None:
        checkpoint = Checkpoint(folder, "test", "fingerprint")
        checkpoint.recover()
        for step in range(1, 3):
            if (saved := checkpoint.load()) is None or saved["step"] < step:
                checkpoint.save({"step": step, "state": {"weight": torch.arange(40.0)}})

    assert check_full_disk(folder, write) > 4


def test_a_checkpoint_on_a_bad_block_is_damaged(tmp_path, monkeypatch, capsys):
    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    for step in (1, 2):
        checkpoint.save({"step": step, "history": [], "state": {}})
    read = checkpoints.has_its_hash

    def has_its_hash(path):
        if path.name == "checkpoint.pt":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "has_its_hash", has_its_hash)
        checkpoint.recover()
    assert "checkpoint.pt: cannot be read (Input/output error); going back to" in capsys.readouterr().err
    assert checkpoint.load()["step"] == 1
