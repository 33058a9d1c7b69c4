"""The table of feature extractors: names, and what every class states."""

import importlib

import pytest

from dmgan.errors import UserError
from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor
from dmgan.evaluation.networks.table import EXTRACTORS, read_extractors
from dmgan.runtime.provenance import versions
from tests.conftest import CPU


@pytest.mark.parametrize("names", [("inception-tf", "inception-tf"), ("resnet",)])
def test_extractors_are_known_and_named_once(names, tmp_path):
    with pytest.raises(
        UserError, match="unknown or repeated name; known extractors are species, efficientnet-lite0, inception-tf"
    ):
        read_extractors(names, ExtractorInputs(None, tmp_path, CPU))


def test_the_species_extractor_needs_a_classifier(tmp_path):
    with pytest.raises(UserError, match="--extractors species: needs the species classifier; give --classifier FOLDER"):
        read_extractors(("species",), ExtractorInputs(None, tmp_path, CPU))


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_states_its_name_its_packages_and_its_code(name):
    module, class_name = EXTRACTORS[name].split(":")
    extractor = getattr(importlib.import_module(f"dmgan.evaluation.networks.{module}"), class_name)
    assert issubclass(extractor, FeatureExtractor) and extractor.name == name
    assert "torch" in extractor.packages and set(extractor.packages) <= set(versions())
    assert all(importlib.util.find_spec(each) for each in extractor.code)
