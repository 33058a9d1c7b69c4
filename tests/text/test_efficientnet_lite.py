"""EfficientNet-lite0 with the installed ImageNet weights: identity, names, input, and what pretraining trains of it."""

import hashlib

import pytest
import torch
from timm.models.efficientnet import tf_efficientnet_lite0

from dmgan.errors import UserError
from dmgan.storage.weights import read_state_dict
from dmgan.text import efficientnet_lite
from dmgan.text.efficientnet_lite import EfficientNetLite0, load_imagenet_weights, renamed, weights_file
from dmgan.text.encoders import EfficientNetLite0ImageEncoder


@pytest.fixture(scope="module")
def pretrained() -> EfficientNetLite0:
    network = EfficientNetLite0()
    load_imagenet_weights(network)
    return network.eval().requires_grad_(False)


def test_the_installed_weights_are_the_published_ones():
    content = weights_file().read_bytes()
    assert hashlib.sha256(content).hexdigest() == efficientnet_lite.SHA256 and len(content) == 18_826_032


def test_every_entry_of_the_file_has_one_name_in_the_network(pretrained):
    state = read_state_dict(weights_file())
    named = renamed(state, pretrained.network)
    assert named.keys() == pretrained.network.state_dict().keys() and len(named) == len(state) - 2
    assert named["conv_stem.weight"] is state["_conv_stem.weight"]
    assert named["blocks.0.0.conv_pw.weight"] is state["_blocks.0._project_conv.weight"]
    assert named["blocks.2.1.conv_dw.weight"] is state["_blocks.4._depthwise_conv.weight"]
    assert named["blocks.6.0.bn3.bias"] is state["_blocks.15._bn2.bias"]
    assert named["bn2.running_mean"] is state["_bn1.running_mean"]


@pytest.mark.parametrize(
    "name", ["_blocks.16._bn0.bias", "_blocks.0._expand_conv.weight", "_fc.scale", "conv_stem.weight"]
)
def test_an_unknown_entry_is_not_dropped(pretrained, name):
    with pytest.raises(ValueError, match="not a layer of EfficientNet-lite0: "):
        renamed({name: torch.zeros(1)}, pretrained.network)


def test_other_weights_are_refused(tmp_path, monkeypatch):
    other = tmp_path / "other.pth"
    torch.save({"_fc.bias": torch.zeros(1000)}, other)
    for file, fault in ((other, "has SHA-256 "), (tmp_path / "none.pth", "does not exist; ")):
        monkeypatch.setattr(efficientnet_lite, "weights_file", lambda file=file: file)
        with pytest.raises(UserError, match=f"{file.name}: {fault}.*expected: SHA-256 5793.*install the package again"):
            load_imagenet_weights(EfficientNetLite0())


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="^efficientnet-lite0: the package of its weights is not installed; run make"):
        weights_file()


def test_the_features_are_timm_s_of_images_in_grey_levels(pretrained):
    """mean 127 and sd 128 of the TensorFlow release; the images are enlarged first."""
    torch.manual_seed(0)
    levels = torch.randint(256, (2, 3, 32, 32)).float()
    reference = tf_efficientnet_lite0(pretrained=False).eval()
    reference.load_state_dict(pretrained.network.state_dict(), strict=False)
    enlarged = torch.nn.functional.interpolate(levels, size=(224, 224), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        found = pretrained(levels / 127.5 - 1)
        expected = reference.forward_features((enlarged - 127) / 128)
    assert found.shape == (2, 1280, 7, 7) and found.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_only_the_heads_are_trained_and_the_trunk_keeps_its_statistics(pretrained):
    torch.manual_seed(0)
    encoder = EfficientNetLite0ImageEncoder(8)
    load_imagenet_weights(encoder.features)
    encoder.train()
    assert encoder.training and not any(module.training for module in encoder.features.modules())
    heads = {"emb_features.weight", "emb_cnn_code.weight", "emb_cnn_code.bias"}
    assert {name for name, each in encoder.named_parameters() if each.requires_grad} == heads
    assert len(encoder.trained_parameters()) == 3

    images = (torch.rand(2, 3, 32, 32) * 2 - 1).requires_grad_()
    regions, embedding = encoder(images)
    assert regions.shape == (2, 8, 7, 7) and embedding.shape == (2, 8)
    (regions.square().mean() + embedding.square().mean()).backward()
    assert images.grad.abs().sum() > 0, "a generator learns through the frozen trunk"
    torch.testing.assert_close(encoder.features.state_dict(), pretrained.state_dict(), rtol=0, atol=0)
