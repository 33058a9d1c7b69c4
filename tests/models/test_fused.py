"""Fused blocks compute the same values as the plain ones."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dmgan.models import fused
from dmgan.models.blocks import GLU, ResidualBlock, up_block
from dmgan.models.registry import MODELS
from dmgan.options import ArchitectureOptions
from tests.conftest import ARCHITECTURE
from tests.models.small_models import build, inputs

TOLERANCES = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def random_model(name: str, dtype: torch.dtype, architecture: ArchitectureOptions = ARCHITECTURE) -> nn.Module:
    """A model with random weights and running statistics."""
    model = build(name, architecture)
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.to(dtype)


def given(name: str, dtype: torch.dtype, architecture: ArchitectureOptions = ARCHITECTURE) -> list:
    """Return inputs of the model called `name`: three captions of different length."""
    arguments = inputs(build(name, architecture))
    return [x.to(dtype) if x is not None and x.is_floating_point() else x for x in arguments]


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_upsampling_and_convolution_fuse_into_one_transposed_convolution(dtype, tolerance):
    x, weight, bias = (
        torch.randn(2, 3, 5, 6, dtype=dtype),
        torch.randn(4, 3, 3, 3, dtype=dtype),
        torch.randn(4, dtype=dtype),
    )
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)
    torch.testing.assert_close(fused.upsampled_conv3x3(x, weight, bias), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_the_weights_of_a_duplicated_input_are_halved(dtype, tolerance):
    x, weight = torch.randn(2, 3, 5, 5, dtype=dtype), torch.randn(4, 6, 3, 3, dtype=dtype)
    twice = torch.cat([x, x], dim=1)
    expected = F.conv2d(twice, weight, padding=1)
    found = F.conv2d(x, fused.duplicated_input_weight(weight), padding=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    halves = torch.randn(2, 6, 5, 5, dtype=dtype)
    assert torch.equal(fused.add_to_both_halves(halves, x), halves + twice)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("dimensions", [1, 2])
def test_batch_norm_folds_into_the_previous_layer(dtype, tolerance, dimensions):
    norm = (nn.BatchNorm1d if dimensions == 1 else nn.BatchNorm2d)(4).to(dtype).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    norm.running_var.uniform_(0.1, 2)
    if dimensions == 1:
        x, weight, layer = torch.randn(5, 3, dtype=dtype), torch.randn(4, 3, dtype=dtype), F.linear
    else:
        x, weight, layer = torch.randn(2, 3, 5, 5, dtype=dtype), torch.randn(4, 3, 3, 3, dtype=dtype), F.conv2d
    found = layer(x, *fused.folded_batch_norm(weight, norm))
    torch.testing.assert_close(found, norm(layer(x, weight)), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("name", MODELS)
def test_every_fused_model_generates_the_same_images(name, dtype, tolerance):
    model = random_model(name, dtype).eval()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        plain = model.generate(*given(name, dtype))
        quick = fused.fused_for_inference(model).generate(*given(name, dtype))
    torch.testing.assert_close(quick.images, plain.images, rtol=0, atol=tolerance)
    torch.testing.assert_close(quick.attention, plain.attention, rtol=0, atol=tolerance)
    assert plain.images[-1].std() > 0.01
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("name", MODELS)
def test_every_fused_model_has_the_same_gradients(name, dtype, tolerance):
    plain = random_model(name, dtype).train()
    model = fused.fuse_for_training(copy.deepcopy(plain))
    assert list(model.state_dict()) == list(plain.state_dict())
    outputs = []
    for each in (plain, model):
        generated = each.generate(*given(name, dtype))
        sum(image.square().mean() for image in generated.images).backward()
        outputs.append(generated.images)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=tolerance)
    for (key, parameter), other in zip(plain.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(
            other.grad, parameter.grad, rtol=0, atol=tolerance, msg=lambda m, key=key: f"{key}: {m}"
        )
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=0, atol=tolerance)


def test_without_residual_blocks_the_upsampling_reads_the_response_once():
    architecture = ArchitectureOptions(
        base_size=8, stages=2, generator_width=4, noise_dim=6, condition_dim=5, residual_blocks=0
    )
    model = random_model("dmgan", torch.float64, architecture).eval()
    with torch.no_grad():
        arguments = given("dmgan", torch.float64, architecture)
        expected = model.generate(*arguments).images
        for other in (fused.fused_for_inference(model), fused.fuse_for_training(copy.deepcopy(model))):
            torch.testing.assert_close(other.generate(*arguments).images, expected, rtol=0, atol=1e-10)


def test_a_fused_model_has_no_batch_norm_and_no_upsampling():
    kinds = [
        type(module) for module in fused.fused_for_inference(random_model("dmgan", torch.float32).eval()).modules()
    ]
    assert not {nn.BatchNorm1d, nn.BatchNorm2d, nn.Upsample} & set(kinds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gated_linear_unit_keeps_channels_last_forwards_and_backwards(dtype):
    plain = torch.randn(2, 6, 5, 5, dtype=dtype)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = plain.clone(memory_format=layout).requires_grad_()
        out = GLU()(x)
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        assert out.is_contiguous(memory_format=layout) and gradient.is_contiguous(memory_format=layout)
        results.append((out, gradient))
    torch.testing.assert_close(results[1], results[0])  # vector instructions round otherwise at the ends of rows


class OtherResidualBlock(ResidualBlock):
    """A block of the same layers that computes something else."""

    def forward(self, x):
        return self.block(x) - x


def test_a_block_of_an_unknown_type_is_not_fused():
    torch.manual_seed(0)
    unknown = nn.Sequential(OtherResidualBlock(4), nn.Sequential(*up_block(4, 2), nn.Tanh())).eval()
    quick = fused.fused_for_inference(unknown)
    assert [type(module) for module in quick.modules()] == [type(module) for module in unknown.modules()]
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(quick(x), unknown(x))


def test_a_model_in_training_mode_is_not_fused():
    with pytest.raises(ValueError, match="evaluation mode"):
        fused.fused_for_inference(random_model("dmgan", torch.float32).train())
