"""Validation during training measures as an evaluation does, on held-out training images."""

import dataclasses

import numpy as np
import pytest

from dmgan.data.validation import SEED, cut_validation_split
from dmgan.errors import UserError
from dmgan.evaluation.feature_store import features_in_ram
from dmgan.evaluation.image_sets import RealImages, sampled_images
from dmgan.evaluation.metrics.base import Measurement
from dmgan.evaluation.metrics.table import metrics
from dmgan.evaluation.networks.loaded import EvaluationNetworks
from dmgan.evaluation.statistics import uncertainty
from dmgan.evaluation.validation import Validator
from dmgan.options import EvaluationOptions, TrainingSettings
from dmgan.sampling.captions import choose_test_caption
from dmgan.sampling.trained_model import load_run
from tests.conftest import ARCHITECTURE, CPU, TRAINING

IN_VALIDATION = {
    "FID(species)", "R-precision(training DAMSM)", "R-precision(held-out DAMSM)",
    "attribute accuracy(attribute classifier)",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(network_files):
    return network_files._replace(clip=None)


@pytest.fixture
def validator(training_inputs, files, tmp_path) -> Validator:
    training = dataclasses.replace(TRAINING, evaluate_every=10, validation_images=6)
    return Validator.read("dmgan", TrainingSettings(ARCHITECTURE, training), training_inputs, files, tmp_path, CPU)


def test_values_are_those_of_an_evaluation(images_folder, dataset, files, monkeypatch):
    monkeypatch.setattr(uncertainty, "RESAMPLES", 10)
    networks, test = EvaluationNetworks.read(files, dataset, CPU), dataset.indices("test")
    subject = sampled_images(images_folder, dataset)
    built = [each for kind in metrics().values() if kind.facts.in_validation for each in kind.build(networks)]
    stored = features_in_ram(subject.read, len(subject), [each.extractor for each in built], CPU)
    real = features_in_ram(RealImages(dataset, test, 32), len(test), list(networks.extractors.values()), CPU)
    measurement = Measurement(subject, dataset, EvaluationOptions(), stored, real, np.arange(len(test)))
    assert {each.key for each in built} == IN_VALIDATION
    for metric in built:
        result = metric.compute(measurement)
        expected = result.score.value if result.bootstrap is None else result.bootstrap.value  # without folds
        assert metric.value(measurement) == pytest.approx(expected, rel=1e-9)


def test_a_measurement_is_a_function_of_the_weights(validator, run_folder, one_image_folder):
    first = validator.measure(run_folder / "generator.safetensors")
    assert set(first) == IN_VALIDATION and validator.criterion == "FID(species)" and validator.num_images == 6
    with pytest.raises(UserError, match="does not hold the weights of a DMGAN"):
        validator.measure(one_image_folder / "generator.safetensors")
    assert validator.measure(run_folder / "generator.safetensors") == first


def test_images_are_those_of_held_out_captions(validator, dataset, run_folder):
    split = cut_validation_split(dataset, 6)
    choices = [choose_test_caption(split.validation, number, SEED, TRAINING.max_words) for number in range(6)]
    assert sorted(choice.image for choice in choices) == split.validation.indices("test").tolist()
    assert validator._subject(None).test_images.tolist() == [choice.image for choice in choices]
    assert set(split.validation.indices("test")) < set(dataset.indices("train"))
    pixels = validator._images(run_folder / "generator.safetensors")
    assert pixels.shape == (6, 32, 32, 3) and len({each.tobytes() for each in pixels}) == 6


def test_extractors_without_fid_are_refused(training_inputs, files, dataset, run_folder):
    networks = dataclasses.replace(EvaluationNetworks.read(files, dataset, CPU), extractors={})
    with pytest.raises(UserError, match="none of them has FID, which evaluate_every measures"):
        Validator(load_run(run_folder, CPU), cut_validation_split(dataset, 6), networks)
