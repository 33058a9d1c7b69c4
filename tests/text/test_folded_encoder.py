"""The folded image encoder computes the values and gradients of the plain one."""

import copy

import pytest
import torch
from torch import nn

from dmgan.text.encoders import EfficientNetLite0ImageEncoder, InceptionImageEncoder, SmallImageEncoder
from dmgan.text.folded_encoder import folded_encoder


def frozen(encoder: nn.Module) -> nn.Module:
    """Return the encoder in float64, with random statistics, as training reads it."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, 0, 0.2)
    return encoder.double().eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [SmallImageEncoder, InceptionImageEncoder, EfficientNetLite0ImageEncoder])
def test_a_folded_encoder_has_the_values_and_the_gradient_of_the_plain_one(kind):
    torch.manual_seed(0)
    plain = frozen(kind(8))
    before = copy.deepcopy(plain.state_dict())
    folded, results = folded_encoder(plain), []
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1
    for encoder in (plain, folded):
        x = images.clone().requires_grad_()
        regions, embedding = encoder(x)
        (gradient,) = torch.autograd.grad(regions.square().mean() + embedding.square().mean(), x)
        results.append((regions, embedding, gradient / gradient.norm()))
    assert results[0][0].std() > 1e-3 and results[0][1].std() > 1e-3
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    torch.testing.assert_close(plain.state_dict(), before, rtol=0, atol=0)


def test_weights_are_converted_once():
    """Under autocast, the plain encoder converts every weight in every pass."""
    torch.manual_seed(0)
    plain = SmallImageEncoder(8, 4).eval().requires_grad_(False)
    folded = folded_encoder(plain, torch.bfloat16)
    assert {parameter.dtype for parameter in folded.parameters()} == {torch.bfloat16}
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = folded(images), plain(images)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("encoder", [SmallImageEncoder(8, 4).requires_grad_(False), SmallImageEncoder(8, 4).eval()])
def test_an_encoder_that_is_trained_is_not_folded(encoder):
    with pytest.raises(ValueError, match="frozen and in evaluation mode"):
        folded_encoder(encoder)
