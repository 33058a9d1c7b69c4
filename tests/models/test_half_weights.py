"""Weights that are converted together give the values and gradients of autocast, bit for bit."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dmgan.models.fused import fuse_for_training
from dmgan.models.half_weights import HalfWeights
from dmgan.models.registry import MODELS
from tests.models.small_models import build, inputs


class Conversions(TorchDispatchMode):
    """Counts conversions of tensors of the given sizes."""

    def __init__(self, sizes: set[tuple[int, ...]]):
        super().__init__()
        self.sizes, self.found = sizes, 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator is torch.ops.aten._to_copy.default and tuple(args[0].shape) in self.sizes:
            self.found += 1
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_the_bits_of_autocast(name, dtype):
    plain = fuse_for_training(build(name)).train()
    model = copy.deepcopy(plain)
    given, results, conversions = inputs(plain), [], []
    for network, of in ((plain, plain), (HalfWeights(model, dtype), model)):
        count = Conversions({tuple(each.shape) for each in of.parameters() if each.dim() > 1})
        with count, torch.autocast("cpu", dtype):
            generated = network(*given)
        sum(image.float().square().mean() for image in generated.images).backward()
        results.append((generated.images, {key: each.grad for key, each in of.named_parameters()}))
        conversions.append(count.found)
    assert plain.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    assert conversions[1] < conversions[0]
