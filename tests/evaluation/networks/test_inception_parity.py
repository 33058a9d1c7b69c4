"""Features of every Inception, with weights drawn here, against torch-fidelity, clean-fid and the released code."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchvision import transforms
from torchvision.models import inception_v3

from benchmarks.local_weights import drawn_images, inception_2015_state, torchvision_state
from dmgan.evaluation.networks.base import FeatureExtractor, read_weights
from dmgan.evaluation.networks.inception_2015 import Inception2015
from dmgan.evaluation.networks.inception_clean import CleanInception
from dmgan.evaluation.networks.inception_openai import OpenaiInception
from dmgan.evaluation.networks.inception_tf import TfInception
from dmgan.evaluation.networks.inception_torchvision import TorchvisionInception
from dmgan.evaluation.networks.inception_torchvision_released import ReleasedTorchvisionInception
from tests.conftest import CPU

pytestmark = pytest.mark.slow


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
    return Inception2015(read_weights(weights / "2015.pth"), CPU)


@pytest.fixture(scope="module")
def libraries(weights):
    """torch-fidelity's own extractor of those weights."""
    layers = ["2048", "logits_unbiased"]
    return FeatureExtractorInceptionV3("x", layers, feature_extractor_weights_path=weights / "2015.pth")


def features_of(extractor: FeatureExtractor, pixels) -> dict[str, torch.Tensor]:
    prepared = pixels if extractor.prepare is None else np.stack([extractor.prepare(each) for each in pixels])
    with torch.inference_mode():
        return extractor.forward(torch.from_numpy(prepared))


def test_tf_features_are_torch_fidelity_s(inception, libraries, pixels):
    ours = features_of(TfInception(inception), pixels)
    features, logits = libraries(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    torch.testing.assert_close(ours["features"], features, atol=5e-4, rtol=1e-4)
    torch.testing.assert_close(ours["logits"], logits, atol=5e-4, rtol=1e-4)


def test_openai_features_are_torch_fidelity_s_of_resized_images(inception, libraries, pixels):
    ours = features_of(OpenaiInception(inception), pixels)
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
    ours = features_of(CleanInception(inception), pixels)["features"]
    torch.testing.assert_close(ours, torch.from_numpy(features), atol=5e-4, rtol=1e-4)
    others = features_of(TfInception(inception), pixels)["features"]
    assert float((ours - others).abs().max()) > 0.01  # the resizes do differ


def test_released_torchvision_features_are_the_released_code_s(weights, pixels):
    """PIL bilinear, [0, 1] into transform_input, pool features: bit-exact, though they are not the right features."""
    read = read_weights(weights / "torchvision.pth")
    model = inception_v3(weights=None, transform_input=True, init_weights=False)
    model.load_state_dict(read.state)
    model.fc = nn.Identity()
    prepare = transforms.Compose([transforms.Resize((299, 299)), transforms.ToTensor()])
    with torch.inference_mode():
        released = model.eval()(torch.stack([prepare(Image.fromarray(each)) for each in pixels]))
    ours = features_of(ReleasedTorchvisionInception(read, CPU), pixels)["features"]
    assert torch.equal(ours, released)

    images = torch.stack([prepare(Image.fromarray(each)) for each in pixels])
    imagenet = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.inference_mode():
        right = model(imagenet(images))
    ours = features_of(TorchvisionInception(read, CPU), pixels)["features"]
    torch.testing.assert_close(ours, right, atol=5e-4, rtol=1e-4)
    assert float((ours - released).abs().max()) > 0.01
