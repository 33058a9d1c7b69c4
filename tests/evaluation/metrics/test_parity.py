"""IS, FID, KID and PRDC from image files against torch-fidelity, clean-fid, prdc and the released protocol."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from cleanfid.fid import compute_fid
from PIL import Image
from prdc import compute_prdc
from scipy import linalg
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import register_feature_extractor

from benchmarks.local_weights import drawn_images
from dmgan.evaluation.feature_store import extract
from dmgan.evaluation.image_sets import ImageFiles
from dmgan.evaluation.metrics.inception_score import inception_score, torch_fidelity_order
from dmgan.evaluation.networks.base import FeatureExtractor
from dmgan.evaluation.networks.inception_clean import CleanInception
from dmgan.evaluation.networks.inception_torchvision_released import ReleasedTorchvisionInception
from dmgan.evaluation.statistics import kernel as kernel_distances
from dmgan.evaluation.statistics import manifolds
from dmgan.evaluation.statistics.folds import fold_rows
from dmgan.evaluation.statistics.frechet import (
    frechet_distance,
    moments_to_reference,
    rows_to_moments,
    statistics_to_fid,
    whole_batches,
)
from tests.conftest import CPU

pytestmark = pytest.mark.slow

COUNT, SIDE = 2049, 12  # 2,000 are left in whole batches of 50
RUNS = fold_rows(np.arange(COUNT))
NARROW, WIDE = 96, 2048  # of full rank on so many images, and as wide as Inception's pool: rank-deficient


class SmallNetwork(nn.Module):
    """Levels (B, 3, s, s) -> features and logits: an average of 12x12 places, then fixed random layers."""

    sha256 = "locally made"

    def protocol(self, resize):
        return {"feature_network": "small", "feature_network_sha256": self.sha256, "resize": resize}

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.first = torch.randn(3 * SIDE * SIDE, NARROW, generator=random) / 8
        self.to_wide = torch.randn(NARROW, WIDE, generator=random) / 6
        self.to_logits = torch.randn(NARROW, 30, generator=random) / 5

    def forward(self, images):
        pooled = nn.functional.adaptive_avg_pool2d(images, SIDE).flatten(1) / 128 - 1
        features = nn.functional.softplus(pooled @ self.first)
        return {"features": features, "wide": torch.relu(features @ self.to_wide), "logits": features @ self.to_logits}


class SmallExtractor(FeatureExtractorBase):
    """The same for torch-fidelity."""

    layers = ("features", "wide", "logits")

    def __init__(self, name, features_list, **_):
        super().__init__(name, features_list)
        self.network = SmallNetwork()

    @staticmethod
    def get_provided_features_list():
        return SmallExtractor.layers

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return {"isc": "logits", "fid": "features", "kid": "features", "prc": "features"}[metric]

    @staticmethod
    def can_be_compiled():
        return False

    @staticmethod
    def get_dummy_input_for_compile():
        return (torch.rand([1, 3, SIDE, SIDE]) * 255).to(torch.uint8)

    def forward(self, images):
        arrays = self.network(images.float())
        return tuple(arrays[layer] for layer in self.features_list)


class SmallFeatures(FeatureExtractor):
    """The same as a feature extractor of this project, without a resize."""

    name = "small"

    def __init__(self):
        super().__init__({"features": NARROW, "wide": WIDE, "logits": 30}, {"feature_network": "small"})
        self.network = SmallNetwork()

    def forward(self, batch):
        return self.network(batch.permute(0, 3, 1, 2).float())


class Sets:
    """Two folders of COUNT images, and features of them by both extractors."""

    def __init__(self, folder: Path):
        self.folders, self.small, self.clean = [], [], []
        for number, which in enumerate(("generated", "real")):
            images = (drawn_images(COUNT, SIDE, seed=number) * (1 - 0.05 * number)).astype(np.uint8)
            (folder / which).mkdir()
            paths = [folder / which / f"{n:06d}.png" for n in range(COUNT)]
            for path, pixels in zip(paths, images, strict=True):
                Image.fromarray(pixels).save(path, compress_level=1)
            extractors = [SmallFeatures(), CleanInception(SmallNetwork())]
            extractors[1].widths = {"features": NARROW}
            stored = extract(ImageFiles(paths, SIDE, "draw it"), COUNT, extractors, folder / f"{which} features", CPU)
            self.folders.append(folder / which)
            self.small.append(stored["small"])
            self.clean.append(stored["clean"]["features"])


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return Sets(tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def fidelity(sets):
    """torch-fidelity's numbers, from the files on."""
    register_feature_extractor("small", SmallExtractor)
    common = {
        "input1": str(sets.folders[0]), "input2": str(sets.folders[1]), "feature_extractor": "small", "cuda": False,
        "cache": False, "verbose": False, "save_cpu_ram": True,
    }  # fmt: skip
    numbers = torch_fidelity.calculate_metrics(isc=True, fid=True, kid=True, kid_subsets=20, **common)
    wide = torch_fidelity.calculate_metrics(fid=True, feature_layer_fid="wide", **common)
    return numbers | {"wide": wide["frechet_inception_distance"]}


def test_inception_score_is_torch_fidelity_s(sets, fidelity):
    score = inception_score(sets.small[0]["logits"], torch_fidelity_order(COUNT), RUNS)
    assert score.value == pytest.approx(fidelity["inception_score_mean"], abs=1e-6)
    assert score.spread == pytest.approx(fidelity["inception_score_std"], abs=1e-6)
    assert score.value > 1.5


def test_kid_is_torch_fidelity_s(sets, fidelity, monkeypatch):
    monkeypatch.setattr(kernel_distances, "SUBSETS", 20)  # of 100, to save time
    features, reference = (each["features"] for each in sets.small)
    score = kernel_distances.kernel_distance(features, reference, np.arange(COUNT), RUNS)
    assert score.centre == pytest.approx(score.value, rel=0.05)
    assert score.value == pytest.approx(fidelity["kernel_inception_distance_mean"], abs=1e-6)
    assert score.value > 0.01
    assert score.interval[0] < score.value < score.interval[1]


def test_fid_is_torch_fidelity_s(sets, fidelity):
    features, reference = (each["features"] for each in sets.small)
    score = frechet_distance(features, reference, np.arange(COUNT), RUNS)
    assert score.value == pytest.approx(fidelity["frechet_inception_distance"], rel=5e-6)
    assert score.interval[0] < score.value < score.interval[1]


def test_fid_of_more_features_than_images_is_torch_fidelity_s(sets, fidelity):
    features, reference = (rows_to_moments(each["wide"]) for each in sets.small)
    assert statistics_to_fid(features, moments_to_reference(reference)) == pytest.approx(fidelity["wide"], rel=2e-5)


@pytest.mark.filterwarnings("ignore:The `disp` argument")
def test_clean_fid_is_clean_fid_s(sets):
    network = SmallNetwork()
    value = compute_fid(
        *map(str, sets.folders), mode="clean", device=CPU, num_workers=0, batch_size=50, verbose=False,
        custom_feat_extractor=lambda images: network(images)["features"],
    )  # fmt: skip
    features, reference = (rows_to_moments(each) for each in sets.clean)
    assert statistics_to_fid(features, moments_to_reference(reference)) == pytest.approx(value, rel=2e-5)


def test_manifolds_are_prdc_s(sets, monkeypatch):
    monkeypatch.setattr(manifolds, "_BLOCK", 128)
    features, real = (each["features"].subset(np.arange(count)) for each, count in zip(sets.small, (2040, 2000)))
    scores = manifolds.manifold_scores(
        features, real, np.arange(2040), fold_rows(np.arange(2040)), np.arange(2000), neighbours=5
    )
    expected = compute_prdc(real_features=real.all(), fake_features=features.all(), nearest_k=5)
    assert {name: score.value for name, score in scores.items()} == pytest.approx(expected, abs=1e-12)
    assert 0 < scores["precision"].value < 1 and 0 < scores["recall"].value < 1


def test_released_fid_is_the_released_formula(sets):
    """np.cov and scipy's sqrtm of the product, real part, on whole batches of 50."""
    batch = ReleasedTorchvisionInception.batch
    ours = [whole_batches(each["features"].subset(np.arange(n)), batch, "images")
            for each, n in zip(sets.small, (2049, 2019))]  # fmt: skip
    assert [len(each) for each in ours] == [2000, 2000]
    first, second = (each.all().astype(np.float64) for each in ours)
    root = linalg.sqrtm(np.cov(first, rowvar=False) @ np.cov(second, rowvar=False)).real
    step = first.mean(axis=0) - second.mean(axis=0)
    traces = np.trace(np.cov(first, rowvar=False)) + np.trace(np.cov(second, rowvar=False))
    score = frechet_distance(*ours, np.arange(2000), fold_rows(np.arange(2000)))
    assert score.value == pytest.approx(step @ step + traces - 2 * np.trace(root), rel=1e-9)


def test_moments_merge_and_part_as_numpy_s(sets):
    rows = sets.small[0]["features"].subset(np.arange(1500))
    values = rows.all().astype(np.float64)
    parts = [rows_to_moments(rows.subset(each)) for each in (np.arange(900), np.arange(900, 1500))]
    both = parts[0].merged(parts[1])
    for moments, expected in ((both, values), (both.without(parts[1]), values[:900])):
        np.testing.assert_allclose(moments.mean, expected.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.covariance(), np.cov(expected, rowvar=False), rtol=1e-9, atol=1e-12)


def test_subset_kernel_distance_is_the_mean_over_all_pairs(sets):
    """The all-pairs distance that folds and jackknife use is what torch-fidelity's subsets scatter about."""
    features, reference = (each["features"].subset(np.arange(400)) for each in sets.small)
    (sums,) = kernel_distances._fold_kernel_sums(features, reference, [fold_rows(np.arange(400))])
    x, y = (each.all().astype(np.float64) for each in (features, reference))
    kernel = lambda a, b: (a @ b.T / NARROW + 1) ** 3  # noqa: E731
    n = len(x)
    within = sum((kernel(each, each).sum() - np.trace(kernel(each, each))) / (n * (n - 1)) for each in (x, y))
    exact = within - 2 * kernel(x, y).mean()
    assert sums.distance(sums.folds) == pytest.approx(exact, rel=1e-9)
    assert kernel_distances.subset_kernel_distance(features, reference) == pytest.approx(exact, rel=0.02)
