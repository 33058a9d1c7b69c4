"""Fifty images of odd names through evaluate, torch-fidelity and clean-fid: the same IS and FID, from the files on.

A small network stands in for Inception behind each protocol's own resize; features of the real architecture are
compared in tests/evaluation/networks/test_inception_parity.py.
"""

import json

import pytest
import torch
import torch_fidelity
from cleanfid.fid import compute_fid
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as tf_resize
from torch_fidelity.registry import register_feature_extractor

from dmgan.evaluation.evaluate import ComparedWith, evaluate_folder
from dmgan.evaluation.external_images import OwnImages
from dmgan.evaluation.networks import inception_2015, inception_clean, inception_tf
from dmgan.evaluation.networks.base import Weights
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.evaluation.statistics import uncertainty
from dmgan.options import EvaluationOptions
from tests.conftest import CPU
from tests.evaluation.metrics.test_parity import NARROW, SmallExtractor, SmallNetwork
from tests.evaluation.own_images import write_images

pytestmark = pytest.mark.slow

COUNT, SIDE = 50, 40


class ResizingExtractor(SmallExtractor):
    """The small network behind TensorFlow's resize, as torch-fidelity's Inception is."""

    def forward(self, images):
        resized = tf_resize(images.float(), size=(299, 299), align_corners=False)
        arrays = self.network(resized)
        return tuple(arrays[layer] for layer in self.features_list)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Generated and real images; the real ones have another side."""
    parent = tmp_path_factory.mktemp("parity")
    for number, name in enumerate(("generated", "real")):
        write_images(parent / name, COUNT, SIDE + 16 * number, seed=number)
    return parent / "generated", parent / "real"


@pytest.fixture(scope="module")
def measured(folders):
    """The metrics of `evaluate`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uncertainty, "RESAMPLES", 20)
        patch.setattr(inception_2015, "find_weights", lambda name, folder: Weights({}, name, "stub"))
        patch.setattr(inception_2015, "Inception2015", lambda weights, device: SmallNetwork())
        for module in (inception_tf, inception_clean):
            patch.setattr(module, "POOL", NARROW)
        patch.setattr(inception_tf, "CLASSES", 30)
        out = folders[0].parent / "metrics.json"
        evaluate_folder(
            images=OwnImages(folders[0], "mine"), compared_with=ComparedWith(reference=folders[1]), out=out,
            network_files=NetworkFiles(("inception-tf", "clean"), None, out.parent, None),
            options=EvaluationOptions(), device=CPU,
        )  # fmt: skip
    return json.loads(out.read_text())["metrics"]


def test_is_and_fid_are_torch_fidelity_s(folders, measured):
    register_feature_extractor("small-299", ResizingExtractor)
    numbers = torch_fidelity.calculate_metrics(
        input1=str(folders[0]), input2=str(folders[1]), feature_extractor="small-299", isc=True, fid=True, cuda=False,
        cache=False, verbose=False, save_cpu_ram=True, samples_find_deep=True,
    )  # fmt: skip
    assert measured["IS(inception-tf)"]["value"] == pytest.approx(numbers["inception_score_mean"], abs=1e-6)
    assert measured["IS(inception-tf)"]["spread"] == pytest.approx(numbers["inception_score_std"], abs=1e-6)
    fid = measured["FID(inception-tf)"]["value"]
    assert fid == pytest.approx(numbers["frechet_inception_distance"], rel=2e-5) and fid > 1


@pytest.mark.filterwarnings("ignore:The `disp` argument")
def test_clean_fid_is_clean_fid_s(folders, measured):
    network = SmallNetwork()
    with torch.inference_mode():
        value = compute_fid(
            *map(str, folders), mode="clean", device=CPU, num_workers=0, batch_size=50, verbose=False,
            custom_feat_extractor=lambda images: network(images)["features"],
        )  # fmt: skip
    fid = measured["FID(clean)"]["value"]
    assert fid == pytest.approx(value, rel=2e-5) and fid != measured["FID(inception-tf)"]["value"]
