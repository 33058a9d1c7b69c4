"""Training: it learns, it goes on to the bit, and it says what is wrong."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from dmgan.checkpoints import Checkpoint, run_steps
from dmgan.errors import UserError
from dmgan.files import file_sha256
from dmgan.models.registry import MODELS
from dmgan.options import LossOptions, MatchingOptions
from dmgan.sampling import load_run
from dmgan.tracking import LabBook
from dmgan.training import train
from tests.conftest import ARCHITECTURE, CPU, TRAINING

NO_BOOK = LabBook(None, None, "", {}, {})


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def run(data, damsm_folder, out, name="dmgan", training=TRAINING, seed=0):
    train(name, data, damsm_folder, out, ARCHITECTURE, training, MatchingOptions(), seed, CPU)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_and_writes_its_run_folder(name, data, dataset, damsm_folder, tmp_path):
    training = dataclasses.replace(TRAINING, **MODELS[name].training)
    run(data, damsm_folder, tmp_path / "run", name, training)
    assert {"generator.safetensors", "history.csv", "options.json"} <= {p.name for p in (tmp_path / "run").iterdir()}
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    assert options["model"] == name and options["seed"] == 0 and options["inputs"]["data"]
    assert options["losses"] == dataclasses.asdict(MODELS[name].losses)
    history = read_csv(tmp_path / "run" / "history.csv")
    steps = training.epochs * (len(dataset.indices("train")) // training.batch_size)
    assert int(history[-1]["step"]) == steps and float(history[-1]["discriminator0"]) > 0
    trained = load_run(tmp_path / "run", CPU)
    assert trained.name == name and trained.max_words == training.max_words
    assert ("gate_max" in history[-1]) == (not trained.model.gates_bounded)


def test_a_model_that_is_its_training_is_not_trained_otherwise(data, damsm_folder, tmp_path):
    with pytest.raises(UserError, match="dmgan-004: is trained with batch_size 2, not 4; give --batch-size 2"):
        run(data, damsm_folder, tmp_path / "run", "dmgan-004")
    assert not (tmp_path / "run").exists()


def command(data, damsm_folder, out) -> list[str]:
    flags = {
        "--model": "dmgan", "--data": data, "--damsm": damsm_folder, "--out": out, "--threads": 1, "--device": "cpu",
        "--base-size": 8, "--generator-width": 4, "--discriminator-width": 2, "--noise-dim": 6, "--condition-dim": 5,
        "--residual-blocks": 1, "--batch-size": 4, "--epochs": 60, "--max-words": 12, "--checkpoint-every": 20,
    }  # fmt: skip
    return [sys.executable, "-m", "dmgan", "train", *(str(part) for pair in flags.items() for part in pair)]


def test_a_killed_training_goes_on_and_ends_with_the_same_bits(data, damsm_folder, tmp_path):
    whole, killed = tmp_path / "whole" / "seed0", tmp_path / "killed" / "seed0"
    subprocess.run(command(data, damsm_folder, whole), check=True, capture_output=True)

    job = subprocess.Popen(command(data, damsm_folder, killed), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert not (killed / "generator.safetensors").exists(), "the job had already ended; it must be killed in the middle"

    ended = subprocess.run(command(data, damsm_folder, killed), check=True, capture_output=True, text=True)
    assert "going on from step" in ended.stderr
    for name in ("generator.safetensors", "history.csv"):
        assert file_sha256(whole / name) == file_sha256(killed / name)


def test_two_jobs_on_one_run_folder_wait_for_each_other(data, damsm_folder, tmp_path):
    out = tmp_path / "run" / "seed0"
    jobs = [subprocess.Popen(command(data, damsm_folder, out), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    messages = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert any("another job is at work on it" in message for message in messages)
    assert any("going on from step 360 of 360" in message for message in messages)


def test_seeds_differ_and_repeats_do_not(run_folder, data, damsm_folder, tmp_path):
    run(data, damsm_folder, tmp_path / "again")
    run(data, damsm_folder, tmp_path / "other", seed=1)
    same, other = (file_sha256(tmp_path / name / "generator.safetensors") for name in ("again", "other"))
    assert same == file_sha256(run_folder / "generator.safetensors") != other


def test_a_checkpoint_of_another_model_is_refused(run_folder, data, damsm_folder, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    with pytest.raises(UserError, match=r"checkpoint.pt: is a checkpoint of dmgan, not of attngan; delete it"):
        run(data, damsm_folder, out, "attngan")


def test_a_checkpoint_under_other_options_is_left_aside_with_a_word(run_folder, data, damsm_folder, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    run(data, damsm_folder, out, training=dataclasses.replace(TRAINING, generator_lr=1e-3))
    assert "was made under other options or inputs; starting from the first step" in capsys.readouterr().err
    assert file_sha256(out / "generator.safetensors") != file_sha256(run_folder / "generator.safetensors")


def test_a_checkpoint_under_other_losses_is_left_aside_with_a_word(
    run_folder, data, damsm_folder, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    monkeypatch.setitem(MODELS, "dmgan", MODELS["dmgan"]._replace(losses=LossOptions(half_adversarial=True)))
    run(data, damsm_folder, out)
    assert "was made under other options or inputs; starting from the first step" in capsys.readouterr().err
    assert file_sha256(out / "generator.safetensors") != file_sha256(run_folder / "generator.safetensors")


def test_a_damaged_checkpoint_is_refused(run_folder, data, damsm_folder, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    (out / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(UserError, match="is not a readable checkpoint .* delete it to start anew"):
        run(data, damsm_folder, out)


def test_weights_of_another_model_are_refused(run_folder, data, damsm_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    run(data, damsm_folder, tmp_path / "attngan", "attngan")
    shutil.copy(tmp_path / "attngan" / "generator.safetensors", tmp_path / "run" / "generator.safetensors")
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    options["damsm_folder"] = str(damsm_folder)
    (tmp_path / "run" / "options.json").write_text(json.dumps(options))
    with pytest.raises(UserError, match="holds the weights of another network than DMGAN"):
        load_run(tmp_path / "run", CPU)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path):
    weight = torch.nn.Linear(1, 1)

    def step_function(step):
        return {"loss": torch.tensor(float("nan") if step >= 6 else 1.0)}

    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    with pytest.raises(UserError, match="step 7: loss is not a finite number; the last good checkpoint is kept"):
        run_steps(
            step_function, {"weight": weight}, 20, 2, checkpoint, 2, NO_BOOK, lambda step: {"images": [step, step + 1]}
        )
    assert checkpoint.load()["step"] == 6
    assert json.loads((tmp_path / "failure.json").read_text()) == {
        "step": 7,
        "losses": {"loss": "nan"},
        "images": [6, 7],
    }


def test_history_rows_are_means_of_their_steps(tmp_path):
    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    history = run_steps(lambda step: {"loss": torch.tensor(float(step))}, {}, 5, 2, checkpoint, 2, NO_BOOK)
    assert history == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 2.5}, {"step": 5, "loss": 4.0}]


def test_the_image_encoder_learns_to_match(data, tmp_path):
    """Pretraining brings the loss well below that of guessing."""
    import math

    from dmgan.damsm import pretrain
    from dmgan.options import DamsmOptions

    options = DamsmOptions(
        image_encoder="small", image_size=32, width=8, embedding_dim=32, epochs=30, batch_size=8,
        dropout=0.0, new_adam_each_epoch=False,
    )  # fmt: skip
    pretrain(data, tmp_path, options, MatchingOptions(), 0, CPU)
    last = read_csv(tmp_path / "history.csv")[-1]
    assert float(last["sentence0"]) < 0.6 * math.log(8) and float(last["word0"]) < 0.6 * math.log(8)
