"""StackGAN: text to photo-realistic image synthesis with stacked GANs (Zhang et al., ICCV 2017).

StackGAN-v1: first Stage-I is trained to generate a small image; then Stage-I is frozen, and Stage-II is trained to
generate a larger image from it: twice as large with `stages` 2, four times with the paper's 3. Letters: z noise, c0
and c augmented conditions of Stage-I and Stage-II, s0 Stage-I's image. The losses, Eq. 3-4 of Stage-I and Eq. 5-6 of
Stage-II, are in dmgan/training/gan_losses.py; `begin_step` chooses the stage to train.
"""

import math

import torch
from torch import Tensor, nn

from dmgan.errors import UserError
from dmgan.models.blocks import (
    ConditioningAugmentation,
    ImageHead,
    InitialStage,
    ResidualBlock,
    conv3x3,
    up_block,
)
from dmgan.models.discriminators import discriminators_for
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions

_DOWN = 2  # halvings of Stage-I's image in Stage-II's encoder


class StageI(nn.Module):
    """Stage-I: condition and noise -> a small image."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__()
        width, condition_dim = architecture.generator_width, architecture.condition_dim
        self.ca_net = ConditioningAugmentation(embedding_dim, condition_dim)
        self.features = InitialStage(condition_dim + architecture.noise_dim, width, architecture.base_size)
        self.to_image = ImageHead(width)

    def forward(self, z: Tensor, epsilon: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return image s0 (B, 3, s, s), and mean and log variance (B, C) of the condition."""
        mean, logvar = self.ca_net(sentence)
        c0 = mean + epsilon * torch.exp(0.5 * logvar)
        return self.to_image(self.features(torch.cat([c0, z], dim=1))), mean, logvar


class StageII(nn.Module):
    """Stage-II: Stage-I's image and a separately augmented condition -> a larger image; no noise z."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__()
        width, condition_dim = architecture.generator_width, architecture.condition_dim
        encoded = width << _DOWN
        doublings = int(math.log2(architecture.image_size // (architecture.base_size >> _DOWN)))
        widths = [max(1, encoded >> i) for i in range(doublings + 1)]
        self.ca_net = ConditioningAugmentation(embedding_dim, condition_dim)
        self.encode = nn.Sequential(
            conv3x3(3, width),
            nn.ReLU(),
            *[layer for i in range(_DOWN) for layer in _halve(width << i, width << (i + 1))],
        )
        self.joint = nn.Sequential(conv3x3(encoded + condition_dim, encoded), nn.BatchNorm2d(encoded), nn.ReLU())
        self.residual = nn.Sequential(*[ResidualBlock(encoded) for _ in range(architecture.residual_blocks)])
        self.upsample = nn.Sequential(*[up_block(*pair) for pair in zip(widths, widths[1:], strict=False)])
        self.to_image = ImageHead(widths[-1])

    def forward(self, s0: Tensor, epsilon: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return image (B, 3, s, s), and mean and log variance (B, C) of the condition."""
        mean, logvar = self.ca_net(sentence)
        c = mean + epsilon * torch.exp(0.5 * logvar)
        encoded = self.encode(s0)
        repeated = c[:, :, None, None].expand(-1, -1, *encoded.shape[2:])
        joined = self.joint(torch.cat([encoded, repeated], dim=1))
        return self.to_image(self.upsample(self.residual(joined))), mean, logvar


def _halve(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


class StackGAN(TextToImageGAN):
    """The generator of StackGAN: both stages; `begin_step` chooses the stage to train."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__(architecture, embedding_dim)
        if architecture.stages == 1:
            raise UserError("stages 1: StackGAN generates two images; give 2 stages or more (the paper: 3)")
        self.stage1 = StageI(architecture, embedding_dim)
        self.stage2 = StageII(architecture, embedding_dim)
        self._trained = None  # stage to train, 0 or 1; None: begin_step was not called

    @property
    def image_sizes(self) -> tuple[int, ...]:
        return self.architecture.sizes[0], self.architecture.sizes[-1]

    @property
    def noise_dim(self) -> int:
        """z, then epsilon of each stage's conditioning augmentation."""
        return self.architecture.noise_dim + 2 * self.architecture.condition_dim

    @property
    def trained_images(self) -> tuple[int, ...]:
        return (0, 1) if self._trained is None else (self._trained,)

    def begin_step(self, step: int, steps: int) -> None:
        """Choose Stage-I in the first half of the steps; in the second half freeze Stage-I and choose Stage-II."""
        self._trained = 0 if step < steps // 2 else 1
        self.stage1.requires_grad_(self._trained == 0).train(self._trained == 0)

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        dims = [self.architecture.noise_dim, self.architecture.condition_dim, self.architecture.condition_dim]
        z, epsilon0, epsilon = noise.split(dims, dim=1)
        s0, mean, logvar = self.stage1(z, epsilon0, sentence)
        if self.training and self._trained == 0:
            return Generated([s0], mean=mean, logvar=logvar)
        image, mean, logvar = self.stage2(s0, epsilon, sentence)
        return Generated([s0, image], mean=mean, logvar=logvar)

    def discriminators(self) -> nn.ModuleList:
        sizes, width = self.image_sizes, self.architecture.discriminator_width
        return discriminators_for(sizes, width, self.embedding_dim, normalisation="batch", unconditional=False)
