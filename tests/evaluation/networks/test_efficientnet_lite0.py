"""The extractor `efficientnet-lite0`: its features, and the label that keeps its FID apart from Inception's."""

import numpy as np
import torch

from dmgan.evaluation.metrics.fid import FrechetInceptionDistance
from dmgan.evaluation.networks.base import ExtractorInputs
from dmgan.evaluation.networks.table import read_extractors
from dmgan.text.efficientnet_lite import SHA256, EfficientNetLite0, load_imagenet_weights
from tests.conftest import CPU


def test_its_features_are_the_average_of_the_network_s_last_map(tmp_path):
    (extractor,) = read_extractors(("efficientnet-lite0",), ExtractorInputs(None, tmp_path, CPU)).values()
    images = torch.from_numpy(np.random.default_rng(0).integers(256, size=(2, 40, 48, 3), dtype=np.uint8))
    network = EfficientNetLite0().eval()
    load_imagenet_weights(network)
    with torch.inference_mode():
        found = extractor.forward(images)["features"]
        expected = network(images.permute(0, 3, 1, 2) / 127.5 - 1).mean(dim=(2, 3))
    assert found.shape == (2, extractor.widths["features"]) and found.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)

    assert FrechetInceptionDistance(extractor).key == "FID(efficientnet-lite0)"
    assert extractor.protocol["feature_network"] == "EfficientNet-lite0 (ImageNet), which is not Inception"
    assert extractor.protocol["feature_network_sha256"] == SHA256
