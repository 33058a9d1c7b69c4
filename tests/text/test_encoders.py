"""Pooling and resizing of the encoders have torch's values and gradients."""

import pytest
import torch
from torch.nn import functional as F

from dmgan.text.damsm import resized
from dmgan.text.encoders import place_means


@pytest.mark.parametrize("side", [1, 2, 4, 8, 12])
def test_place_means_equal_adaptive_average_pooling(side):
    x = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    found, expected = place_means(x, 4), F.adaptive_avg_pool2d(x, 4)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    gradients = [torch.autograd.grad((weight * each).sum(), x)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("side, wanted", [(64, 32), (32, 8), (8, 32), (24, 31), (32, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resizing_for_the_image_encoder_equals_torch_interpolate(side, wanted, dtype):
    x = torch.rand(2, 3, side, side, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = resized(x, wanted)
    expected = F.interpolate(x, size=(wanted, wanted), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    gradients = [torch.autograd.grad((weight * each).sum(), x)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)
