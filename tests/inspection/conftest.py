"""A results folder of the workflow's layout with one run, one run that reads no words, and a species classifier."""

from pathlib import Path

import pytest

from dmgan.options import TrainingSettings
from dmgan.training.train import TrainingInputs, train
from tests.conftest import ARCHITECTURE, CPU, TRAINING


@pytest.fixture(scope="session")
def results(data, damsm_folder, classifier_folder, tmp_path_factory) -> Path:
    """A results folder; its runs are dmgan/seed0 and dfgan/seed0."""
    folder = tmp_path_factory.mktemp("results") / "results"
    for place, made in {
        "data/birds": data,
        "birds/damsm/seed0": damsm_folder,
        "birds/species": classifier_folder,
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).symlink_to(made)
    inputs = TrainingInputs(folder / "data" / "birds", folder / "birds" / "damsm" / "seed0")
    for model in ("dmgan", "dfgan"):
        train(model, inputs, folder / "birds" / model / "seed0", TrainingSettings(ARCHITECTURE, TRAINING), 0, CPU)
    return folder


@pytest.fixture(scope="session")
def dmgan_run(results) -> Path:
    """The run of DM-GAN."""
    return results / "birds" / "dmgan" / "seed0"


@pytest.fixture(scope="session")
def dfgan_run(results) -> Path:
    """The run of a model that reads no words."""
    return results / "birds" / "dfgan" / "seed0"


@pytest.fixture(scope="session")
def mdsp_run(results, tmp_path_factory) -> Path:
    """A run of a model that retrieves training images."""
    folder = tmp_path_factory.mktemp("mdsp") / "birds" / "mdsp" / "seed0"
    inputs = TrainingInputs(results / "data" / "birds", results / "birds" / "damsm" / "seed0")
    train("mdsp", inputs, folder, TrainingSettings(ARCHITECTURE, TRAINING), 0, CPU)
    return folder
