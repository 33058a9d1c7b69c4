"""Blocks that models share, against their definitions."""

import pytest
import torch

from dmgan.models.blocks import ConditioningAugmentation
from tests.models.equation_inputs import N_W


def test_conditioning_augmentation_is_a_gated_linear_unit():
    torch.manual_seed(0)
    layer = ConditioningAugmentation(N_W, 2)
    s = torch.randn(1, N_W)
    y = layer.fc(s)[0]
    gated = [float(y[i] * torch.sigmoid(y[i + 4])) for i in range(4)]
    mean, logvar = layer(s)
    assert mean[0].tolist() == pytest.approx(gated[:2]) and logvar[0].tolist() == pytest.approx(gated[2:])
