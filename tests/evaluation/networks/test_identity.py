"""Identity of a feature extractor: the modules that it states are those that its forward runs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

from benchmarks.local_weights import inception_2015_state, torchvision_state
from dmgan.evaluation.networks import classifier
from dmgan.evaluation.networks.attributes import AttributeClassifier
from dmgan.evaluation.networks.base import FeatureExtractor, read_weights
from dmgan.evaluation.networks.bird_inception import BirdInception
from dmgan.evaluation.networks.clip import ClipEncoder
from dmgan.evaluation.networks.damsm import DamsmEmbeddings
from dmgan.evaluation.networks.detector import DetectedObjects, FasterRcnn
from dmgan.evaluation.networks.efficientnet_lite0 import EfficientNetLite0Features
from dmgan.evaluation.networks.inception_2015 import Inception2015
from dmgan.evaluation.networks.inception_birds import BirdLogits
from dmgan.evaluation.networks.inception_clean import CleanInception
from dmgan.evaluation.networks.inception_openai import OpenaiInception
from dmgan.evaluation.networks.inception_tf import TfInception
from dmgan.evaluation.networks.inception_torchvision import TorchvisionInception
from dmgan.evaluation.networks.inception_torchvision_released import ReleasedTorchvisionInception
from dmgan.evaluation.networks.species import SpeciesFeatures
from dmgan.evaluation.networks.table import EXTRACTORS
from dmgan.options import DamsmOptions
from dmgan.storage import files
from dmgan.text.damsm import Damsm
from dmgan.text.encoders import TextEncoder, build_image_encoder
from tests.conftest import CPU

SIDE = 40  # of the images: another side than that of every network, so that every resize runs
# Modules without influence on a value: messages, names of options, where the computation runs.
WITHOUT_INFLUENCE = ("dmgan.errors", "dmgan.options", "dmgan.runtime.")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of both Inceptions, by file name."""
    folder, state = tmp_path_factory.mktemp("weights"), torchvision_state()
    torch.save(state, folder / "torchvision.pth")
    torch.save(inception_2015_state(state), folder / "2015.pth")
    return {name: read_weights(folder / f"{name}.pth") for name in ("torchvision", "2015")}


def damsm_with(trunk: str) -> Damsm:
    """A DAMSM with a large trunk and random weights."""
    options = DamsmOptions(image_encoder=trunk, embedding_dim=16)
    image_encoder = build_image_encoder(trunk, 16, options.width).eval().requires_grad_(False)
    return Damsm(TextEncoder(5, 16, 0.0), image_encoder, None, options, {})


@pytest.fixture(scope="module")
def extractors(
    weights, classifier_folder, attributes_folder, damsm_folder, clip_files, dataset
) -> dict[str, FeatureExtractor]:
    """Every extractor, by its name in the parameters of the tests."""
    inception = Inception2015(weights["2015"], CPU)
    torch.manual_seed(0)
    detector = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, min_size=32, max_size=32)
    return {
        "species": SpeciesFeatures(classifier.TrainedClassifier.read(classifier_folder, CPU)),
        "efficientnet-lite0": EfficientNetLite0Features(CPU),
        "inception-tf": TfInception(inception),
        "clean": CleanInception(inception),
        "openai-released": OpenaiInception(inception),
        "birds-released": BirdLogits(BirdInception(), "", CPU),
        "torchvision": TorchvisionInception(weights["torchvision"], CPU),
        "torchvision-released": ReleasedTorchvisionInception(weights["torchvision"], CPU),
        "attributes": AttributeClassifier.read(attributes_folder, dataset, CPU),
        "small DAMSM": DamsmEmbeddings(Damsm.read(damsm_folder), "damsm", "DAMSM"),
        "DAMSM with Inception": DamsmEmbeddings(damsm_with("inception"), "damsm", "DAMSM"),
        "DAMSM with EfficientNet": DamsmEmbeddings(damsm_with("efficientnet-lite0"), "damsm", "DAMSM"),
        "CLIP": ClipEncoder(*clip_files, CPU).extractor,
        "detector": DetectedObjects(FasterRcnn(detector, "")),
    }


def modules_run(extractor: FeatureExtractor) -> set[str]:
    """Modules of this project whose functions `prepare` and `forward` call."""
    found, images = set(), np.random.default_rng(0).integers(256, size=(2, SIDE, SIDE, 3), dtype=np.uint8)

    def record(frame, event, _) -> None:
        if event == "call":
            found.add(frame.f_globals.get("__name__", ""))

    sys.setprofile(record)
    try:
        prepared = images if extractor.prepare is None else np.stack([extractor.prepare(each) for each in images])
        with torch.inference_mode():
            extractor.forward(torch.from_numpy(prepared))
    finally:
        sys.setprofile(None)
    return {module for module in found if module.startswith("dmgan.")}


NAMES = (
    *EXTRACTORS,
    "attributes",
    "small DAMSM",
    "DAMSM with Inception",
    "DAMSM with EfficientNet",
    "CLIP",
    "detector",
)


@pytest.mark.parametrize("name", NAMES)
def test_every_module_that_a_forward_runs_is_stated(extractors, name):
    """Features are reused as long as the stated modules stay: one that is missing would leave them stale."""
    run = {module for module in modules_run(extractors[name]) if not module.startswith(WITHOUT_INFLUENCE)}
    assert type(extractors[name]).__module__ in run
    assert run <= set(extractors[name].modules())


@pytest.mark.parametrize("name", NAMES)
def test_the_hash_of_every_stated_module_is_in_the_identity(extractors, name):
    code = extractors[name].identity()["code_sha256"]
    assert list(code) == extractors[name].modules()
    for module, sha256 in code.items():
        assert sha256 == files.file_sha256(Path(importlib.util.find_spec(module).origin))


def test_a_module_that_is_not_stated_is_found(extractors):
    class Incomplete(SpeciesFeatures):
        code = ()

    incomplete = Incomplete(extractors["species"]._classifier)
    assert "dmgan.evaluation.networks.classifier" in modules_run(incomplete) - set(incomplete.modules())
