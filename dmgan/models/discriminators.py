"""Discriminators of AttnGAN and DM-GAN. Attribute names equal those of the released state dicts."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.runtime.device import to_float32


class SpectralNormConv2d(nn.Module):
    """Convolution whose weight is divided by its largest singular value (Miyato et al. 2018).

    As in the released code, training mode runs one power iteration per call and updates v before u. The gradient treats
    the u and v of the same call as constants, as the released code did under torch 0.4.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.stride, self.padding = stride, padding
        self.module = nn.Module()
        conv = nn.Conv2d(inputs, outputs, kernel)
        self.module.bias = conv.bias
        self.module.weight_u = nn.Parameter(F.normalize(torch.randn(outputs), dim=0), requires_grad=False)
        self.module.weight_v = nn.Parameter(
            F.normalize(torch.randn(inputs * kernel * kernel), dim=0), requires_grad=False
        )
        self.module.weight_bar = conv.weight

    def normalised_weight(self) -> Tensor:
        """Return the weight divided by its spectral norm; in training mode, u and v are updated first."""
        with torch.autocast(self.module.weight_bar.device.type, enabled=False):  # u and v need float32
            return self._normalised_weight()

    def _normalised_weight(self) -> Tensor:
        weight = self.module.weight_bar
        matrix = weight.flatten(1)
        if self.training:
            with torch.no_grad():
                v = _unit(matrix.t() @ self.module.weight_u)
                u = _unit(matrix @ v)
                self.module.weight_v.copy_(v)
                self.module.weight_u.copy_(u)
        else:
            u, v = self.module.weight_u.clone(), self.module.weight_v.clone()
        return weight / torch.dot(u, matrix @ v)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.normalised_weight(), self.module.bias, self.stride, self.padding)


def _unit(vector: Tensor) -> Tensor:
    return vector / (vector.norm() + 1e-12)


def _layers(normalisation: str, inputs: int, outputs: int, halve: bool, normalised: bool = True) -> list[nn.Module]:
    """Return a convolution, its normalisation and a leaky ReLU; halve=True: 4x4 kernel with stride 2, else 3x3."""
    kernel, stride = (4, 2) if halve else (3, 1)
    activation = nn.LeakyReLU(0.2, inplace=True)
    if normalisation == "spectral":
        return [SpectralNormConv2d(inputs, outputs, kernel, stride, 1), activation]
    conv = nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), activation] if normalised else [conv, activation]


class LogitHead(nn.Module):
    """Output layers: features (B, 8 width, 4, 4), and sentence (B, E) for a conditional head -> logits (B,)."""

    def __init__(self, channels: int, embedding_dim: int, normalisation: str):
        super().__init__()
        if embedding_dim:
            self.jointConv = nn.Sequential(*_layers(normalisation, channels + embedding_dim, channels, halve=False))
        self.outlogits = nn.Sequential(nn.Conv2d(channels, 1, kernel_size=4, stride=4))

    def forward(self, features: Tensor, sentence: Tensor | None = None) -> Tensor:
        if sentence is not None:
            repeated = sentence[:, :, None, None].expand(-1, -1, 4, 4)
            features = self.jointConv(torch.cat([features, repeated], dim=1))
        return self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (B,) of features (B, 8 width, 4, 4), which for a conditional head hold the sentence."""
        with torch.autocast(features.device.type, enabled=False):  # losses need logits in float32
            return self.outlogits(to_float32(features)).view(-1)


class Discriminator(nn.Module):
    """Discriminator of images of one side, with a conditional head and, if `unconditional`, an unconditional head.

    The trunk halves the image to 4x4 and ends with 8 * width channels. Above 64 px, wider layers are added, and 3x3
    convolutions reduce the channels to 8 * width; below 64 px, the first, narrowest layers are left out.
    normalisation: "spectral" (DM-GAN) or "batch" (AttnGAN).
    """

    def __init__(self, size: int, width: int, embedding_dim: int, normalisation: str, unconditional: bool = True):
        super().__init__()
        halvings = int(math.log2(size // 4))
        first = max(0, 4 - halvings)
        channels = [3] + [width << i for i in range(first, first + halvings)]
        common = min(halvings, 4)

        trunk = []
        for i in range(common):
            trunk += _layers(normalisation, channels[i], channels[i + 1], halve=True, normalised=i > 0)
        self.img_code_s16 = nn.Sequential(*trunk)
        self._trunk = ["img_code_s16"]
        for i in range(common, halvings):
            self._add(f"img_code_s{2 << i}", _layers(normalisation, channels[i], channels[i + 1], halve=True))
        for i in range(halvings, common, -1):
            name = f"img_code_s{1 << halvings}_{halvings - i + 1}"
            self._add(name, _layers(normalisation, channels[i], channels[i - 1], halve=False))

        self.has_unconditional_head = unconditional
        if unconditional:
            self.UNCOND_DNET = LogitHead(8 * width, 0, normalisation)
        self.COND_DNET = LogitHead(8 * width, embedding_dim, normalisation)

    def _add(self, name: str, layers: list[nn.Module]) -> None:
        setattr(self, name, nn.Sequential(*layers))
        self._trunk.append(name)

    def features(self, images: Tensor) -> Tensor:
        """Return features (B, 8 width, 4, 4) of images (B, 3, size, size)."""
        for name in self._trunk:
            images = getattr(self, name)(images)
        return images

    def unconditional(self, features: Tensor) -> Tensor:
        """Return logits (B,) for "the image is real"; requires `has_unconditional_head`."""
        return self.UNCOND_DNET(features)

    def conditional(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Return logits (B,) for "the image is real and matches the sentence (B, E)"."""
        return self.COND_DNET(features, sentence)


def discriminators_for(
    sizes, width: int, embedding_dim: int, normalisation: str, unconditional: bool = True
) -> nn.ModuleList:
    """Return one discriminator per side in `sizes`."""
    return nn.ModuleList(Discriminator(size, width, embedding_dim, normalisation, unconditional) for size in sizes)
