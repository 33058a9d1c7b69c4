"""Metrics: against the reference library, against naive loops, and on caricatures whose answer is known."""

import json
import shutil

import numpy as np
import pytest
import torch
import torch_fidelity
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import register_feature_extractor

from dmgan.errors import UserError
from dmgan.evaluation import metrics
from dmgan.evaluation.evaluate import Judges, evaluate
from dmgan.evaluation.features import Rows
from dmgan.evaluation.images import sampled_images
from dmgan.evaluation.statistics import moments_to_reference, rows_to_moments, statistics_to_fid
from dmgan.options import EvaluationOptions
from dmgan.sampling import sample_test_captions
from tests.conftest import CPU
from tests.golden_recipe import load, uniform


class PixelNetwork(FeatureExtractorBase):
    """Two fixed linear maps of the pixels: cheap features and logits for parity with torch-fidelity."""

    def __init__(self, name, features_list, **_):
        super().__init__(name, features_list)
        random = torch.Generator().manual_seed(0)
        self.to_features = torch.randn(3 * 8 * 8, 24, generator=random) / 1000
        self.to_logits = torch.randn(3 * 8 * 8, 10, generator=random) / 300

    @staticmethod
    def get_provided_features_list():
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return {"isc": "logits", "fid": "features", "kid": "features"}[metric]

    @staticmethod
    def can_be_compiled():
        return True

    @staticmethod
    def get_dummy_input_for_compile():
        return (torch.rand([1, 3, 8, 8]) * 255).to(torch.uint8)

    def forward(self, images):
        pixels = images.flatten(1).float()
        both = {"features": pixels @ self.to_features, "logits": pixels @ self.to_logits}
        return tuple(both[name] for name in self.features_list)


class Images(torch.utils.data.Dataset):
    """Random images, darker or lighter."""

    def __init__(self, seed: int, count: int, top: int):
        self.images = torch.from_numpy(np.random.default_rng(seed).integers(top, size=(count, 3, 8, 8), dtype=np.uint8))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


@pytest.fixture(scope="module")
def parity():
    """Our features of two image sets, and torch-fidelity's own numbers from the images."""
    register_feature_extractor("pixels", PixelNetwork)
    ours, theirs = Images(0, 2000, 200), Images(1, 2100, 256)
    common = {"feature_extractor": "pixels", "cuda": False, "cache": False, "verbose": False, "save_cpu_ram": True}
    numbers = torch_fidelity.calculate_metrics(
        input1=ours, input2=theirs, isc=True, fid=True, kid=True, isc_splits=10, samples_shuffle=False,
        kid_subset_size=1000, **common,
    )  # fmt: skip
    network = PixelNetwork("pixels", ["features", "logits"])
    features, logits = network(ours.images)
    rows = (Rows(each.numpy()) for each in (features, logits, network(theirs.images)[0]))
    return *rows, numbers


def test_inception_score_is_torch_fidelity_s(parity):
    _, logits, _, numbers = parity
    score = metrics.inception_score(logits, np.arange(len(logits)))
    assert score.value == pytest.approx(numbers["inception_score_mean"], abs=1e-6)
    assert score.spread == pytest.approx(numbers["inception_score_std"], abs=1e-6)


def test_fid_is_torch_fidelity_s(parity):
    features, _, reference, numbers = parity
    score = metrics.frechet_distance(features, reference, np.arange(len(features)))
    assert score.value == pytest.approx(numbers["frechet_inception_distance"], rel=5e-6)
    assert score.interval[0] < score.value < score.interval[1]


def test_kid_is_torch_fidelity_s(parity):
    features, _, reference, numbers = parity
    score = metrics.kernel_distance(features, reference, np.arange(len(features)))
    assert score.value == pytest.approx(numbers["kernel_inception_distance_mean"], abs=1e-6)


@pytest.mark.parametrize(("name", "rows"), [("fid_50x16_60x16", (50, 60)), ("fid_rankdeficient_10x16_12x16", (10, 12))])
def test_fid_of_the_golden_features(name, rows):
    first = rows_to_moments(Rows(uniform("fid/act1", (50, 16))[: rows[0]]))
    second = rows_to_moments(Rows((1.2 * uniform("fid/act2", (60, 16)) + 0.1)[: rows[1]]))
    value = statistics_to_fid(first, moments_to_reference(second))
    assert value == pytest.approx(load("metrics.json")[name], rel=2e-5)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """95 % of t intervals over ten folds hold the true rate."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        folds = random.binomial(100, 0.3, size=10) / 100
        low, high = metrics.mean_over_folds(folds).interval
        covered += low <= 0.3 <= high
    assert 0.91 < covered / 400 < 0.985


def test_the_jackknife_of_a_mean_is_the_t_interval_of_its_folds():
    values = np.random.default_rng(0).normal(size=1000)
    folds = metrics.fold_rows(np.arange(1000))
    alone = [values[rows].mean() for rows in folds]
    without = [np.delete(values, rows).mean() for rows in folds]
    jackknife = metrics.whole_with_jackknife(values.mean(), alone, without)
    assert jackknife.interval == pytest.approx(metrics.mean_over_folds(np.array(alone)).interval)


def test_folds_hold_every_image_once_and_are_of_like_length():
    folds = metrics.fold_of_each(103, np.random.default_rng(0).permutation(103))
    assert sorted(np.bincount(folds)) == [10] * 7 + [11] * 3


@pytest.fixture(scope="module")
def images_folder(run_folder, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampled") / "images"
    sample_test_captions(run_folder, data, folder, 40, 100, 16, False, CPU)
    return folder


def measured(out, data, damsm_folder, classifier_folder, images, rungs=("species",), **options):
    judges = Judges(rungs, classifier_folder, out.parent, damsm_folder)
    options = EvaluationOptions(neighbours=2, **options)
    evaluate(images=images, data=data, judges=judges, reference=None, out=out, options=options, device=CPU)
    return json.loads(out.read_text())


def test_metrics_of_a_model_hold_their_whole_protocol(images_folder, data, damsm_folder, classifier_folder, tmp_path):
    content = measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert content["subject"] == {
        "kind": "model", "name": "dmgan", "seed": 0, "dataset": "synthbirds", "num_images": 40, "image_size": 32,
    }  # fmt: skip
    assert content["schema"] == 2
    species = {f"{name}(species)" for name in ("IS", "FID", "KID", "precision", "recall", "density", "coverage")}
    assert set(content["metrics"]) == species | {"R-precision(training DAMSM)"}
    for metric in content["metrics"].values():
        assert metric["interval"][0] <= metric["value"] <= metric["interval"][1]
        assert metric["num_images"] == 40 and metric["protocol"]["feature_network_sha256"]
    again = measured(tmp_path / "again" / "metrics.json", data, damsm_folder, classifier_folder, images=images_folder)
    assert again["metrics"] == content["metrics"]


def test_a_missing_or_corrupt_image_is_named(images_folder, dataset, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(images_folder, copy)
    (copy / "000007.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match="000007.png: is not a readable image"):
        sampled_images(copy, dataset).read(7)
    (copy / "000007.png").unlink()
    with pytest.raises(UserError, match="1 of 40 images are missing, the first is 000007.png"):
        sampled_images(copy, dataset)
    (copy / "manifest.json").unlink()
    with pytest.raises(UserError, match="manifest.json: cannot be read"):
        sampled_images(copy, dataset)


def test_too_few_images_for_ten_folds_are_refused(run_folder, data, damsm_folder, classifier_folder, tmp_path):
    sample_test_captions(run_folder, data, tmp_path / "images", 19, 100, 16, False, CPU)
    with pytest.raises(UserError, match="19 images do not make ten folds"):
        measured(tmp_path / "metrics.json", data, damsm_folder, classifier_folder, images=tmp_path / "images")
    assert not (tmp_path / "metrics.json").exists()
