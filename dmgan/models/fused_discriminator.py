"""A discriminator with spectral norms, computed with fewer operations; values and gradients are equal up to rounding.

Spectral norm runs one power iteration per pass of a layer, and a pass divides the weight by the norm of its own
iteration. The iterations read weights alone, not images. Therefore all iterations of an update are made before its
passes, and images of several passes can be computed together: with the first pass's norm in the weight, a
pass differs by the ratio r of its norm to the first. Leaky ReLU commutes with positive factors, so the rows of a pass
are computed multiplied by the product P of the ratios so far:

    P_l h_l = leaky_relu(conv(P_{l-1} h_{l-1}, W_l / sigma_l) + P_l b_l),    P_l = r_1 ... r_l

The gradient of a norm needs <dL/dy_l, y_l> for the convolution's result y_l. The same property gives it without a pass
over y_l: <dL/dy_l, y_l> = <dL/dh_L, h_L> - sum_{j >= l} <dL/dy_j, b_j>.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dmgan.models.discriminators import Discriminator, LogitHead, SpectralNormConv2d
from dmgan.runtime.device import to_float32

_SLOPE = 0.2  # of all leaky ReLUs


class NormalisedLayers(NamedTuple):
    """Consecutive layers with the spectral norms of K passes."""

    layers: list[SpectralNormConv2d]
    weights: list[Tensor]  # divided by the norm of the first pass, in the passes' number format
    biases: list[Tensor]  # in the passes' number format
    u: list[Tensor]  # (K, O) per layer
    v: list[Tensor]  # (K, I k k) per layer, in the weight's memory order
    sigma: Tensor  # (layers, K) spectral norms
    divisor: Tensor  # (layers, K): the gradient of log sigma is u v^T / divisor


def _matrix(weight: Tensor) -> Tensor:
    """Return a weight (O, I, k, k) as a matrix (O, I k k) in its memory order, without a copy."""
    return weight.view(len(weight), -1) if weight.is_contiguous() else weight.permute(0, 2, 3, 1).view(len(weight), -1)


def _in_memory_order(vector: Tensor, weight: Tensor) -> Tensor:
    """Return a view of `vector` (I k k) whose elements, read in order, belong to the columns of `_matrix(weight)`."""
    return vector if weight.is_contiguous() else vector.view(weight.shape[1:]).permute(1, 2, 0)


def _iterated(layer: SpectralNormConv2d, passes: int) -> tuple[Tensor, Tensor]:
    """Return u (K, O) and v (K, I k k) of K power iterations, not divided by their norms."""
    matrix = _matrix(layer.module.weight_bar)
    us, vs = matrix.new_empty(passes, matrix.shape[0]), matrix.new_empty(passes, matrix.shape[1])
    previous = layer.module.weight_u
    for u, v in zip(us, vs, strict=True):
        torch.mv(matrix.t(), previous, out=v)
        previous = torch.mv(matrix, v, out=u)
    return us, vs


def _iterate(layers: list[SpectralNormConv2d], passes: list[int]) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Run the layers' power iterations, update their u and v, and return u, v, and sigma and divisor (sum of passes,).

    u and v are not divided by their norms, which the divisor contains.
    """
    us, vs = zip(*map(_iterated, layers, passes), strict=True)
    norms = torch.stack(torch._foreach_norm([row for rows in (*us, *vs) for row in rows]))
    u_norms, v_norms = norms.chunk(2)
    rows = zip(layers, us, vs, u_norms.split(passes), v_norms.split(passes), strict=True)
    for layer, u, v, u_norm, v_norm in rows:
        stored = _in_memory_order(layer.module.weight_v, layer.module.weight_bar)
        torch.div(u[-1], u_norm[-1], out=layer.module.weight_u)
        torch.div(v[-1].view(stored.shape), v_norm[-1], out=stored)
    return list(us), list(vs), u_norms / v_norms, u_norms.square()


def _stored(layers: list[SpectralNormConv2d], passes: list[int]) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Return what `_iterate` returns, in evaluation mode, which runs no iteration."""
    us, vs, sigmas = [], [], []
    for layer, count in zip(layers, passes, strict=True):
        weight, u = layer.module.weight_bar, layer.module.weight_u.clone()
        v = _in_memory_order(layer.module.weight_v, weight).flatten().clone()
        sigmas.append(torch.dot(u, _matrix(weight) @ v).expand(count))
        us.append(u.expand(count, -1))
        vs.append(v.expand(count, -1))
    sigma = torch.cat(sigmas)
    return us, vs, sigma, sigma


@torch.no_grad()
def normalised(groups: list[tuple[list[SpectralNormConv2d], int]], dtype: torch.dtype) -> list[NormalisedLayers]:
    """Return groups of layers, each with the spectral norms of its number of passes.

    In training mode, every pass runs one power iteration, v before u, and the layers keep u and v of the last.
    """
    layers = [layer for group, _ in groups for layer in group]
    passes = [count for group, count in groups for _ in group]
    with torch.autocast(layers[0].module.weight_bar.device.type, enabled=False):  # u and v need float32
        us, vs, sigma, divisor = (_iterate if layers[0].training else _stored)(layers, passes)
        biases = [torch.empty_like(layer.module.bias, dtype=dtype) for layer in layers]
        torch._foreach_copy_(biases, [layer.module.bias for layer in layers])
        weights = []
        for layer, of_passes in zip(layers, sigma.split(passes), strict=True):
            weight = torch.empty_like(layer.module.weight_bar, dtype=dtype)
            weights.append(torch.div(layer.module.weight_bar, of_passes[0], out=weight))
    made, start, first = [], 0, 0
    for group, count in groups:
        part, rows = slice(start, start + len(group)), slice(first, first + len(group) * count)
        small = sigma[rows].view(-1, count), divisor[rows].view(-1, count)
        made.append(NormalisedLayers(group, weights[part], biases[part], us[part], vs[part], *small))
        start, first = part.stop, rows.stop
    return made


@cache
def _upper(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the upper triangle of ones (size, size), which sums over the last rows; made once."""
    return torch.ones(size, size, device=device, dtype=dtype).triu()


def _divided(x: Tensor, factors: Tensor) -> Tensor:
    """Return x (N, C, s, s) divided by the float32 factors (N,) of its rows, rounded once to the number format of x."""
    return torch.div(x, factors[:, None, None, None], out=torch.empty_like(x))


class _Chain(torch.autograd.Function):
    """Convolutions with spectral norm, each followed by a leaky ReLU, of the rows of K passes.

    Arguments: images or features x (N, C, s, s) in the number format of the passes, the prepared layers, the number of
    rows of each pass, then the layers' weights and biases, which receive the gradients.
    """

    @staticmethod
    def forward(ctx, x: Tensor, prepared: NormalisedLayers, rows: list[int], *parameters: Tensor) -> Tensor:
        several, factors = len(rows) > 1, None
        with torch.autocast(x.device.type, enabled=False):
            if several:
                products = (prepared.sigma / prepared.sigma[:, :1]).cumprod(dim=0)  # P_l of each pass
                factors = torch.cat([products[:, i, None].expand(-1, n) for i, n in enumerate(rows)], dim=1)  # (L, N)
                cast = factors.to(x.dtype)[:, :, None, None, None]
            activations = [x]
            for i, (layer, weight, bias) in enumerate(
                zip(prepared.layers, prepared.weights, prepared.biases, strict=True)
            ):
                if several:
                    x = F.conv2d(x, weight, None, layer.stride, layer.padding)
                    x.addcmul_(cast[i], bias[:, None, None])
                else:
                    x = F.conv2d(x, weight, bias, layer.stride, layer.padding)
                activations.append(F.leaky_relu_(x, _SLOPE))
            out = _divided(x, factors[-1]) if several else x
        ctx.prepared, ctx.rows = prepared, rows
        ctx.save_for_backward(out, factors, *parameters[len(prepared.layers) :], *activations)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out: Tensor) -> tuple[Tensor | None, ...]:
        prepared, count = ctx.prepared, len(ctx.prepared.layers)
        out, factors, *saved = ctx.saved_tensors
        biases, activations = saved[:count], saved[count:]
        d_weights, sums = [None] * count, [None] * count
        trained = ctx.needs_input_grad[3]
        with torch.autocast(d_out.device.type, enabled=False):
            d_x = d_out if factors is None else _divided(d_out, factors[-1])
            for i in reversed(range(count)):
                d_x = torch.ops.aten.leaky_relu_backward(d_x, activations[i + 1], _SLOPE, True)
                layer, wanted = prepared.layers[i], [i > 0 or ctx.needs_input_grad[0], trained, False]
                if trained:
                    sums[i] = d_x.sum(dim=(2, 3), dtype=biases[i].dtype)  # (N, O)
                stride, padding = [layer.stride] * 2, [layer.padding] * 2
                d_x, d_weights[i], _ = torch.ops.aten.convolution_backward(
                    d_x, activations[i], prepared.weights[i], None, stride, padding, [1, 1], False, [0, 0], 1, wanted
                )
            if not trained:
                return d_x, None, None, *[None] * (2 * count)
            if factors is None:
                factors = torch.ones_like(sums[0][:, 0]).expand(count, -1)
            d_biases = [each.t() @ factor for each, factor in zip(sums, factors, strict=True)]
            along_bias = torch.stack([each @ bias for each, bias in zip(sums, biases, strict=True)]) * factors
            along_out = (d_out * out).sum(dim=(1, 2, 3), dtype=factors.dtype)
            # <dL/dy_l, y_l> of every row
            along_weight = torch.addmm(along_out, _upper(count, d_out.device, factors.dtype), along_bias, alpha=-1)
            by_pass = torch.stack([each.sum(dim=1) for each in along_weight.split(ctx.rows, dim=1)], dim=1)
            coefficients = by_pass / prepared.divisor
            for i, layer in enumerate(prepared.layers):
                d_weight = torch.empty_like(layer.module.weight_bar)
                torch.div(d_weights[i], prepared.sigma[i, :1], out=d_weight)  # [:1]: a number would not widen it
                _matrix(d_weight).addmm_((prepared.u[i] * coefficients[i, :, None]).t(), prepared.v[i], alpha=-1)
                d_weights[i] = d_weight
        return d_x if ctx.needs_input_grad[0] else None, None, None, *d_weights, *d_biases


def chain(x: Tensor, prepared: NormalisedLayers, rows: list[int]) -> Tensor:
    """Pass x (N, C, s, s) through the layers; `rows`: numbers of consecutive rows of each pass, which sum to N."""
    modules = [layer.module for layer in prepared.layers]
    x = x.to(prepared.weights[0].dtype)
    return _Chain.apply(x, prepared, rows, *[each.weight_bar for each in modules], *[each.bias for each in modules])


class DotProductHead(LogitHead):
    """`LogitHead` whose 4x4 convolution of a 4x4 map is a dot product."""

    def __init__(self, head: LogitHead):
        nn.Module.__init__(self)
        for name, child in head.named_children():
            self.add_module(name, child)

    def logits(self, features: Tensor) -> Tensor:
        conv = self.outlogits[0]
        if features.shape[2:] != conv.weight.shape[2:]:
            return super().logits(features)
        weight = conv.weight
        if not features.is_contiguous():  # channels_last: read features in memory order, without a copy
            features, weight = features.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
        with torch.autocast(features.device.type, enabled=False):  # losses need logits in float32
            return torch.addmv(conv.bias, to_float32(features).flatten(1), weight.flatten())


class FusedDiscriminator(Discriminator):
    """`Discriminator` with spectral norms; the passes of an update are computed together. No second derivatives."""

    def __init__(self, discriminator: Discriminator):
        nn.Module.__init__(self)
        for name, child in discriminator.named_children():
            self.add_module(name, child)
        self._trunk, self.has_unconditional_head = discriminator._trunk, discriminator.has_unconditional_head

    def _normalised(self, trunk: int, joint: int) -> list[NormalisedLayers]:
        """Return the layers of the trunk and of the conditional head, with so many passes."""
        trunk_layers = [layer for name in self._trunk for layer in getattr(self, name)[::2]]
        groups = [(trunk_layers, trunk)] * (trunk > 0) + [([self.COND_DNET.jointConv[0]], joint)] * (joint > 0)
        weight = trunk_layers[0].module.weight_bar
        device = weight.device.type
        return normalised(
            groups, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        )

    def features(self, images: Tensor) -> Tensor:
        (trunk,) = self._normalised(1, 0)
        return chain(images, trunk, [len(images)])

    def conditional(self, features: Tensor, sentence: Tensor) -> Tensor:
        (joint,) = self._normalised(0, 1)
        return self._conditional(features, sentence, joint, [len(features)])

    def _conditional(self, features: Tensor, sentence: Tensor, joint: NormalisedLayers, rows: list[int]) -> Tensor:
        repeated = sentence.to(features.dtype)[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.COND_DNET.logits(chain(torch.cat([features, repeated], dim=1), joint, rows))

    def logits(self, images: list[Tensor], sentences: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return logits of pairs, and logits of images alone (None: no unconditional head), pass after pass.

        images: per pass of the trunk (n, 3, s, s). sentences: per pass of the conditional head (m, E), m <= n; a pass
        reads the features of the images of the same place, and passes after the last images those of the first images.
        """
        trunk, joint = self._normalised(len(images), len(sentences))
        sizes, rows = [len(each) for each in images], [len(each) for each in sentences]
        features = chain(torch.cat(images) if len(images) > 1 else images[0], trunk, sizes)
        repeated = [features[:count] for count in rows[len(images) :]]
        sentence = torch.cat(sentences) if len(sentences) > 1 else sentences[0]
        pairs = self._conditional(torch.cat([features, *repeated]) if repeated else features, sentence, joint, rows)
        return pairs, self.unconditional(features) if self.has_unconditional_head else None


def fuse_discriminator(discriminator: nn.Module, second_derivatives: bool) -> nn.Module:
    """Return the discriminator with its known parts replaced by faster ones; the state dict stays.

    second_derivatives: whether a loss reads gradients of the logits, which the fused spectral norms do not support.
    """
    for name, child in list(discriminator.named_children()):
        if type(child) is LogitHead:
            setattr(discriminator, name, DotProductHead(child))
    if type(discriminator) is not Discriminator or second_derivatives:
        return discriminator
    spectral = isinstance(discriminator.img_code_s16[0], SpectralNormConv2d)
    return FusedDiscriminator(discriminator) if spectral else discriminator
