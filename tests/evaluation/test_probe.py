"""The linear probe of efficientnet-lite0: its fit, its file, and the Inception Score that reads it."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.evaluation.fit_probe import fit_probe, fitted
from dmgan.evaluation.metrics.inception_score import InceptionScore
from dmgan.evaluation.networks.base import ExtractorInputs
from dmgan.evaluation.networks.efficientnet_lite0 import EfficientNetLite0Features
from dmgan.evaluation.networks.loaded import EvaluationNetworks
from dmgan.options import ProbeOptions
from dmgan.storage.files import file_sha256
from tests.conftest import CPU


@pytest.fixture(scope="module")
def probe_folder(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe") / "probe"
    assert main(["probe", "--data", str(data), "--out", str(folder), "--device", "cpu", "--threads", "1"]) == 0
    return folder


def networks_of(extractor: EfficientNetLite0Features) -> EvaluationNetworks:
    return EvaluationNetworks({extractor.name: extractor}, None, [], None, None)


def test_the_fit_is_the_minimum_of_the_regularised_cross_entropy():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 5, generator=random).double() + 3 * F.one_hot(labels, 5)
    probe = fitted(features, labels, 3, 0.1)
    assert (probe(features).argmax(dim=1) == labels).double().mean() > 0.9
    weight = probe.linear.weight.requires_grad_()
    loss = F.cross_entropy(probe(features), labels) + 0.05 * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.abs().max() < 1e-5
    assert torch.equal(weight, fitted(features, labels, 3, 0.1).linear.weight)
    assert fitted(features, labels, 3, 10.0).linear.weight.norm() < weight.norm() / 5


def test_a_second_fit_writes_the_same_file(probe_folder, data, dataset, tmp_path):
    fit_probe(data, tmp_path, ProbeOptions(), CPU)
    assert file_sha256(tmp_path / "probe.safetensors") == file_sha256(probe_folder / "probe.safetensors")
    written = json.loads((probe_folder / "options.json").read_text())
    train = dataset.indices("train")
    assert written["classes"] == len(np.unique(dataset.class_ids[train])) and written["features"] == 1280
    assert written["validation_images"] == max(1, len(train) // 10) and 0 <= written["validation_accuracy"] <= 1


def test_the_inception_score_reads_the_probe_and_names_its_accuracy(probe_folder, tmp_path):
    plain = EfficientNetLite0Features.read(ExtractorInputs(None, tmp_path, CPU))
    probed = EfficientNetLite0Features.read(ExtractorInputs(None, tmp_path, CPU, probe_folder))
    assert InceptionScore.build(networks_of(plain)) == []
    (metric,) = InceptionScore.build(networks_of(probed))
    assert metric.key == "IS(efficientnet-lite0)"
    images = torch.from_numpy(np.random.default_rng(0).integers(256, size=(2, 32, 32, 3), dtype=np.uint8))
    with torch.inference_mode():
        found = probed.forward(images)
    assert found["logits"].shape == (2, probed.widths["logits"]) and plain.forward(images).keys() == {"features"}
    weights = json.loads((probe_folder / "options.json").read_text())
    said = probed.protocol_of_logits
    assert said["feature_network_accuracy"] == weights["validation_accuracy"]
    assert said["probe_sha256"] == file_sha256(probe_folder / "probe.safetensors")
    assert plain.protocol == probed.protocol and plain.identity() != probed.identity()


def test_images_without_classes_have_no_probe(data, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("dmgan.data.dataset.PreparedDataset.has_classes", False)
    with pytest.raises(UserError, match="have no classes, which a probe names; leave the probe out"):
        fit_probe(data, tmp_path, dataclasses.replace(ProbeOptions()), CPU)
