"""The moving average of weights."""

import pytest
import torch

from dmgan.training.optimizers import WeightAverage


def test_the_weight_average_is_exponential():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 1.0)
    average = WeightAverage(layer, 0.9)
    for value in (2.0, 3.0):
        torch.nn.init.constant_(layer.weight, value)
        average.update(layer)
    average.copy_to(layer)
    assert float(layer.weight) == pytest.approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 3)
