"""A tiny prepared data set, tiny encoders and tiny trained runs, made once for all tests."""

import os
from pathlib import Path

import pytest
import torch

from dmgan.data.dataset import PreparedDataset
from dmgan.data.prepare import prepare_synthbirds
from dmgan.evaluation.train_classifiers import train_attributes, train_classifier
from dmgan.options import (
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmOptions,
    DamsmSettings,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.training.import_released import ReleasedFiles
from dmgan.training.pretrain_captioner import train_captioner
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import TrainingInputs, train
from tests.training.released_files import import_files, write_released_files

# pytest-xdist runs as many tests as there are CPUs; the programs that tests start inherit the setting.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

CPU = torch.device("cpu")
ARCHITECTURE = ArchitectureOptions(
    base_size=8, stages=3, generator_width=4, discriminator_width=2, noise_dim=6, condition_dim=5, residual_blocks=1,
    feature_network="small",
)  # fmt: skip
DAMSM = DamsmOptions(
    image_encoder="small", image_size=32, width=4, embedding_dim=16, epochs=1, batch_size=8, validation_images=0
)
TRAINING = TrainingOptions(epochs=2, batch_size=4, max_words=12, checkpoint_every=3)


@pytest.fixture(autouse=True)
def one_thread():
    """Bits depend on the number of threads: a subcommand that a test runs must not change it for those that follow."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A prepared data set of 8 species with 4 images each, for 32 px."""
    folder = tmp_path_factory.mktemp("prepared") / "synthbirds"
    prepare_synthbirds(
        folder, image_size=32, num_species=8, images_per_species=4, captions_per_image=3, seed=0, workers=1
    )
    return folder


@pytest.fixture(scope="session")
def dataset(data) -> PreparedDataset:
    """The same, opened."""
    return PreparedDataset(data)


@pytest.fixture(scope="session")
def damsm_folder(data, tmp_path_factory) -> Path:
    """Encoders after one short epoch."""
    folder = tmp_path_factory.mktemp("damsm")
    pretrain(data, folder, DamsmSettings(DAMSM), 0, CPU)
    return folder


@pytest.fixture(scope="session")
def classifier_folder(data, tmp_path_factory) -> Path:
    """A species classifier after one short epoch."""
    folder = tmp_path_factory.mktemp("classifier")
    train_classifier(
        data, folder, ClassifierOptions(image_size=32, width=4, features=16, epochs=1, batch_size=8), 0, CPU
    )
    return folder


@pytest.fixture(scope="session")
def captioner_folder(data, damsm_folder, tmp_path_factory) -> Path:
    """A captioner after one short epoch."""
    folder = tmp_path_factory.mktemp("captioner")
    options = CaptionerOptions(embedding_dim=8, hidden_dim=8, epochs=1, batch_size=8)
    train_captioner(data, damsm_folder, folder, options, 0, CPU)
    return folder


@pytest.fixture(scope="session")
def attributes_folder(data, tmp_path_factory) -> Path:
    """An attribute classifier after one short epoch."""
    folder = tmp_path_factory.mktemp("attributes")
    train_attributes(
        data, folder, ClassifierOptions(image_size=32, width=4, features=16, epochs=1, batch_size=8), 0, CPU
    )
    return folder


@pytest.fixture(scope="session")
def training_inputs(data, damsm_folder) -> TrainingInputs:
    """The prepared data set and the encoders that a model is trained with."""
    return TrainingInputs(data, damsm_folder)


@pytest.fixture(scope="session")
def run_folder(training_inputs, tmp_path_factory) -> Path:
    """A DM-GAN after two short epochs."""
    folder = tmp_path_factory.mktemp("run") / "seed0"
    train("dmgan", training_inputs, folder, TrainingSettings(ARCHITECTURE, TRAINING), 0, CPU)
    return folder


@pytest.fixture(scope="session")
def one_image_folder(training_inputs, tmp_path_factory) -> Path:
    """A model of three stages that generates the last stage's image only, after two short epochs."""
    folder = tmp_path_factory.mktemp("one-image") / "seed0"
    train("attngan-dcgan", training_inputs, folder, TrainingSettings(ARCHITECTURE, TRAINING), 0, CPU)
    return folder


@pytest.fixture(scope="session")
def released(dataset, tmp_path_factory) -> ReleasedFiles:
    """Files as the authors of DM-GAN would have released them: small widths, another order of the words."""
    return write_released_files(tmp_path_factory.mktemp("released"), dataset.vocabulary.words)


@pytest.fixture(scope="session")
def imported(released, tmp_path_factory) -> Path:
    """The run folder made of the released files."""
    return import_files(released, tmp_path_factory.mktemp("imported") / "run")
