"""Training: it learns, it goes on to the bit, and it says what is wrong."""

import copy
import csv
import dataclasses
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from dmgan.data.batches import TrainingBatches
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.classifier import train_classifier
from dmgan.models.registry import MODELS
from dmgan.options import (
    CaptionerOptions,
    ClassifierOptions,
    DamsmOptions,
    LossOptions,
    MatchingOptions,
    TrainingSettings,
)
from dmgan.sampling.trained_model import load_run
from dmgan.storage.files import file_sha256
from dmgan.text.captioner import TrainedCaptioner
from dmgan.text.damsm import Damsm
from dmgan.training.pretrain_captioner import train_captioner
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import TrainingInputs, train
from tests.conftest import ARCHITECTURE, CPU, TRAINING


def assert_equal_states(found, expected, where="state"):
    """Nested states are the same, to the bit."""
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


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def run(data, damsm_folder, out, name="dmgan", training=TRAINING, seed=0, captioner=None):
    train(
        name,
        TrainingInputs(data, damsm_folder, captioner=captioner),
        out,
        TrainingSettings(ARCHITECTURE, training),
        seed,
        CPU,
    )


def assert_goes_on_to_the_bit(make, folder, monkeypatch):
    """make(out) trains; stopped after four steps it goes on to end as one that was not."""
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 4)  # checkpoints fall on row ends
    make(folder / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(4, patch)
        make(folder / "run")
    assert not (folder / "run" / "generator.safetensors").exists()
    make(folder / "run")
    whole, stopped = (
        torch.load(folder / each / "checkpoint.pt", weights_only=True)["state"] for each in ("whole", "run")
    )
    assert_equal_states(stopped, whole)  # of the discriminators, Adams and averages too
    for file in ("generator.safetensors", "history.csv"):
        assert file_sha256(folder / "whole" / file) == file_sha256(folder / "run" / file)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_stops_goes_on_to_the_bit_and_writes_its_run_folder(
    name, data, dataset, damsm_folder, captioner_folder, tmp_path, monkeypatch
):
    training = dataclasses.replace(TRAINING, epochs=1, perceptual="damsm", **MODELS[name].training)

    def make(out):
        run(data, damsm_folder, out, name, training, captioner=captioner_folder if with_captioner else None)

    with_captioner = "captioner" in MODELS[name].needs
    assert_goes_on_to_the_bit(make, tmp_path, monkeypatch)

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
    assert int(history[-1]["step"]) == steps and max(losses) > 0  # of stages trained one by one the last alone
    trained = load_run(tmp_path / "run", CPU)
    assert trained.name == name and trained.max_words == training.max_words
    assert ("gate_max" in history[-1]) == (not trained.model.gates_bounded)


def test_a_model_that_is_its_training_is_not_trained_otherwise(data, damsm_folder, tmp_path):
    with pytest.raises(UserError, match="dmgan-004: is trained with batch_size 2, not 4; give --batch-size 2"):
        run(data, damsm_folder, tmp_path / "run", "dmgan-004")
    assert not (tmp_path / "run").exists()


def test_a_retrieving_model_of_another_side_than_the_data_is_refused(data, damsm_folder, tmp_path):
    architecture = dataclasses.replace(ARCHITECTURE, stages=2)
    with pytest.raises(UserError, match="images of 32 px, of which mdsp retrieves features, and images of 16 px"):
        train(
            "mdsp",
            TrainingInputs(data, damsm_folder),
            tmp_path / "run",
            TrainingSettings(architecture, TRAINING),
            0,
            CPU,
        )
    assert not (tmp_path / "run").exists()


def test_a_missing_captioner_or_vgg16_is_told(data, damsm_folder, tmp_path):
    with pytest.raises(UserError, match="--captioner: not given.* python -m dmgan captioner"):
        run(data, damsm_folder, tmp_path / "run", "mirrorgan")
    with pytest.raises(UserError, match="perceptual vgg16: needs VGG-16's weights; .*--perceptual damsm"):
        run(data, damsm_folder, tmp_path / "run", "controlgan")
    assert not (tmp_path / "run" / "options.json").exists()


def test_encoders_of_another_vocabulary_are_refused(dataset, damsm_folder):
    from dmgan.data.vocabulary import Vocabulary

    assert Damsm.read_for(dataset, damsm_folder).vocabulary == dataset.vocabulary
    other = copy.copy(dataset)
    other.vocabulary = Vocabulary(dataset.vocabulary.words[:-1])
    with pytest.raises(UserError, match="its vocabulary is not that of .*; pretrain the encoders on this data set"):
        Damsm.read_for(other, damsm_folder)


def test_weights_that_nothing_reads_are_refused(data, damsm_folder, tmp_path):
    for name, perceptual, match in (("dmgan", "vgg16", "reads no VGG-16"), ("controlgan", "damsm", "reads none")):
        training = dataclasses.replace(TRAINING, perceptual=perceptual)
        with pytest.raises(UserError, match=f"--vgg16-weights .*{match}"):
            train(
                name, TrainingInputs(data, damsm_folder, tmp_path / "vgg"), tmp_path / "run",
                TrainingSettings(ARCHITECTURE, training), 0, CPU,
            )  # fmt: skip
    assert not (tmp_path / "run" / "options.json").exists()


def test_vgg16_s_own_weights_are_read_and_recorded(data, damsm_folder, tmp_path):
    from torchvision.models.vgg import cfgs, make_layers

    from dmgan.models.vgg import vgg16

    torch.manual_seed(0)
    layers = make_layers(cfgs["D"])
    state = {f"features.{key}": value for key, value in layers.state_dict().items()}
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg")
    network = vgg16(tmp_path / "vgg", "relu2_2", "perceptual vgg16", "--perceptual damsm")
    images = torch.rand(1, 3, 8, 8) * 2 - 1
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(network(images), layers[:9](((images + 1) / 2 - mean) / std))
    assert network(images).shape == (1, 128, 4, 4)
    (tmp_path / "half").write_bytes(b"half")
    with pytest.raises(UserError, match="half: is refused.*give --vgg16-weights vgg16-.*--perceptual damsm"):
        vgg16(tmp_path / "half", "relu2_2", "perceptual vgg16", "--perceptual damsm")
    shutil.copy(tmp_path / "vgg", tmp_path / "vgg16-397923af.pth")  # named as the published file, and another
    with pytest.raises(UserError, match="vgg16-397923af.pth: has SHA-256 .*, not 397923af….*fetch vgg16"):
        vgg16(tmp_path / "vgg16-397923af.pth", "relu2_2", "perceptual vgg16", "--perceptual damsm")
    training = dataclasses.replace(TRAINING, epochs=1)
    train(
        "controlgan", TrainingInputs(data, damsm_folder, tmp_path / "vgg"), tmp_path / "run",
        TrainingSettings(ARCHITECTURE, training), 0, CPU,
    )  # fmt: skip
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    assert options["inputs"]["vgg16"] == file_sha256(tmp_path / "vgg")


def test_the_captioner_learns_to_describe(data, damsm_folder, tmp_path):
    options = CaptionerOptions(embedding_dim=16, hidden_dim=32, epochs=60, batch_size=8, lr=1e-2)
    train_captioner(data, damsm_folder, tmp_path, options, 0, CPU)
    first, last = (float(read_csv(tmp_path / "history.csv")[row]["cross_entropy"]) for row in (0, -1))
    assert last < 0.7 * first

    damsm = Damsm.read(damsm_folder)
    network = TrainedCaptioner.read(tmp_path, damsm, CPU).network
    assert not any(each.requires_grad for each in network.parameters())
    batch = TrainingBatches(PreparedDataset(data), [32], 16, 18, 1)[0]
    captions, (_, codes) = damsm.encode(batch.tokens, batch.lengths), damsm.image_encoder(batch.images[0])
    own, others = (
        float(network.cross_entropy(each, captions.tokens, captions.mask)) for each in (codes, codes.roll(5, 0))
    )
    assert own < others, "it reads the image, not the words alone"

    with pytest.raises(UserError, match="was trained with other encoders than the generator is; train it"):
        TrainedCaptioner.read(tmp_path, damsm._replace(sha256={}), CPU)


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
    assert "resuming from step" in ended.stderr
    for name in ("generator.safetensors", "history.csv"):
        assert file_sha256(whole / name) == file_sha256(killed / name)


def stop_after(steps: int, monkeypatch) -> None:
    """Training stops there as a killed one does: after a checkpoint, without any result."""
    import dmgan.training.checkpoints

    def save(self, content):
        saved(self, content)
        if content["step"] >= steps:
            raise KeyboardInterrupt

    saved = dmgan.training.checkpoints.Checkpoint.save
    monkeypatch.setattr(dmgan.training.checkpoints.Checkpoint, "save", save)


@pytest.mark.parametrize("stop", [20, 40])
def test_stagewise_training_goes_on_in_either_half_and_ends_with_the_same_bits(
    stop, data, damsm_folder, tmp_path, monkeypatch
):
    training = dataclasses.replace(TRAINING, epochs=10, checkpoint_every=20)  # 60 steps
    run(data, damsm_folder, tmp_path / "whole", "stackgan", training)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(stop, patch)
        run(data, damsm_folder, tmp_path / "stopped", "stackgan", training)
    assert not (tmp_path / "stopped" / "generator.safetensors").exists()
    run(data, damsm_folder, tmp_path / "stopped", "stackgan", training)
    for name in ("generator.safetensors", "history.csv"):
        assert file_sha256(tmp_path / "whole" / name) == file_sha256(tmp_path / "stopped" / name)


def test_the_first_stage_is_trained_first_and_then_left_alone(data, damsm_folder, tmp_path, monkeypatch):
    training = dataclasses.replace(TRAINING, epochs=20, checkpoint_every=20)  # 120 steps, 60 of Stage-I
    states = {}

    def save(self, content):
        states[content["step"]] = {name: each.clone() for name, each in content["state"]["model"].items()}

    monkeypatch.setattr("dmgan.training.checkpoints.Checkpoint.save", save)
    run(data, damsm_folder, tmp_path / "run", "stackgan", training)
    for before, after, moved in ((20, 60, "stage1"), (80, 120, "stage2")):
        changed = {
            key.split(".")[0] for key in states[before] if not torch.equal(states[before][key], states[after][key])
        }
        assert changed == {moved}
    history = read_csv(tmp_path / "run" / "history.csv")
    assert [float(row["discriminator0"]) > 0 for row in history] == [True] * 3 + [False] * 3
    assert [float(row["discriminator1"]) > 0 for row in history] == [False] * 3 + [True] * 3


def test_two_jobs_on_one_run_folder_wait_for_each_other(data, damsm_folder, tmp_path):
    out = tmp_path / "run" / "seed0"
    jobs = [subprocess.Popen(command(data, damsm_folder, out), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    messages = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert any("is being written by another process" in message for message in messages)
    assert any("all 360 steps are already made" in message for message in messages)


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


def assert_started_anew(out, checkpoint: str, words: str, said: str):
    """A run found a checkpoint, by its SHA-256, that it could not go on from, and kept it under another name."""
    (aside,) = out.glob("checkpoint-*.pt")
    assert f"checkpoint.pt: {words} and is kept as {aside.name}; starting from the first step" in said
    assert file_sha256(aside) == checkpoint != file_sha256(out / "checkpoint.pt")


def test_a_checkpoint_under_other_options_is_set_aside_with_a_word(run_folder, data, damsm_folder, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    run(data, damsm_folder, out, training=dataclasses.replace(TRAINING, generator_lr=1e-3))
    checkpoint = file_sha256(run_folder / "checkpoint.pt")
    assert_started_anew(out, checkpoint, "was made with other options or inputs", capsys.readouterr().err)
    assert file_sha256(out / "generator.safetensors") != file_sha256(run_folder / "generator.safetensors")


def test_a_checkpoint_under_other_losses_is_set_aside_with_a_word(
    run_folder, data, damsm_folder, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    monkeypatch.setitem(
        MODELS, "dmgan", dataclasses.replace(MODELS["dmgan"], losses=LossOptions(half_adversarial=True))
    )
    run(data, damsm_folder, out)
    checkpoint = file_sha256(run_folder / "checkpoint.pt")
    assert_started_anew(out, checkpoint, "was made with other options or inputs", capsys.readouterr().err)
    assert file_sha256(out / "generator.safetensors") != file_sha256(run_folder / "generator.safetensors")


def stage(name: str, data, damsm_folder):
    """(epochs, checkpoint_every, out) -> one of the trainings, made by its own function; 4 or 6 steps an epoch."""

    def make(epochs, checkpoint_every, out):
        common = {"epochs": epochs, "batch_size": 4, "checkpoint_every": checkpoint_every}
        if name in MODELS:
            run(data, damsm_folder, out, name, dataclasses.replace(TRAINING, **common))
        elif name == "pretrain":
            options = DamsmOptions(image_encoder="small", image_size=32, width=4, embedding_dim=16, **common)
            pretrain(data, out, options, MatchingOptions(), 0, CPU)
        elif name == "captioner":
            train_captioner(data, damsm_folder, out, CaptionerOptions(8, 8, **common), 0, CPU)
        else:
            train_classifier(data, out, ClassifierOptions(32, 4, 16, **common), 0, CPU)
        weights = sorted(out.glob("*.safetensors"))
        return [file_sha256(each) for each in weights]

    return make


@pytest.mark.parametrize("name", ["dmgan", "pretrain", "captioner", "classifier"])
def test_a_run_goes_on_when_checkpoints_are_to_fall_elsewhere(name, data, damsm_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 1)
    make = stage(name, data, damsm_folder)
    whole = make(2, 3, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(3, patch)
        make(2, 3, tmp_path / "run")
    capsys.readouterr()
    assert make(2, 5, tmp_path / "run") == whole
    assert "resuming from step 3 of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dmgan", "pretrain", "captioner"])
def test_a_run_may_go_on_for_more_epochs(name, data, damsm_folder, tmp_path, capsys):
    make = stage(name, data, damsm_folder)
    whole = make(2, 100, tmp_path / "whole")
    assert make(1, 100, tmp_path / "run") != whole
    capsys.readouterr()
    assert make(2, 100, tmp_path / "run") == whole
    assert re.search(r"resuming from step (\d+) of ", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["stackgan", "classifier"])
def test_a_run_whose_steps_depend_on_the_epochs_begins_anew_for_more(name, data, damsm_folder, tmp_path, capsys):
    make = stage(name, data, damsm_folder)
    make(1, 100, tmp_path / "run")
    checkpoint = file_sha256(tmp_path / "run" / "checkpoint.pt")
    capsys.readouterr()
    make(2, 100, tmp_path / "run")
    said = capsys.readouterr().err
    assert_started_anew(tmp_path / "run", checkpoint, "was made with other options or inputs", said)


def test_a_checkpoint_of_a_longer_run_is_set_aside(run_folder, data, damsm_folder, tmp_path, capsys):
    run(data, damsm_folder, tmp_path / "short", training=dataclasses.replace(TRAINING, epochs=1))
    shutil.copytree(run_folder, tmp_path / "run")
    run(data, damsm_folder, tmp_path / "run", training=dataclasses.replace(TRAINING, epochs=1))
    checkpoint = file_sha256(run_folder / "checkpoint.pt")
    assert_started_anew(tmp_path / "run", checkpoint, "belongs to a longer run, of 12 steps,", capsys.readouterr().err)
    found, expected = (file_sha256(tmp_path / each / "generator.safetensors") for each in ("run", "short"))
    assert found == expected


def test_runs_of_other_epochs_are_other_runs(run_folder, data, damsm_folder, tmp_path):
    """What identifies a run beside its results is not what a checkpoint must agree in."""
    for name, changed in (("longer", {"epochs": 3}), ("saved", {"checkpoint_every": 7})):
        run(data, damsm_folder, tmp_path / name, training=dataclasses.replace(TRAINING, **changed))
    found = {
        folder.name: json.loads((folder / "options.json").read_text())["config_sha256"]
        for folder in (run_folder, tmp_path / "longer", tmp_path / "saved")
    }
    assert found["saved"] == found[run_folder.name] != found["longer"]


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


@pytest.mark.parametrize("stage", ["pretrain", "captioner"])
def test_a_pretraining_that_is_not_finite_leaves_its_data(stage, data, dataset, damsm_folder, tmp_path):
    common = {"embedding_dim": 16, "epochs": 2, "batch_size": 8, "max_words": 12, "lr": 1e37}
    with pytest.raises(UserError, match="is not a finite number"):
        if stage == "pretrain":
            options = DamsmOptions(image_encoder="small", image_size=32, width=4, min_lr=1e37, **common)
            pretrain(data, tmp_path, options, MatchingOptions(), 7, CPU)
        else:
            train_captioner(data, damsm_folder, tmp_path, CaptionerOptions(hidden_dim=8, **common), 7, CPU)
    failure = json.loads((tmp_path / "failure.json").read_text())
    batches = TrainingBatches(dataset, [32], 8, 12, 7)
    assert failure["seed"] == 7 and failure["images"] == batches.rows(failure["step"] - 1).tolist()
    assert [len(each) for each in failure["captions"]] == batches[failure["step"] - 1].lengths.tolist()


def test_the_image_encoder_learns_to_match(data, tmp_path):
    """Pretraining brings the loss well below that of guessing."""
    options = DamsmOptions(
        image_encoder="small", image_size=32, width=8, embedding_dim=32, epochs=30, batch_size=8,
        dropout=0.0, new_adam_each_epoch=False,
    )  # fmt: skip
    pretrain(data, tmp_path, options, MatchingOptions(), 0, CPU)
    last = read_csv(tmp_path / "history.csv")[-1]
    assert float(last["sentence0"]) < 0.6 * math.log(8) and float(last["word0"]) < 0.6 * math.log(8)
