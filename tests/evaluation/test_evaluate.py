"""Evaluation of an image set: what metrics.json records, what changes nothing in it, and what is refused."""

import hashlib
import json
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from dmgan.errors import UserError
from dmgan.evaluation import feature_store
from dmgan.evaluation.evaluate import evaluate
from dmgan.evaluation.metrics.table import facts_of
from dmgan.evaluation.networks import (
    inception_2015,
    inception_birds,
    inception_clean,
    inception_openai,
    inception_tf,
    inception_torchvision,
    inception_torchvision_released,
)
from dmgan.evaluation.networks.base import Weights
from dmgan.evaluation.networks.classifier import ImageClassifier
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.evaluation.networks.table import EXTRACTORS
from dmgan.evaluation.paired_comparison import read_per_image
from dmgan.evaluation.statistics.folds import fold_order, fold_rows
from dmgan.evaluation.statistics.pairwise import mean_pairwise_distance
from dmgan.options import EvaluationOptions
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.storage.seals import SEAL
from tests.conftest import CPU


def measured(out, data, damsm_folder, classifier_folder, images, extractors=("species",), **options):
    network_files = NetworkFiles(extractors, classifier_folder, out.parent, damsm_folder)
    options = EvaluationOptions(neighbours=2, **options)
    evaluate(
        images=images, data=data, network_files=network_files, reference=None, out=out, options=options, device=CPU
    )
    return json.loads(out.read_text())


def test_metrics_of_a_model_hold_their_whole_protocol(images_folder, data, damsm_folder, classifier_folder, tmp_path):
    content = measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert content["subject"] == {
        "kind": "model", "name": "dmgan", "seed": 0, "dataset": "synthbirds", "num_images": 40, "image_size": 32,
        "selection": {"rule": "last", "step": 12},
    }  # fmt: skip
    assert content["schema"] == 2 and content["device"] == "cpu"
    assert content["inputs"]["hyperparameters"]["batch_size"] == 4 and "pass" in content["inputs"]["test_order"]
    manifest = json.loads((tmp_path / "reference" / "species" / "manifest.json").read_text())
    (chunk,) = manifest["done"]
    sha256 = content["metrics"]["FID(species)"]["protocol"]["reference_images_sha256"]
    assert sha256 == hashlib.sha256(chunk["images"].encode()).hexdigest()
    names = ("IS", "FID", "KID", "precision", "recall", "density", "coverage", "diversity")
    assert set(content["metrics"]) == {f"{name}(species)" for name in names} | {"R-precision(training DAMSM)"}
    assert [name for name, metric in content["metrics"].items() if "interval_centre" in metric] == ["KID(species)"]
    for key, metric in content["metrics"].items():
        low, high = metric["interval"]
        facts = facts_of(key.partition("(")[0])
        assert low >= (-float("inf") if facts.least is None else facts.least)
        assert high <= (facts.largest or float("inf"))
        assert ("clipped to" in metric["interval_over"]) == (facts.least is not None)
        assert low <= metric.get("interval_centre", metric["value"]) <= high
        assert metric["num_images"] == 40 and metric["protocol"]["feature_network_sha256"]
        assert ("held fixed" in metric["interval_over"]) == ("reference" in metric["protocol"])
    before = (tmp_path / "per_image.npz").stat().st_mtime_ns
    again = measured(tmp_path / "again.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert again["metrics"] == content["metrics"]
    assert (tmp_path / "per_image.npz").stat().st_mtime_ns == before  # another evaluation in one folder has its own
    assert (tmp_path / "again.features" / "species").is_dir()
    for name in ("metrics.json", "again.json"):
        assert len(read_per_image(tmp_path / name).arrays["test_images"]) == 40


def test_diversity_is_of_the_species_features_and_of_the_folds_of_the_other_metrics(
    images_folder, data, damsm_folder, classifier_folder, tmp_path
):
    content = measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    found = content["metrics"]["diversity(species)"]
    generated, real = (np.load(tmp_path / each / "species" / "features.npy") for each in ("features", "reference"))
    order = fold_order(40, EvaluationOptions().seed)
    unit = mean_pairwise_distance(real)
    assert found["value"] == pytest.approx(mean_pairwise_distance(generated) / unit, rel=1e-9)
    folds = [mean_pairwise_distance(generated[rows]) / unit for rows in fold_rows(order)]
    assert found["spread"] == pytest.approx(np.std(folds), rel=1e-9)
    assert found["protocol"]["reference_num_images"] == 8 and "mean pairwise distance" in found["protocol"]["library"]
    with np.load(tmp_path / "per_image.npz") as stored:
        folds = [stored["folds"] != fold for fold in range(8)]  # of eight test images
        values = [mean_pairwise_distance(generated[rows]) / unit for rows in folds]
        np.testing.assert_allclose(stored["without/diversity(species)"], values, rtol=1e-9)


def without_times(content: dict) -> dict:
    """Return the result without its cost, and without the hash of the content, which holds the cost."""
    return {key: value for key, value in content.items() if key not in ("provenance", SEAL)}


@pytest.mark.slow
def test_metrics_depend_on_neither_batch_size_nor_workers(
    images_folder, data, damsm_folder, classifier_folder, tmp_path
):
    folders = (data, damsm_folder, classifier_folder)
    first = measured(tmp_path / "a" / "metrics.json", *folders, images=images_folder)
    other = measured(tmp_path / "b" / "metrics.json", *folders, images=images_folder, batch_size=7, workers=2)
    assert without_times(first) == without_times(other)


@pytest.mark.slow
def test_a_killed_evaluation_resumes_with_the_same_metrics(
    images_folder, data, damsm_folder, classifier_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(feature_store, "FORWARD", 4)
    monkeypatch.setattr(feature_store, "CHUNK", 8)
    folders = (data, damsm_folder, classifier_folder)
    forward, seen = ImageClassifier.forward, []

    def counted(network, images):
        seen.append(len(images))
        return forward(network, images)

    monkeypatch.setattr(ImageClassifier, "forward", counted)
    whole = measured(tmp_path / "whole" / "metrics.json", *folders, images=images_folder)
    passes = len(seen)
    seen.clear()

    def dying(network, images):
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return counted(network, images)

    monkeypatch.setattr(ImageClassifier, "forward", dying)
    out = tmp_path / "killed" / "metrics.json"
    child = multiprocessing.get_context("fork").Process(
        target=measured, args=(out, *folders), kwargs={"images": images_folder}
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL and not out.exists()
    monkeypatch.setattr(ImageClassifier, "forward", counted)
    assert without_times(measured(out, *folders, images=images_folder)) == without_times(whole)
    assert len(seen) == passes - 4  # two chunks of two passes were on the disk


class StubInception(torch.nn.Module):
    """Means of the image's places."""

    sha256 = "stub"

    def protocol(self, resize):
        network = {"feature_network": "stub", "feature_network_sha256": self.sha256}
        return {**network, "resize": resize, "codec": "8-bit RGB, lossless"}

    def forward(self, images):
        features = torch.nn.functional.adaptive_avg_pool2d(images, (4, 4)).flatten(1) / 100
        return {"features": features, "logits": features[:, :20]}


class StubLogits(torch.nn.Module):
    """Means over the channels."""

    def forward(self, places):
        return places.mean(dim=1)


@pytest.fixture
def stub_inceptions(monkeypatch):
    """Small networks without weights in the place of every Inception."""
    monkeypatch.setattr(inception_2015, "find_weights", lambda name, folder: Weights({}, name, "stub"))
    monkeypatch.setattr(inception_2015, "Inception2015", lambda weights, device: StubInception())
    monkeypatch.setattr(inception_torchvision, "find_weights", lambda name, folder: Weights({}, name, "stub"))
    pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
    for module in (inception_torchvision, inception_torchvision_released):
        monkeypatch.setattr(module, "build_torchvision_inception", lambda *_: pool)
        monkeypatch.setattr(module, "POOL", 48)
    for module in (inception_tf, inception_clean):
        monkeypatch.setattr(module, "POOL", 48)
    for module in (inception_tf, inception_openai):
        monkeypatch.setattr(module, "CLASSES", 20)
    birds = inception_birds.BirdLogits
    logits = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d((5, 10)), torch.nn.Flatten(2), StubLogits())
    monkeypatch.setattr(birds, "read", classmethod(lambda kind, inputs: kind(logits, "stub", inputs.device)))
    monkeypatch.setattr(birds, "batch", 3)


@pytest.mark.slow
def test_every_extractor_gives_its_metrics_and_no_other(
    images_folder, data, damsm_folder, classifier_folder, tmp_path, stub_inceptions, monkeypatch
):
    monkeypatch.setattr(inception_torchvision_released.ReleasedTorchvisionInception, "batch", 3)
    content = measured(
        tmp_path / "metrics.json",
        data,
        damsm_folder,
        classifier_folder,
        images=images_folder,
        extractors=tuple(EXTRACTORS),
    )
    both, manifolds = ("FID", "KID"), ("precision", "recall", "density", "coverage")
    expected = {
        "species": ("IS", *both, *manifolds, "diversity"), "inception-tf": ("IS", *both, *manifolds),
        "efficientnet-lite0": (*both, *manifolds, "diversity"),
        "clean": (*both, *manifolds), "torchvision": ("FID", *manifolds),
        "torchvision-released": ("FID",), "openai-released": ("IS",), "birds-released": ("IS",),
        "training DAMSM": ("R-precision",),
    }  # fmt: skip
    assert set(content["metrics"]) == {f"{name}({reader})" for reader, names in expected.items() for name in names}
    released = content["metrics"]["FID(torchvision-released)"]
    assert (released["num_images"], released["protocol"]["reference_num_images"]) == (39, 6)  # of 40 and 8
    assert content["metrics"]["IS(birds-released)"]["num_images"] == 39
    assert content["metrics"]["FID(inception-tf)"]["value"] != content["metrics"]["FID(clean)"]["value"]
    protocols = [metric["protocol"] for metric in content["metrics"].values()]
    assert all({"feature_network", "feature_network_sha256", "codec"} <= set(each) for each in protocols)

    bare = measured(
        tmp_path / "inception-tf" / "metrics.json",
        data,
        damsm_folder,
        None,
        images_folder,
        extractors=("inception-tf",),
    )
    assert (
        bare["metrics"]["FID(inception-tf)"] == content["metrics"]["FID(inception-tf)"]
    )  # and needs no species classifier


def test_features_of_real_images_are_shared(images_folder, data, damsm_folder, classifier_folder, tmp_path, capsys):
    from dmgan.__main__ import main

    flags = ["--data", str(data), "--classifier", str(classifier_folder), "--threads", "1", "--device", "cpu"]
    shared = tmp_path / "reference"
    assert main(["reference", *flags, "--out", str(shared)]) == 0
    written = {path: path.stat().st_mtime_ns for path in shared.glob("species/*")}
    assert len(written) == 3 and json.loads((shared / "reference.json").read_text())["images"] == 8
    out = tmp_path / "model" / "metrics.json"
    command = ["evaluate", *flags, "--damsm", str(damsm_folder), "--reference-features", str(shared)]
    command += ["--out", str(out)]
    assert main([*command, "--images", str(images_folder), "--neighbours", "2"]) == 0, capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in shared.glob("species/*")} == written
    assert not (out.parent / "reference").exists()
    alone = measured(tmp_path / "alone" / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert without_times(json.loads(out.read_text())) == without_times(alone)


def test_a_score_that_is_no_number_is_refused_before_anything_is_written(
    images_folder, data, damsm_folder, classifier_folder, tmp_path, monkeypatch
):
    forward = ImageClassifier.forward

    def saturated(network, images):
        features, logits = forward(network, images)
        logits[:] = 0.0
        logits[:, 0] = 1e4  # every other class has a probability of 0 in float32
        return features, logits

    monkeypatch.setattr(ImageClassifier, "forward", saturated)
    with pytest.raises(UserError, match=r"dmgan: IS\(species\) is not finite, so nothing was written"):
        measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert not (tmp_path / "metrics.json").exists() and not (tmp_path / "per_image.npz").exists()


def test_too_few_images_for_ten_folds_are_refused(run_folder, data, damsm_folder, classifier_folder, tmp_path):
    sample_test_captions(run_folder, data, tmp_path / "images", SampleRequest(19), CPU)
    with pytest.raises(UserError, match="19 images do not make ten folds"):
        measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=tmp_path / "images")
    assert not (tmp_path / "metrics.json").exists()
