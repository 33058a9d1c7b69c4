"""Fused blocks: generator blocks computed with fewer multiplications; values are equal up to rounding.

`fuse_for_training(model)` replaces a model's blocks for training and keeps parameters, parameter names and gradients.
`fused_for_inference(model)` returns a copy for evaluation with folded batch norms and precomputed weight sums. Blocks
are recognised by their exact type. Unknown blocks are left unchanged, so that every new model works, and is faster if
it uses the shared blocks.
"""

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.models.blocks import GLU, ResidualBlock
from dmgan.models.dmgan import MemoryRefinement


def _transposed_taps(weight: Tensor, dim: int) -> Tensor:
    """Convert 3 taps (a, b, c) along `dim` to the 4 taps of a transposed convolution of stride 2.

    Upsampling repeats every pixel: an even output reads (left, centre) with weights (a, b + c), an odd output
    (centre, right) with (a + b, c).
    """
    a, b, c = weight.unbind(dim)
    return torch.stack([c, b + c, a + b, a], dim=dim)


def upsampling_weight(weight: Tensor) -> Tensor:
    """Return the weight (I, O, 4, 4) of a transposed convolution equal to upsampling and `weight` (O, I, 3, 3)."""
    return _transposed_taps(_transposed_taps(weight, 2), 3).transpose(0, 1)


def upsampled_conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Upsample x (B, I, s, s) by nearest neighbour and convolve to (B, O, 2s, 2s), with 4/9 of the multiplications."""
    return F.conv_transpose2d(x, upsampling_weight(weight), bias, stride=2, padding=1)


def duplicated_input_weight(weight: Tensor) -> Tensor:
    """Return the weight (O, I, k, k) whose output for x equals that of `weight` (O, 2 I, k, k) for cat([x, x])."""
    first, second = weight.chunk(2, dim=1)
    return first + second


def add_to_both_halves(halves: Tensor, x: Tensor) -> Tensor:
    """Return halves (B, 2 C, s, s) + cat([x, x]) for x (B, C, s, s), without allocating cat([x, x])."""
    return (halves.unflatten(1, (2, x.shape[1])) + x[:, None]).flatten(1, 2)


def folded_batch_norm(weight: Tensor, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias equal to a bias-free layer `weight` (O, ...) followed by `norm` in evaluation mode."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return weight * scale.view(-1, *[1] * (weight.dim() - 1)), norm.bias - norm.running_mean * scale


class _UpsamplingWeight(torch.autograd.Function):
    """`upsampling_weight` as one matrix product with `taps` (9, 16), forwards and backwards, in the memory's order."""

    @staticmethod
    def forward(ctx, weight: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(taps)
        with torch.autocast(weight.device.type, enabled=False):  # sums of weights are rounded once
            if weight.is_contiguous():
                out = weight.flatten(2) @ taps
            else:  # channels_last: (O, I, 9) without a copy
                rows = weight.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
                out = torch.bmm(rows, taps.expand(len(rows), -1, -1))
        return out.unflatten(2, (4, 4)).transpose(0, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (taps,) = ctx.saved_tensors
        if gradient.is_contiguous():
            return (gradient.flatten(2) @ taps.t()).unflatten(2, (3, 3)).transpose(0, 1), None
        rows = gradient.permute(0, 2, 3, 1).flatten(1, 2)  # channels_last: (I, 16, O) without a copy
        return torch.bmm(taps.expand(len(rows), -1, -1), rows).unflatten(1, (3, 3)).permute(3, 0, 1, 2), None


class FastUpBlock(nn.Sequential):
    """`blocks.up_block` with upsampling and convolution fused; duplicated=True: the block's input is cat([x, x])."""

    def __init__(self, block: nn.Sequential, duplicated: bool = False):
        super().__init__(*block)
        self.duplicated = duplicated
        weight = block[1].weight
        unit = torch.eye(9, dtype=weight.dtype, device=weight.device).view(1, 9, 3, 3)
        self.register_buffer("taps", upsampling_weight(unit).reshape(9, 16), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        _, conv, norm, glu = self
        weight = duplicated_input_weight(conv.weight) if self.duplicated else conv.weight
        return glu(norm(F.conv_transpose2d(x, _UpsamplingWeight.apply(weight, self.taps), stride=2, padding=1)))


class DuplicatedResidualBlock(nn.Module):
    """`blocks.ResidualBlock` of cat([x, x]), computed from x: (B, C, s, s) -> (B, 2 C, s, s)."""

    def __init__(self, block: ResidualBlock):
        super().__init__()
        self.block = block.block

    def forward(self, x: Tensor) -> Tensor:
        conv, *layers = self.block
        out = F.conv2d(x, duplicated_input_weight(conv.weight), padding=1)
        for layer in layers:
            out = layer(out)
        return add_to_both_halves(out, x)


class FusedRefinement(MemoryRefinement):
    """`MemoryRefinement` whose gates are one operator each."""

    def __init__(self, refinement: MemoryRefinement):
        nn.Module.__init__(self)
        self.memory = refinement.memory
        for name, child in refinement.named_children():
            self.add_module(name, child)

    def gated(self, g: Tensor, new: Tensor, old: Tensor) -> Tensor:
        return torch.lerp(old, new, g)


class FusedResidualBlock(nn.Module):
    """Residual block for inference with folded batch norms; duplicated=True: the block's input is cat([x, x])."""

    def __init__(self, block: ResidualBlock, duplicated: bool = False):
        super().__init__()
        first, norm, self.glu, second, second_norm = block.block
        weight = duplicated_input_weight(first.weight) if duplicated else first.weight
        self.first = _conv(*folded_batch_norm(weight, norm))
        self.second = _conv(*folded_batch_norm(second.weight, second_norm))
        self.duplicated = duplicated

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.glu(self.first(x)))
        return add_to_both_halves(out, x) if self.duplicated else out + x


def fused_up_block(block: nn.Sequential, duplicated: bool = False) -> nn.Sequential:
    """Return `blocks.up_block` for inference: one transposed convolution with bias, and the GLU."""
    _, conv, norm, glu = block
    weight = duplicated_input_weight(conv.weight) if duplicated else conv.weight
    weight, bias = folded_batch_norm(weight, norm)
    weight = upsampling_weight(weight)
    fused = nn.ConvTranspose2d(*weight.shape[:2], kernel_size=4, stride=2, padding=1, device="meta")
    return nn.Sequential(_with(fused, weight, bias), glu)


def _fused_linear(block: nn.Sequential) -> nn.Sequential:
    linear, norm, glu = block
    weight, bias = folded_batch_norm(linear.weight, norm)
    return nn.Sequential(_with(nn.Linear(*weight.shape[::-1], device="meta"), weight, bias), glu)


def _conv(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    outputs, inputs = weight.shape[:2]
    return _with(nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, device="meta"), weight, bias)


def _with(layer: nn.Module, weight: Tensor, bias: Tensor) -> nn.Module:
    """Return `layer`, which was created on the "meta" device, with the given weight and bias."""
    layer.weight, layer.bias = nn.Parameter(weight.detach().contiguous()), nn.Parameter(bias.detach())
    return layer


def _is_sequence(module: nn.Module, *kinds: type) -> bool:
    return type(module) is nn.Sequential and tuple(type(layer) for layer in module) == kinds


def _is_up_block(module: nn.Module) -> bool:
    return _is_sequence(module, nn.Upsample, nn.Conv2d, nn.BatchNorm2d, GLU)


def _is_plain_linear(module: nn.Module) -> bool:
    return _is_sequence(module, nn.Linear, nn.BatchNorm1d, GLU) and module[0].bias is None


def _replace_blocks(module: nn.Module, replacement_of: Callable[[nn.Module, bool], nn.Module | None]) -> None:
    """Replace every known block inside `module`; `replacement_of(block, duplicated)` returns None for other blocks."""
    if type(module) is MemoryRefinement and module.memory.response == "gate" and module.memory.duplicate_response:
        # Skip the duplication: the first block after it reads the single response instead.
        module.memory = dataclasses.replace(module.memory, duplicate_response=False)
        if len(module.residual):
            module.residual[0] = replacement_of(module.residual[0], True)
        else:
            module.upsample = replacement_of(module.upsample, True)
    for name, child in list(module.named_children()):
        replacement = replacement_of(child, False)
        if replacement is None:
            _replace_blocks(child, replacement_of)
        else:
            setattr(module, name, replacement)


def _training_block(block: nn.Module, duplicated: bool) -> nn.Module | None:
    if _is_up_block(block):
        return FastUpBlock(block, duplicated)
    if type(block) is ResidualBlock and duplicated:
        return DuplicatedResidualBlock(block)
    if type(block) is MemoryRefinement:
        _replace_blocks(block, _training_block)
        return FusedRefinement(block)
    return None


def _inference_block(block: nn.Module, duplicated: bool) -> nn.Module | None:
    if _is_up_block(block):
        return fused_up_block(block, duplicated)
    if type(block) is ResidualBlock:
        return FusedResidualBlock(block, duplicated)
    if _is_plain_linear(block):
        return _fused_linear(block)
    return None


def fuse_for_training(model: nn.Module) -> nn.Module:
    """Replace blocks of `model` in place by faster blocks; state dict, gradients and values stay (up to rounding)."""
    _replace_blocks(model, _training_block)
    return model


@torch.no_grad()
def fused_for_inference(model: nn.Module) -> nn.Module:
    """Return a faster copy of `model` for evaluation; values are equal up to rounding.

    The copy has another state dict: save the model, not the copy.
    """
    if model.training:
        raise ValueError("the model must be in evaluation mode: batch norms can only be folded with fixed statistics")
    fused = copy.deepcopy(model)
    _replace_blocks(fused, _inference_block)
    return fused.eval().requires_grad_(False)
