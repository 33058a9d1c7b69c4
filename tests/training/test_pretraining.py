"""Pretraining of the encoders and of the captioner: both learn, and values that are not finite are reported."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dmgan.__main__ import main
from dmgan.data.batches import TrainingBatches, random_crops, scaled
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.pretrained_retrieval import r_precision_of_training_images
from dmgan.options import (
    CaptionerOptions,
    DamsmOptions,
    DamsmSettings,
)
from dmgan.runtime.randomness import generator
from dmgan.text.captioner import TrainedCaptioner
from dmgan.text.damsm import Damsm
from dmgan.text.efficientnet_lite import SHA256, EfficientNetLite0, load_imagenet_weights
from dmgan.text.encoders import EfficientNetLite0ImageEncoder
from dmgan.text.trunk_maps import TrunkMaps
from dmgan.training.pretrain_captioner import train_captioner
from dmgan.training.pretrain_damsm import pretrain
from tests.conftest import CPU, DAMSM
from tests.reading import read_csv
from tests.storage.full_disk import check_full_disk
from tests.training.short_runs import assert_equal_files


@pytest.mark.slow
def test_the_captioner_learns_captions_of_the_images(data, damsm_folder, tmp_path):
    options = CaptionerOptions(embedding_dim=16, hidden_dim=32, epochs=60, batch_size=8, lr=1e-2)
    train_captioner(data, damsm_folder, tmp_path, options, 0, CPU)
    first, last = (float(read_csv(tmp_path / "history.csv")[row]["cross_entropy"]) for row in (0, -1))
    assert last < 0.7 * first

    damsm = Damsm.read(damsm_folder)
    network = TrainedCaptioner.read(tmp_path, damsm, CPU).network
    assert not any(each.requires_grad for each in network.parameters())
    batch = TrainingBatches(PreparedDataset(data), [32], 16, 18, 1)[0]
    captions, (_, embeddings) = damsm.encode(batch.tokens, batch.lengths), damsm.image_encoder(batch.images[0])
    own, others = (
        float(network.cross_entropy(images, captions.tokens, captions.mask))
        for images in (embeddings, embeddings.roll(5, 0))
    )
    assert own < others, "the captioner must read the image, not only the words before"

    with pytest.raises(UserError, match="was trained with other encoders than the generator; train it"):
        TrainedCaptioner.read(tmp_path, damsm._replace(sha256={}), CPU)


@pytest.mark.slow
def test_the_encoders_learn_to_match_images_with_captions(data, tmp_path):
    """Pretraining brings the loss well below that of a random match."""
    options = DamsmOptions(
        image_encoder="small", image_size=32, width=8, embedding_dim=32, epochs=30, batch_size=8,
        dropout=0.0, new_adam_each_epoch=False, validation_images=0,
    )  # fmt: skip
    pretrain(data, tmp_path, DamsmSettings(options), 0, CPU)
    last = read_csv(tmp_path / "history.csv")[-1]
    assert float(last["sentence0"]) < 0.6 * math.log(8) and float(last["word0"]) < 0.6 * math.log(8)


def test_the_heads_are_pretrained_on_the_installed_imagenet_weights(data, tmp_path):
    options = dataclasses.replace(DAMSM, image_encoder="efficientnet-lite0", batch_size=24)  # one step
    pretrain(data, tmp_path, DamsmSettings(options), 0, CPU)
    assert json.loads((tmp_path / "options.json").read_text())["inputs"]["efficientnet-lite0"] == SHA256
    trunk, damsm = EfficientNetLite0(), Damsm.read(tmp_path)
    load_imagenet_weights(trunk)
    torch.testing.assert_close(damsm.image_encoder.features.state_dict(), trunk.state_dict(), rtol=0, atol=0)
    assert damsm.encode_images(torch.zeros(1, 3, 40, 40))[0].shape == (1, options.embedding_dim, 7, 7)


@pytest.mark.parametrize(
    ("training_images", "batch_size", "asked", "held_out"),
    [
        (8_855, 48, -1, 500), (275, 48, -1, 27), (50, 48, -1, 2), (49, 48, -1, 0), (9, 48, -1, 0), (20, 8, -1, 2),
        (19, 8, -1, 0), (24, 8, 0, 0), (24, 8, 7, 7),
    ],
)  # fmt: skip
def test_a_tenth_of_the_training_images_is_held_out_by_default(training_images, batch_size, asked, held_out):
    assert DamsmOptions().validation_images == -1
    options = DamsmOptions(validation_images=asked, batch_size=batch_size)
    assert options.held_out(training_images) == held_out


@pytest.mark.parametrize("held_out", [0, 2, 6])
def test_pretraining_ends_with_the_r_precision_of_training_images(
    held_out, data, dataset, damsm_folder, tmp_path, capfd
):
    """Held-out images are not trained on; without any, the measured images are those, and the encoders are equal."""
    flags = ["--image-encoder", "small", "--image-size", 32, "--width", 4, "--embedding-dim", 16, "--epochs", 1]
    flags += ["--batch-size", 8, "--threads", 1, "--device", "cpu"]
    flags += [] if held_out == 2 else ["--validation-images", held_out]  # the default: a tenth of 24
    assert main([str(word) for word in ["pretrain", "--data", data, "--out", tmp_path, *flags]]) == 0
    found = json.loads((tmp_path / "options.json").read_text())["r_precision"]
    low, high = found["interval"]
    assert (
        found["num_images"] == (held_out or 24) and found["chance"] == 1 and 0 <= low <= found["value"] <= high <= 100
    )
    assert "held out" in found["of"] if held_out else "on which the encoders were pretrained" in found["of"]
    line = f"R-precision {found['value']:.2f} % ({low:.2f} to {high:.2f}) of {held_out or 24} training images"
    assert line in capfd.readouterr().err
    names = ("text_encoder.safetensors", "image_encoder.safetensors")
    same = [(tmp_path / name).read_bytes() == (damsm_folder / name).read_bytes() for name in names]
    assert same == ([False, False] if held_out else [True, True])
    hits = r_precision_of_training_images(Damsm.read(tmp_path), dataset, held_out, CPU)
    assert hits == found, "a pure function of the encoders and the data set"


@pytest.mark.parametrize("stage", ["pretrain", "captioner"])
def test_a_pretraining_that_is_not_finite_records_its_images_and_captions(stage, data, dataset, damsm_folder, tmp_path):
    common = {"embedding_dim": 16, "epochs": 2, "batch_size": 8, "max_words": 12, "lr": 1e30}
    with pytest.raises(UserError, match="is not (a )?finite"):
        if stage == "pretrain":
            options = dataclasses.replace(DAMSM, min_lr=1e30, **common)
            pretrain(data, tmp_path, DamsmSettings(options), 7, CPU)
        else:
            train_captioner(data, damsm_folder, tmp_path, CaptionerOptions(hidden_dim=8, **common), 7, CPU)
    failure = json.loads((tmp_path / "failure.json").read_text())
    batches = TrainingBatches(dataset, [32], 8, 12, 7)
    assert failure["seed"] == 7 and failure["images"] == batches.rows(failure["step"] - 1).tolist()
    assert [len(each) for each in failure["captions"]] == batches[failure["step"] - 1].lengths.tolist()


def test_deterministic_pretraining_makes_the_same_encoders(data, damsm_folder, tmp_path, monkeypatch):
    wanted = []
    monkeypatch.setattr("torch.set_deterministic_debug_mode", wanted.append)
    flags = ["--image-encoder", "small", "--image-size", 32, "--width", 4, "--embedding-dim", 16, "--epochs", 1]
    flags += ["--batch-size", 8, "--threads", 1, "--device", "cpu", "--validation-images", 0, "--deterministic"]
    command = ["pretrain", "--data", data, "--out", tmp_path, *flags]
    assert main([str(word) for word in command]) == 0 and wanted == ["error"]
    assert main([str(word) for word in command[:-1]]) == 0 and wanted == ["error", "default"]
    # The option does not change the experiment.
    assert_equal_files(tmp_path, damsm_folder, "text_encoder.safetensors", "image_encoder.safetensors")


def test_the_trunk_computes_the_maps_of_its_crops_once(data, dataset, tmp_path, monkeypatch, capsys):
    options = dataclasses.replace(DAMSM, image_encoder="efficientnet-lite0", trunk_size=64, trunk_crops=3, batch_size=8)
    settings = DamsmSettings(options, trunk_cache=tmp_path / "trunk")
    pretrain(data, tmp_path / "first", settings, 0, CPU)
    (maps,) = (tmp_path / "trunk").glob("*/maps.npy")
    assert np.load(maps).shape == (24 * 3, 1280, 2, 2) and np.load(maps).dtype == np.float16
    encoder = Damsm.read(tmp_path / "first").image_encoder
    stored = TrunkMaps(encoder, dataset, options, tmp_path / "trunk", CPU)
    image = dataset.indices("train")[5]
    (crop,) = random_crops(dataset, [(image, generator(0, "crop of the trunk", image, 1))], [options.image_size])
    with torch.no_grad():
        expected, _ = encoder.trunk(scaled(crop))
    torch.testing.assert_close(
        torch.tensor(stored._maps[5 * 3 + 1].astype(np.float32)), expected[0], atol=2e-2, rtol=2e-2
    )
    before = maps.stat().st_mtime_ns
    monkeypatch.setattr(EfficientNetLite0, "forward", None)  # no epoch of the second run reads the trunk
    pretrain(data, tmp_path / "again", settings, 0, CPU)
    assert maps.stat().st_mtime_ns == before
    assert_equal_files(tmp_path / "first", tmp_path / "again", "image_encoder.safetensors", "history.csv")
    monkeypatch.undo()
    whole = maps.read_bytes()
    maps.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    TrunkMaps(encoder, dataset, options, tmp_path / "trunk", CPU)
    assert maps.read_bytes() == whole
    assert "is damaged (its bytes are not those that were written); computing" in capsys.readouterr().err


def test_a_disk_that_is_full_at_any_write_of_the_maps_is_one_line_and_the_next_job_succeeds(dataset, tmp_path):
    options = dataclasses.replace(DAMSM, image_encoder="efficientnet-lite0", trunk_size=32, trunk_crops=1)
    few = dataset.with_splits(dataset.indices("train")[:2], dataset.indices("test"), 0)
    encoder, folder = EfficientNetLite0ImageEncoder(8, 32), tmp_path / "trunk"
    assert check_full_disk(folder, lambda: TrunkMaps(encoder, few, options, folder, CPU)) > 3


def test_stored_maps_need_their_folder_and_the_frozen_trunk():
    options = dataclasses.replace(DAMSM, image_encoder="efficientnet-lite0", trunk_crops=2)
    with pytest.raises(UserError, match="trunk_crops 2: needs --trunk-cache FOLDER"):
        DamsmSettings(options)
    with pytest.raises(UserError, match="trunk_crops 2: needs image_encoder efficientnet-lite0"):
        DamsmSettings(dataclasses.replace(DAMSM, trunk_crops=2))
    with pytest.raises(UserError, match="trunk_size 96: needs image_encoder efficientnet-lite0"):
        DamsmSettings(dataclasses.replace(DAMSM, trunk_size=96))
    with pytest.raises(UserError, match="--trunk-cache: is only read with --trunk-crops"):
        DamsmSettings(DAMSM, trunk_cache=Path("trunk"))
