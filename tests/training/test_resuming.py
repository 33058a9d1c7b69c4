"""A stopped training resumes bit-exactly, with other checkpoint intervals, and for more epochs."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from dmgan.models.registry import MODELS
from dmgan.sampling.trained_model import load_run
from dmgan.storage.files import file_sha256
from tests.conftest import CPU, TRAINING
from tests.reading import read_csv
from tests.training.short_runs import (
    assert_equal_files,
    assert_resumes_bit_exactly,
    stop_after,
    train_briefly,
    train_command,
    training_stage,
)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_resumes_bit_exactly_and_writes_its_run_folder(
    name, training_inputs, dataset, captioner_folder, tmp_path, monkeypatch
):
    training = dataclasses.replace(TRAINING, epochs=1, perceptual="damsm", **MODELS[name].training)
    with_captioner = "captioner" in MODELS[name].needs
    inputs = dataclasses.replace(training_inputs, captioner=captioner_folder if with_captioner else None)

    def make(out):
        train_briefly(inputs, out, name, training)

    assert_resumes_bit_exactly(make, tmp_path, monkeypatch)

    assert {"generator.safetensors", "history.csv", "options.json"} <= {p.name for p in (tmp_path / "run").iterdir()}
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    assert options["model"] == name and options["seed"] == 0 and options["inputs"]["data"]
    assert options["losses"] == dataclasses.asdict(MODELS[name].losses)
    assert options["training"]["perceptual"] == "damsm"
    weights = file_sha256(captioner_folder / "captioner.safetensors")
    assert options["inputs"].get("captioner") == (weights if with_captioner else None)
    history = read_csv(tmp_path / "run" / "history.csv")
    steps = training.epochs * (len(dataset.indices("train")) // training.batch_size)
    losses = [float(value) for key, value in history[-1].items() if key.startswith("discriminator")]
    assert int(history[-1]["step"]) == steps and max(losses) > 0  # of a stagewise model only the last stage's is not 0
    trained = load_run(tmp_path / "run", CPU)
    assert trained.name == name and trained.max_words == training.max_words
    assert ("gate_max" in history[-1]) == (not trained.model.gates_bounded)


@pytest.mark.slow
def test_a_killed_training_resumes_bit_exactly(training_inputs, tmp_path):
    def command(out):
        return [sys.executable, *train_command(training_inputs, out, epochs=20)]

    whole, killed = tmp_path / "whole" / "seed0", tmp_path / "killed" / "seed0"
    subprocess.run(command(whole), check=True, capture_output=True)

    job = subprocess.Popen(command(killed), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert not (killed / "generator.safetensors").exists(), "the training finished before it could be killed"

    ended = subprocess.run(command(killed), check=True, capture_output=True, text=True)
    assert "resuming from step" in ended.stderr
    assert_equal_files(whole, killed)


@pytest.mark.slow
def test_a_second_job_waits_for_the_first_on_the_same_run_folder(training_inputs, tmp_path):
    out = tmp_path / "run" / "seed0"
    command = [sys.executable, *train_command(training_inputs, out, epochs=30)]
    jobs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    messages = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert any("is being written by another process" in message for message in messages)
    assert any("all 180 steps are finished already" in message for message in messages)


@pytest.mark.slow
def test_the_weights_depend_on_the_seed_and_are_reproducible(run_folder, training_inputs, tmp_path):
    train_briefly(training_inputs, tmp_path / "again")
    train_briefly(training_inputs, tmp_path / "other", seed=1)
    same, other = (file_sha256(tmp_path / name / "generator.safetensors") for name in ("again", "other"))
    assert same == file_sha256(run_folder / "generator.safetensors") != other


@pytest.mark.parametrize("name", ["dmgan", "pretrain", "captioner", "classifier"])
def test_a_run_resumes_with_another_checkpoint_interval(name, training_inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 1)
    make = training_stage(name, training_inputs)
    whole = make(2, 3, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(3, patch)
        make(2, 3, tmp_path / "run")
    capsys.readouterr()
    assert make(2, 5, tmp_path / "run") == whole
    assert "resuming from step 3 of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dmgan", "pretrain", "captioner"])
def test_a_finished_run_resumes_for_more_epochs(name, training_inputs, tmp_path, capsys):
    make = training_stage(name, training_inputs)
    whole = make(2, 100, tmp_path / "whole")
    assert make(1, 100, tmp_path / "run") != whole
    capsys.readouterr()
    assert make(2, 100, tmp_path / "run") == whole
    assert re.search(r"resuming from step (\d+) of ", capsys.readouterr().err)


@pytest.mark.slow
def test_the_configuration_hash_depends_on_epochs_but_not_on_the_checkpoint_interval(
    run_folder, training_inputs, tmp_path
):
    for name, changed in (("longer", {"epochs": 3}), ("saved", {"checkpoint_every": 7})):
        train_briefly(training_inputs, tmp_path / name, training=dataclasses.replace(TRAINING, **changed))
    found = {
        folder.name: json.loads((folder / "options.json").read_text())["config_sha256"]
        for folder in (run_folder, tmp_path / "longer", tmp_path / "saved")
    }
    assert found["saved"] == found[run_folder.name] != found["longer"]
