"""The bird Inception of the released evaluation: names and forward pass against TF-slim's, by drawn variables."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.local_weights import drawn_images
from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.evaluation.metrics.inception_score import InceptionScore
from dmgan.evaluation.networks.base import ExtractorInputs
from dmgan.evaluation.networks.bird_inception import read_variables, slim_to_state, slim_variables
from dmgan.evaluation.networks.inception_2015 import pil_bilinear
from dmgan.evaluation.networks.inception_birds import WEIGHTS, BirdLogits
from tests.conftest import CPU

AVERAGED = "/ExponentialMovingAverage"
# TF-slim's inception_v3: scope -> branches, each a list of (kernel, channels out); stride 2 and VALID where marked.
_A = {"branch1x1": [("1x1", 64)], "branch5x5": [("1x1", 48), ("5x5", 64)],
      "branch3x3dbl": [("1x1", 64), ("3x3", 96), ("3x3", 96)]}  # fmt: skip


def _c(width: int) -> dict:
    return {
        "branch1x1": [("1x1", 192)],
        "branch7x7": [("1x1", width), ("1x7", width), ("7x1", 192)],
        "branch7x7dbl": [("1x1", width), ("7x1", width), ("1x7", width), ("7x1", width), ("1x7", 192)],
        "branch_pool": [("1x1", 192)],
    }


_E = {
    "branch1x1": [("1x1", 320)],
    "branch3x3": [("1x1", 384), ("1x3", 384), ("3x1", 384)],
    "branch3x3dbl": [("1x1", 448), ("3x3", 384), ("1x3", 384), ("3x1", 384)],
    "branch_pool": [("1x1", 192)],
}
BLOCKS = {
    "mixed_35x35x256a": _A | {"branch_pool": [("1x1", 32)]},
    "mixed_35x35x288a": _A | {"branch_pool": [("1x1", 64)]},
    "mixed_35x35x288b": _A | {"branch_pool": [("1x1", 64)]},
    "mixed_17x17x768a": {"branch3x3": [("3x3/2", 384)], "branch3x3dbl": [("1x1", 64), ("3x3", 96), ("3x3/2", 96)]},
    "mixed_17x17x768b": _c(128),
    "mixed_17x17x768c": _c(160),
    "mixed_17x17x768d": _c(160),
    "mixed_17x17x768e": _c(192),
    "mixed_17x17x1280a": {
        "branch3x3": [("1x1", 192), ("3x3/2", 320)],
        "branch7x7x3": [("1x1", 192), ("1x7", 192), ("7x1", 192), ("3x3/2", 192)],
    },
    "mixed_8x8x2048a": _E,
    "mixed_8x8x2048b": _E,
}
STEM = {"conv0": ("3x3/2", 32), "conv1": ("3x3/1", 32), "conv2": ("3x3", 64), "conv3": ("1x1", 80),
        "conv4": ("3x3/1", 192)}  # fmt: skip


class Slim:
    """TF-slim's forward pass in its own layout; the first pass draws the variables of every layer that it meets."""

    def __init__(self):
        self.variables: dict[str, np.ndarray] = {}
        self._random = np.random.default_rng(0)

    def variable(self, name: str, shape: tuple[int, ...], scale: float, centre: float = 0.0) -> torch.Tensor:
        drawn = centre + scale * self._random.standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(self.variables.setdefault(name + AVERAGED, drawn))

    def conv(self, x: torch.Tensor, scope: str, layer: tuple[str, int]) -> torch.Tensor:
        """A convolution without bias, batch norm without scale (epsilon 0.001), ReLU; KERNEL/STRIDE is VALID."""
        kernel, _, stride = layer[0].partition("/")
        height, width = map(int, kernel.split("x"))
        shape = (height, width, x.shape[1], layer[1])
        weights = self.variable(f"{scope}/weights", shape, (2 / (height * width * x.shape[1])) ** 0.5)
        norm = f"{scope}/BatchNorm"
        beta, mean = (self.variable(f"{norm}/{name}", layer[1:], 0.1) for name in ("beta", "moving_mean"))
        variance = self.variable(f"{norm}/moving_variance", layer[1:], 0.02, 1.0)
        padding = (0, 0) if stride else (height // 2, width // 2)
        x = F.conv2d(x, weights.permute(3, 2, 0, 1), stride=int(stride or 1), padding=padding)
        mean, variance, beta = (each[:, None, None] for each in (mean, variance, beta))
        return F.relu((x - mean) / (variance + 0.001).sqrt() + beta)

    def block(self, x: torch.Tensor, scope: str) -> torch.Tensor:
        parts = []
        for branch, layers in BLOCKS[scope].items():
            y = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) if branch == "branch_pool" else x
            names = [f"{scope}/{branch}/Conv_{n}" if n else f"{scope}/{branch}/Conv" for n in range(len(layers))]
            forked = scope.startswith("mixed_8x8") and branch.startswith("branch3x3")
            for name, layer in list(zip(names, layers, strict=True))[: -2 if forked else None]:
                y = self.conv(y, name, layer)
            if forked:  # the last two layers read the same input
                y = torch.cat([self.conv(y, *each) for each in list(zip(names, layers, strict=True))[-2:]], dim=1)
            parts.append(y)
        if "branch_pool" not in BLOCKS[scope]:
            parts.append(F.max_pool2d(x, 3, 2))
        return torch.cat(parts, dim=1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the 51 logits of images (B, 3, 299, 299)."""
        for scope, layer in STEM.items():
            if scope == "conv3":
                x = F.max_pool2d(x, 3, 2)
            x = self.conv(x, scope, layer)
        x = F.max_pool2d(x, 3, 2)
        for scope in BLOCKS:
            x = self.block(x, scope)
        weights = self.variable("logits/logits/weights", (2048, 51), 0.05)
        return x.mean(dim=(2, 3)) @ weights + self.variable("logits/logits/biases", (51,), 1.0)


@pytest.fixture(scope="module")
def images():
    """Two images, resized as in the released evaluation."""
    return np.stack([pil_bilinear(each) for each in drawn_images(2, 64, seed=3)])


@pytest.fixture(scope="module")
def slim(images):
    """The network with its variables, and its logits of the images."""
    network = Slim()
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
    return network, logits


@pytest.fixture(scope="module")
def checkpoint(slim, tmp_path_factory):
    """The variables by name, with those that are not read."""
    more = {
        "conv0/weights": np.zeros((3, 3, 3, 32), np.float32),
        "conv0/weights/RMSProp": np.zeros((3, 3, 3, 32), np.float32),
        f"aux_logits/FC/weights{AVERAGED}": np.zeros((768, 51), np.float32),
        "global_step": np.array(5000),
    }
    path = tmp_path_factory.mktemp("checkpoint") / "birds.npz"
    np.savez(path, **slim[0].variables, **more)
    return path


def test_every_averaged_variable_of_slim_is_read_and_no_other(slim):
    names = slim_variables()
    assert set(names.values()) == set(slim[0].variables) and len(names) == len(set(names.values())) == 378


@pytest.mark.slow
def test_the_converted_weights_give_slim_s_logits_without_the_first(slim, images, checkpoint, tmp_path):
    assert main(["bird-inception", "--checkpoint", str(checkpoint), "--out", str(tmp_path / WEIGHTS)]) == 0
    extractor = BirdLogits.read(ExtractorInputs(None, tmp_path, CPU))
    with torch.inference_mode():
        logits = extractor.forward(torch.from_numpy(images))["logits"]
    assert logits.shape == (2, 50) and float(slim[1][:, 1:].std()) > 0.5
    torch.testing.assert_close(logits, slim[1][:, 1:], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda variables: variables.pop(f"conv4/BatchNorm/beta{AVERAGED}"), "missing: conv4/BatchNorm/beta"),
        (
            lambda variables: variables.update({f"conv9/weights{AVERAGED}": np.zeros(1)}),
            "unknown: conv9/weights/Exponential",
        ),
        (
            lambda variables: variables.update({f"logits/logits/biases{AVERAGED}": np.zeros(1001)}),
            r"of another shape: logits/logits/biases/\S+ \(1001,\)",
        ),
    ],
)
def test_another_checkpoint_is_refused_with_its_first_differences(slim, spoil, message):
    variables = dict(slim[0].variables)
    spoil(variables)
    with pytest.raises(
        UserError, match=rf"birds.ckpt: is not the checkpoint .*{message}.*; give birds_valid299"
    ) as caught:
        slim_to_state(variables, "birds.ckpt")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match="TensorFlow, which is not installed .*extra convert .*npz file"):
        read_variables(tmp_path / "model.ckpt-5000")


def test_the_variables_of_a_checkpoint_are_read_by_tensorflow(tmp_path, monkeypatch):
    """TensorFlow is not a dependency: a reader with its two functions stands in for it."""
    arrays = {"conv0/weights": np.ones((3, 3, 3, 32)), "global_step": np.array(5000)}
    reader = SimpleNamespace(
        get_variable_to_shape_map=lambda: {name: array.shape for name, array in arrays.items()}, get_tensor=arrays.get
    )
    asked = []
    stub = ModuleType("tensorflow.train")
    stub.load_checkpoint = lambda path: asked.append(path) or reader
    monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    monkeypatch.setitem(sys.modules, "tensorflow.train", stub)
    assert read_variables(tmp_path / "model.ckpt-5000") == arrays
    assert asked == [str(tmp_path / "model.ckpt-5000")]

    def fail(path):
        raise RuntimeError("Unable to open table file\nmore")

    stub.load_checkpoint = fail
    with pytest.raises(UserError, match=r"is not a readable checkpoint .Unable to open table file.; give the path"):
        read_variables(tmp_path / "model.ckpt-5000")


def test_without_weights_the_error_names_the_original_and_the_command(tmp_path):
    with pytest.raises(UserError) as caught:
        BirdLogits.read(ExtractorInputs(None, tmp_path, CPU))
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path / WEIGHTS) in message
    assert "python -m dmgan bird-inception --checkpoint model.ckpt-5000" in message and "about 22.7" in message


@pytest.mark.parametrize(("count", "counted"), [(30_000, 29_952), (640, 640), (100, 64)])
def test_the_score_leaves_out_an_incomplete_last_batch_of_the_permutation(count, counted):
    order = np.random.default_rng(0).permutation(count)
    measurement = SimpleNamespace(subject=range(count), options=SimpleNamespace(seed=7), fold_order=lambda: order)
    metric = InceptionScore(SimpleNamespace(name="birds-released", batch=BirdLogits.batch))
    kept, rule = metric._split_order(measurement)
    assert np.array_equal(kept, order[:counted]) and "last batch of 64" in rule
