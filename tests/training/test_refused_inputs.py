"""Inputs that do not belong to the model are refused before a run folder is made; VGG-16's weights are verified."""

import copy
import dataclasses
import json
import shutil

import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from dmgan.data.vocabulary import Vocabulary
from dmgan.errors import UserError
from dmgan.models.loss_networks import perceptual_features
from dmgan.models.vgg import vgg16
from dmgan.options import TrainingSettings
from dmgan.storage.files import file_sha256
from dmgan.text.damsm import Damsm
from dmgan.training.train import train
from tests.conftest import ARCHITECTURE, CPU, TRAINING
from tests.training.short_runs import train_briefly


def test_a_batch_size_that_contradicts_the_model_is_refused(training_inputs, tmp_path):
    with pytest.raises(UserError, match="dmgan-004: is trained with batch_size 2, not 4; give --batch-size 2"):
        train_briefly(training_inputs, tmp_path / "run", "dmgan-004")
    assert not (tmp_path / "run").exists()


def test_a_retrieving_model_must_have_the_image_size_of_the_data(training_inputs, tmp_path):
    architecture = dataclasses.replace(ARCHITECTURE, stages=2)
    with pytest.raises(UserError, match="images of 32 px, but mdsp is trained with images of 16 px"):
        train("mdsp", training_inputs, tmp_path / "run", TrainingSettings(architecture, TRAINING), 0, CPU)
    assert not (tmp_path / "run").exists()


def test_a_missing_captioner_or_vgg16_is_refused(training_inputs, tmp_path):
    with pytest.raises(UserError, match="--captioner: is missing.* python -m dmgan captioner"):
        train_briefly(training_inputs, tmp_path / "run", "mirrorgan")
    with pytest.raises(UserError, match="perceptual vgg16: needs VGG-16's weights; .*--perceptual damsm"):
        train_briefly(training_inputs, tmp_path / "run", "controlgan")
    assert not (tmp_path / "run" / "options.json").exists()


def test_encoders_of_another_vocabulary_are_refused(dataset, damsm_folder):
    assert Damsm.read_for(dataset, damsm_folder).vocabulary == dataset.vocabulary
    other = copy.copy(dataset)
    other.vocabulary = Vocabulary(dataset.vocabulary.words[:-1])
    with pytest.raises(UserError, match="has another vocabulary than .*; pretrain the encoders on this data set"):
        Damsm.read_for(other, damsm_folder)


def test_vgg16_weights_are_refused_by_models_that_do_not_read_them(training_inputs, tmp_path):
    inputs = dataclasses.replace(training_inputs, vgg16_weights=tmp_path / "vgg")
    for name, perceptual, match in (
        ("dmgan", "vgg16", "does not use VGG-16"),
        ("controlgan", "damsm", "is not used with"),
    ):
        training = dataclasses.replace(TRAINING, perceptual=perceptual)
        with pytest.raises(UserError, match=f"--vgg16-weights .*{match}"):
            train_briefly(inputs, tmp_path / "run", name, training)
    assert not (tmp_path / "run" / "options.json").exists()


@pytest.mark.slow
def test_published_vgg16_weights_are_verified_read_and_recorded(training_inputs, tmp_path):
    torch.manual_seed(0)
    layers = make_layers(cfgs["D"])
    state = {f"features.{key}": value for key, value in layers.state_dict().items()}
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg")
    network, raw = (
        vgg16(tmp_path / "vgg", "relu2_2", "perceptual vgg16", "--perceptual damsm", normalises)
        for normalises in (True, False)
    )
    images = torch.rand(1, 3, 8, 8) * 2 - 1
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(network(images), layers[:9](((images + 1) / 2 - mean) / std))
    assert network(images).shape == (1, 128, 4, 4)
    torch.testing.assert_close(raw(images), layers[:9](images))
    assert not perceptual_features("vgg16", None, tmp_path / "vgg").normalises  # ControlGAN, as released
    (tmp_path / "half").write_bytes(b"half")
    with pytest.raises(UserError, match="half: is refused.*give --vgg16-weights vgg16-.*--perceptual damsm"):
        vgg16(tmp_path / "half", "relu2_2", "perceptual vgg16", "--perceptual damsm")
    shutil.copy(tmp_path / "vgg", tmp_path / "vgg16-397923af.pth")  # the published file's name, but other weights
    with pytest.raises(UserError, match="vgg16-397923af.pth: has SHA-256 .*, not 397923af….*fetch vgg16"):
        vgg16(tmp_path / "vgg16-397923af.pth", "relu2_2", "perceptual vgg16", "--perceptual damsm")
    training = dataclasses.replace(TRAINING, epochs=1)
    inputs = dataclasses.replace(training_inputs, vgg16_weights=tmp_path / "vgg")
    train_briefly(inputs, tmp_path / "run", "controlgan", training)
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    assert options["inputs"]["vgg16"] == file_sha256(tmp_path / "vgg")
