"""The feature store on a GPU; every test here is skipped on a machine without one."""

import numpy as np
import pytest
import torch

from dmgan.evaluation import feature_store
from dmgan.evaluation.controls import NoiseImages
from dmgan.evaluation.feature_store import extract
from dmgan.evaluation.networks.base import FeatureExtractor, channels_first
from dmgan.evaluation.networks.inception_2015 import pil_bilinear
from dmgan.evaluation.networks.inception_clean import clean_resize
from tests.conftest import CPU

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GPU, COUNT = torch.device("cuda"), 600  # three chunks, the last one incomplete


class Network(FeatureExtractor):
    """Two convolutions and a pooling, on a device."""

    def __init__(self, name: str, device: torch.device, prepare=None):
        super().__init__({"features": 64}, {"feature_network": name, "feature_network_sha256": "one"})
        self.name, self.prepare = name, prepare
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(3, 32, 3, stride=4), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 3)]
        self.network = torch.nn.Sequential(*layers).to(device).requires_grad_(False)

    def forward(self, batch):
        return {"features": self.network(channels_first(batch).div_(255)).mean(dim=(2, 3))}


def extracted(folder, device, **loading) -> dict[str, np.ndarray]:
    extractors = [
        Network("plain", device), Network("bilinear", device, pil_bilinear), Network("clean", device, clean_resize),
    ]  # fmt: skip
    stored = extract(NoiseImages(0, 64), COUNT, extractors, folder, device, **loading)
    return {name: each["features"].all() for name, each in stored.items()}


def test_values_depend_on_neither_batch_size_nor_workers_and_are_those_of_the_cpu(tmp_path):
    first = extracted(tmp_path / "first", GPU)
    for number, loading in enumerate([{"batch_size": 100, "workers": 3}, {"batch_size": 256, "workers": 1}]):
        other = extracted(tmp_path / str(number), GPU, **loading)
        assert all(np.array_equal(other[name], first[name]) for name in first)
    for name, values in extracted(tmp_path / "cpu", CPU).items():
        np.testing.assert_allclose(first[name], values, rtol=1e-4, atol=1e-5)


def test_no_forward_pass_waits_for_the_gpu(tmp_path, monkeypatch):
    extracted(tmp_path / "warm", GPU)
    compute = feature_store._compute

    def watched(*arguments):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return compute(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(feature_store, "_compute", watched)
    extracted(tmp_path / "watched", GPU, workers=2)
