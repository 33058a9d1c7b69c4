"""A model's weights converted to half precision together, once a pass, instead of one by one by autocast."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dmgan.models.fused import DuplicatedResidualBlock, FastUpBlock

_CONVERTED = (nn.Conv1d, nn.Conv2d, nn.Linear)  # layers that autocast computes in half precision


class _Converted(torch.autograd.Function):
    """Weights in another number format by one operator, and their gradients back by another."""

    @staticmethod
    def forward(ctx, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # an unused weight has no gradient, as without the conversion
        ctx.formats = [weight.dtype for weight in weights]
        converted = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        torch._foreach_copy_(converted, list(weights))
        return tuple(converted)

    @staticmethod
    def backward(ctx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        pairs = zip(gradients, ctx.formats, strict=True)
        converted = [None if each is None else torch.empty_like(each, dtype=dtype) for each, dtype in pairs]
        used = [i for i, each in enumerate(gradients) if each is not None]
        torch._foreach_copy_([converted[i] for i in used], [gradients[i] for i in used])
        return None, *converted


class HalfWeights(nn.Module):
    """Calls `model` with the weights of its convolutions and linear layers in half precision.

    The values and gradients are those of autocast, bit for bit. Weights that fused blocks sum stay in float32.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.model, self.dtype = model, dtype
        summed = {each[1] for each in model.modules() if isinstance(each, FastUpBlock)}
        summed |= {each.block[0] for each in model.modules() if isinstance(each, DuplicatedResidualBlock)}
        self._names = [
            f"{prefix}.{name}"
            for prefix, module in model.named_modules()
            if isinstance(module, _CONVERTED) and module not in summed
            for name, _ in module.named_parameters(recurse=False)
        ]

    def forward(self, *arguments):
        weights = [self.model.get_parameter(name) for name in self._names]
        converted = _Converted.apply(self.dtype, *weights)
        return functional_call(self.model, dict(zip(self._names, converted, strict=True)), arguments)
