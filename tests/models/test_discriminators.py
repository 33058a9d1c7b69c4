"""Spectral normalisation: the largest singular value, and the gradient of each call."""

import pytest
import torch

from dmgan.models.discriminators import SpectralNormConv2d


def test_spectral_norm_divides_by_the_largest_singular_value():
    torch.manual_seed(0)
    conv = SpectralNormConv2d(3, 8, 4, 2, 1).double().train()
    for _ in range(200):
        weight = conv.normalised_weight()
    assert float(torch.linalg.svdvals(weight.flatten(1))[0]) == pytest.approx(1.0, rel=1e-6)
    before = conv.module.weight_u.clone()
    conv.eval().normalised_weight()
    assert torch.equal(before, conv.module.weight_u), "no power iteration outside training"


def test_the_gradient_of_spectral_norm_is_that_of_the_call_it_belongs_to():
    """Two forward passes, then the backward pass of the first: its gradient must be the numeric one."""
    torch.manual_seed(0)
    conv = SpectralNormConv2d(2, 3, 3, 1, 1).double().train()
    x, weight = torch.randn(1, 2, 4, 4).double(), conv.module.weight_bar
    u0, v0 = conv.module.weight_u.clone(), conv.module.weight_v.clone()
    first = conv(x).square().sum()
    u, v = conv.module.weight_u.clone(), conv.module.weight_v.clone()
    conv(x)
    gradient = torch.autograd.grad(first, weight)[0]
    assert not torch.equal(u, conv.module.weight_u) and not torch.equal(u0, u) and not torch.equal(v0, v)

    def loss_at(w):
        sigma = torch.dot(u, w.flatten(1) @ v)
        return torch.nn.functional.conv2d(x, w / sigma, conv.module.bias, 1, 1).square().sum()

    step = torch.zeros_like(weight)
    step[1, 0, 2, 1] = 1e-6
    numeric = (loss_at(weight.detach() + step) - loss_at(weight.detach() - step)) / 2e-6
    assert float(gradient[1, 0, 2, 1]) == pytest.approx(float(numeric), rel=1e-6)
