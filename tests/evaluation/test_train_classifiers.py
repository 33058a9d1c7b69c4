"""Training of the classifiers: the accuracy that they record, the classes they know, data sets without attributes."""

import json

import pytest

from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.evaluation.attribute_values import NAMES
from dmgan.evaluation.networks.attributes import TrainedAttributes
from dmgan.evaluation.networks.classifier import TrainedClassifier
from dmgan.evaluation.networks.species import SpeciesFeatures
from dmgan.evaluation.train_classifiers import train_attributes, train_classifier
from dmgan.options import ClassifierOptions
from dmgan.storage.seals import SEAL, write_sealed_json
from tests.conftest import CPU


def test_the_attribute_classifier_records_its_accuracy(attributes_folder):
    written = json.loads((attributes_folder / "options.json").read_text())
    assert 0 < written["test_accuracy_of_named"] < 1
    assert list(written["test_accuracy"]) == list(NAMES)
    trained = TrainedAttributes.read(attributes_folder, CPU)
    assert trained.protocol["accuracy_on_real_test_images"] == written["test_accuracy_of_named"]


def with_description(data, other, change):
    """Return a copy of a prepared set whose dataset.json is changed in place."""
    other.mkdir()
    for path in data.iterdir():
        (other / path.name).symlink_to(path)
    description = json.loads((data / "dataset.json").read_text())
    change(description)
    (other / "dataset.json").unlink()
    write_sealed_json(other / "dataset.json", {key: each for key, each in description.items() if key != SEAL})
    return other


def test_without_classes_there_is_no_species_classifier(data, tmp_path):
    other = with_description(data, tmp_path / "other", lambda description: description.update(classes=None))
    with pytest.raises(UserError, match="other: its images have no classes; give a data set with classes"):
        train_classifier(other, tmp_path / "out", ClassifierOptions(), 0, CPU)


def test_without_attributes_in_captions_there_is_no_attribute_classifier(data, tmp_path):
    other = with_description(data, tmp_path / "other", lambda description: description["source"].update(name="cub"))
    with pytest.raises(UserError, match="name no known attributes"):
        train_attributes(other, tmp_path / "out", ClassifierOptions(), 0, CPU)


def test_the_species_classifier_can_be_trained_on_the_classes_that_it_scores(
    data, dataset, classifier_folder, tmp_path
):
    words = ["classifier", "--data", data, "--out", tmp_path / "test", "--classes", "test", "--image-size", "32"]
    words += [
        "--width",
        "4",
        "--features",
        "16",
        "--epochs",
        "2",
        "--batch-size",
        "4",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    assert main([str(word) for word in words]) == 0
    written = json.loads((tmp_path / "test" / "options.json").read_text())
    test = dataset.indices("test")
    assert (written["classes"], written["split"]) == (len(set(dataset.class_ids[test])), "test")
    assert written["validation_images"] == 1 and len(test) == 8
    for folder, network in ((tmp_path / "test", "species-classifier of the test classes"),
                            (classifier_folder, "species-classifier")):  # fmt: skip
        extractor = SpeciesFeatures(TrainedClassifier.read(folder, CPU))
        assert extractor.protocol["feature_network"] == network
