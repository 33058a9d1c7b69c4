"""The whole path from images to numbers against torch-fidelity, clean-fid, prdc and the released protocol."""

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
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.registry import register_feature_extractor
from torchvision import transforms
from torchvision.models import inception_v3

from benchmarks.local_weights import drawn_images, inception_2015_state, torchvision_state
from dmgan.evaluation import metrics, networks, prdc
from dmgan.evaluation.features import Rows, extract
from dmgan.evaluation.images import ImageFiles
from dmgan.evaluation.statistics import moments_to_reference, rows_to_moments, statistics_to_fid
from tests.conftest import CPU

COUNT, SIDE = 2049, 12  # 2,000 are left in whole batches of 50
RUNS = metrics.fold_rows(np.arange(COUNT))
NARROW, WIDE = 96, 2048  # of full rank on so many images, and as wide as Inception's pool: rank-deficient


class SmallNetwork(nn.Module):
    """Levels (B, 3, s, s) -> features and logits: an average of 12x12 places, then fixed random layers."""

    sha256 = "locally made"

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


class SmallRung(networks.FeatureNetwork):
    """The same for this project, without a resize."""

    name = "small"

    def __init__(self):
        super().__init__({"features": NARROW, "wide": WIDE, "logits": 30}, {"feature_network": "small"})
        self.network = SmallNetwork()

    def forward(self, batch):
        return self.network(batch.permute(0, 3, 1, 2).float())


class Sets:
    """Two folders of COUNT images, and both networks' features of them by this project's engine."""

    def __init__(self, folder: Path):
        self.folders, self.small, self.clean = [], [], []
        for number, which in enumerate(("generated", "real")):
            images = (drawn_images(COUNT, SIDE, seed=number) * (1 - 0.05 * number)).astype(np.uint8)
            (folder / which).mkdir()
            paths = [folder / which / f"{n:06d}.png" for n in range(COUNT)]
            for path, pixels in zip(paths, images, strict=True):
                Image.fromarray(pixels).save(path, compress_level=1)
            rungs = [SmallRung(), networks.CleanInception(SmallNetwork())]
            rungs[1].widths = {"features": NARROW}
            stored = extract(ImageFiles(paths, SIDE, "draw it"), COUNT, rungs, folder / f"{which} features", CPU)
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
    score = metrics.inception_score(sets.small[0]["logits"], metrics.torch_fidelity_order(COUNT), RUNS)
    assert score.value == pytest.approx(fidelity["inception_score_mean"], abs=1e-6)
    assert score.spread == pytest.approx(fidelity["inception_score_std"], abs=1e-6)
    assert score.value > 1.5


def test_kid_is_torch_fidelity_s(sets, fidelity, monkeypatch):
    monkeypatch.setattr(metrics, "KID_SUBSETS", 20)  # of 100, to save time
    features, reference = (each["features"] for each in sets.small)
    score = metrics.kernel_distance(features, reference, np.arange(COUNT), RUNS)
    assert score.centre == pytest.approx(score.value, rel=0.05)
    assert score.value == pytest.approx(fidelity["kernel_inception_distance_mean"], abs=1e-6)
    assert score.value > 0.01
    assert score.interval[0] < score.value < score.interval[1]


def test_fid_is_torch_fidelity_s(sets, fidelity):
    features, reference = (each["features"] for each in sets.small)
    score = metrics.frechet_distance(features, reference, np.arange(COUNT), RUNS)
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
    monkeypatch.setattr(prdc, "_BLOCK", 128)
    features, real = (each["features"].subset(np.arange(count)) for each, count in zip(sets.small, (2040, 2000)))
    scores = metrics.manifold_scores(
        features, real, np.arange(2040), metrics.fold_rows(np.arange(2040)), np.arange(2000), neighbours=5
    )
    expected = compute_prdc(real_features=real.all(), fake_features=features.all(), nearest_k=5)
    assert {name: score.value for name, score in scores.items()} == pytest.approx(expected, abs=1e-12)
    assert 0 < scores["precision"].value < 1 and 0 < scores["recall"].value < 1


# The real architecture, weights drawn here.


@pytest.fixture(scope="module")
def pixels():
    return drawn_images(3, 64, seed=5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Both Inceptions' weights, by file."""
    folder, state = tmp_path_factory.mktemp("weights"), torchvision_state()
    torch.save(state, folder / "torchvision.pth")
    torch.save(inception_2015_state(state), folder / "2015.pth")
    return folder


@pytest.fixture(scope="module")
def inception(weights):
    return networks.Inception2015(networks.read_weights(weights / "2015.pth"), CPU)


@pytest.fixture(scope="module")
def libraries(weights):
    """torch-fidelity's own extractor of those weights."""
    layers = ["2048", "logits_unbiased"]
    return FeatureExtractorInceptionV3("x", layers, feature_extractor_weights_path=weights / "2015.pth")


def features_of(network: networks.FeatureNetwork, pixels) -> dict[str, torch.Tensor]:
    prepared = pixels if network.prepare is None else np.stack([network.prepare(each) for each in pixels])
    with torch.inference_mode():
        return network.forward(torch.from_numpy(prepared))


def test_tf_features_are_torch_fidelity_s(inception, libraries, pixels):
    ours = features_of(networks.TfInception(inception), pixels)
    features, logits = libraries(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    torch.testing.assert_close(ours["features"], features, atol=5e-4, rtol=1e-4)
    torch.testing.assert_close(ours["logits"], logits, atol=5e-4, rtol=1e-4)


def test_openai_features_are_torch_fidelity_s_of_resized_images(inception, libraries, pixels):
    ours = features_of(networks.OpenaiInception(inception), pixels)
    resized = [np.asarray(Image.fromarray(each).resize((299, 299), Image.BILINEAR)) for each in pixels]
    _, logits = libraries(torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2))
    torch.testing.assert_close(ours["logits"], logits, atol=5e-4, rtol=1e-4)


def test_clean_features_are_clean_fid_s(inception, libraries, pixels, tmp_path):
    """clean-fid's own files, reader and resize; then its rule before its network, which has the same layers."""
    from cleanfid.fid import get_files_features

    paths = [str(tmp_path / f"{n}.png") for n in range(len(pixels))]
    for path, each in zip(paths, pixels, strict=True):
        Image.fromarray(each).save(path)
    layers = nn.Sequential(*[child for name, child in libraries.named_children() if name != "fc"])
    features = get_files_features(
        paths, lambda images: layers((images - 128) / 128).flatten(1), num_workers=0, device=CPU, verbose=False
    )
    ours = features_of(networks.CleanInception(inception), pixels)["features"]
    torch.testing.assert_close(ours, torch.from_numpy(features), atol=5e-4, rtol=1e-4)
    others = features_of(networks.TfInception(inception), pixels)["features"]
    assert float((ours - others).abs().max()) > 0.01  # the resizes do differ


def test_released_torchvision_features_are_the_released_code_s(weights, pixels):
    """PIL bilinear, [0, 1] into transform_input, pool features: to the bit; and they are not the right ones."""
    read = networks.read_weights(weights / "torchvision.pth")
    model = inception_v3(weights=None, transform_input=True, init_weights=False)
    model.load_state_dict(read.state)
    model.fc = nn.Identity()
    prepare = transforms.Compose([transforms.Resize((299, 299)), transforms.ToTensor()])
    with torch.inference_mode():
        released = model.eval()(torch.stack([prepare(Image.fromarray(each)) for each in pixels]))
    ours = features_of(networks.ReleasedTorchvisionInception(read, CPU), pixels)["features"]
    assert torch.equal(ours, released)

    images = torch.stack([prepare(Image.fromarray(each)) for each in pixels])
    imagenet = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.inference_mode():
        right = model(imagenet(images))
    ours = features_of(networks.TorchvisionInception(read, CPU), pixels)["features"]
    torch.testing.assert_close(ours, right, atol=5e-4, rtol=1e-4)
    assert float((ours - released).abs().max()) > 0.01


def test_released_fid_is_the_released_formula(sets):
    """np.cov and scipy's sqrtm of the product, real part, on whole batches of 50."""
    rung = networks.ReleasedTorchvisionInception
    ours = [metrics.whole_batches(each["features"].subset(np.arange(n)), rung.batch, "images")
            for each, n in zip(sets.small, (2049, 2019))]  # fmt: skip
    assert [len(each) for each in ours] == [2000, 2000]
    first, second = (each.all().astype(np.float64) for each in ours)
    root = linalg.sqrtm(np.cov(first, rowvar=False) @ np.cov(second, rowvar=False)).real
    step = first.mean(axis=0) - second.mean(axis=0)
    traces = np.trace(np.cov(first, rowvar=False)) + np.trace(np.cov(second, rowvar=False))
    score = metrics.frechet_distance(*ours, np.arange(2000), metrics.fold_rows(np.arange(2000)))
    assert score.value == pytest.approx(step @ step + traces - 2 * np.trace(root), rel=1e-9)


# The mathematics underneath.


def test_moments_merge_and_part_as_numpy_s(sets):
    rows = sets.small[0]["features"].subset(np.arange(1500))
    values = rows.all().astype(np.float64)
    parts = [rows_to_moments(rows.subset(each)) for each in (np.arange(900), np.arange(900, 1500))]
    both = parts[0].merged(parts[1])
    for moments, expected in ((both, values), (both.without(parts[1]), values[:900])):
        np.testing.assert_allclose(moments.mean, expected.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.covariance(), np.cov(expected, rowvar=False), rtol=1e-9, atol=1e-12)


def test_statistics_are_float64_of_float32_features():
    """A large mean and a small spread: sums of squares, or float32 anywhere, would lose it."""
    values = (1000 + np.random.default_rng(0).normal(size=(5000, 3))).astype(np.float32)
    moments = rows_to_moments(Rows(values))
    np.testing.assert_allclose(moments.covariance(), np.cov(values.astype(np.float64), rowvar=False), rtol=1e-10)


def test_subset_kernel_distance_is_the_mean_over_all_pairs(sets):
    """The all-pairs distance that folds and jackknife use is what torch-fidelity's subsets scatter about."""
    features, reference = (each["features"].subset(np.arange(400)) for each in sets.small)
    (sums,) = metrics._fold_kernel_sums(features, reference, [metrics.fold_rows(np.arange(400))])
    x, y = (each.all().astype(np.float64) for each in (features, reference))
    kernel = lambda a, b: (a @ b.T / NARROW + 1) ** 3  # noqa: E731
    n = len(x)
    within = sum((kernel(each, each).sum() - np.trace(kernel(each, each))) / (n * (n - 1)) for each in (x, y))
    exact = within - 2 * kernel(x, y).mean()
    assert sums.distance(sums.folds) == pytest.approx(exact, rel=1e-9)
    assert metrics.subset_kernel_distance(features, reference) == pytest.approx(exact, rel=0.02)


def test_a_rank_of_one_and_features_that_do_not_vary():
    line = Rows(np.outer(np.arange(30), [1, 2, 3]).astype(np.float32))
    shifted = Rows(line.all() + np.float32([1, 0, 0]))
    reference = moments_to_reference(rows_to_moments(line))
    assert statistics_to_fid(rows_to_moments(shifted), reference) == pytest.approx(1.0, abs=1e-9)
    constant = Rows(np.full((30, 3), 7, dtype=np.float32))
    spread = float(np.var(line.all(), axis=0, ddof=1).sum())
    step = float(np.square(line.all().mean(axis=0) - 7).sum())
    assert statistics_to_fid(rows_to_moments(constant), reference) == pytest.approx(step + spread)
