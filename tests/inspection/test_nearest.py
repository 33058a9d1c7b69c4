"""The nearest training image: the image itself, by the extractor that the run's results folder has."""

import numpy as np
import pytest

from dmgan.data.batches import centre_crop
from dmgan.data.dataset import PreparedDataset
from dmgan.inspection.inspector import ComparedWith, Inspector, SharedNetworks
from dmgan.inspection.nearest import read_extractor
from dmgan.sampling.trained_model import load_run
from tests.conftest import CPU


@pytest.fixture(scope="module")
def training_images(dmgan_run):
    return Inspector(load_run(dmgan_run, CPU), SharedNetworks(ComparedWith(), CPU)).training_images


def test_a_training_image_is_nearest_to_itself(training_images, dataset):
    index = int(dataset.indices("train")[5])
    (found,) = training_images.nearest(centre_crop(dataset, index, 32)[None])
    assert found.distance == pytest.approx(0, abs=1e-6) and found.pixel_distance is not None
    assert np.array_equal(found.pixels, centre_crop(dataset, index, 32)) and found.pixel_distance == 0
    assert found.name == dataset.name(index) and found.caption == dataset.caption(index, 0)


def test_a_test_image_has_a_training_image_as_its_nearest(training_images, dataset):
    images = np.stack([centre_crop(dataset, int(index), 32) for index in dataset.indices("test")])
    names = {dataset.name(int(index)) for index in dataset.indices("train")}
    found = training_images.nearest(images)
    assert {each.name for each in found} <= names and all(each.distance > 0 for each in found)


def test_pixels_of_another_side_have_no_distance(training_images):
    (found,) = training_images.nearest(np.zeros((1, 64, 64, 3), np.uint8))
    assert found.pixel_distance is None
    assert list(found.as_scores("species")) == ["nearest training image", "distance(species)"]


def test_the_classifier_of_the_results_folder_is_used_if_it_knows_the_data(dmgan_run, run_folder, dataset):
    assert read_extractor(dmgan_run, None, dataset, CPU).name == "species"
    assert read_extractor(run_folder, None, dataset, CPU).name == "efficientnet-lite0"
    assert read_extractor(run_folder, dmgan_run.parent.parent / "species", dataset, CPU).name == "species"


def test_photographs_are_compared_by_the_imagenet_network(dmgan_run, data):
    dataset = PreparedDataset(data)
    dataset.description["source"]["name"] = "folder"
    assert read_extractor(dmgan_run, None, dataset, CPU).name == "efficientnet-lite0"
    assert read_extractor(dmgan_run, dmgan_run.parent.parent / "species", dataset, CPU).name == "species"


def test_runs_of_one_data_set_share_the_features(dmgan_run, dfgan_run):
    shared = SharedNetworks(ComparedWith(), CPU)
    first, second = (Inspector(load_run(run, CPU), shared).training_images for run in (dmgan_run, dfgan_run))
    assert first is second
