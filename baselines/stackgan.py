"""StackGAN: text to photo-realistic image synthesis with stacked GANs (Zhang et al., ICCV 2017).

StackGAN-v1: first Stage-I is trained to generate a small image; then Stage-I is frozen, and Stage-II is trained to
generate a larger image from it: twice as large with `stages` 2, four times with the paper's 3. Letters: z noise, c0
and c augmented conditions of Stage-I and Stage-II, s0 Stage-I's image. The losses, Eq. 3-4 of Stage-I and Eq. 5-6 of
Stage-II, are in dmgan/training/gan_losses.py; `begin_step` chooses the stage to train.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.errors import UserError
from dmgan.models.blocks import ImageHead, conv3x3
from dmgan.models.discriminators import Discriminator
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions

_DOWN = 2  # halvings of Stage-I's image in Stage-II's encoder


class ReluAugmentation(nn.Module):
    """Conditioning augmentation with ReLU, as released: mean and log variance are 0 or more."""

    def __init__(self, embedding_dim: int, condition_dim: int):
        super().__init__()
        self.fc = nn.Linear(embedding_dim, 2 * condition_dim)

    # StackGAN Eq. 2: mu(phi_t), Sigma(phi_t)
    def forward(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (B, C) of a sentence (B, E)."""
        return F.relu(self.fc(sentence)).chunk(2, dim=1)


def relu_up_block(inputs: int, outputs: int) -> nn.Sequential:
    """Return a block that doubles the side, with ReLU: (B, inputs, s, s) -> (B, outputs, 2s, 2s)."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"), conv3x3(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class ReluResidualBlock(nn.Module):
    """Residual block of two 3x3 convolutions, with ReLU after the sum too."""

    def __init__(self, channels: int):
        super().__init__()
        self.block = nn.Sequential(
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.block(x) + x)


class StageI(nn.Module):
    """Stage-I: condition and noise -> a small image."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__()
        condition_dim, doublings = architecture.condition_dim, int(math.log2(architecture.base_size // 4))
        first = architecture.generator_width << (doublings - 1)
        widths = [max(1, first >> i) for i in range(doublings + 1)]  # 8 N, 4 N, 2 N, N, N / 2 for 64 px
        self.ca_net = ReluAugmentation(embedding_dim, condition_dim)
        self.start = nn.Sequential(
            nn.Linear(architecture.noise_dim + condition_dim, first * 4 * 4, bias=False),
            nn.BatchNorm1d(first * 4 * 4),
            nn.ReLU(),
        )
        self.upsample = nn.Sequential(*[relu_up_block(*pair) for pair in zip(widths, widths[1:], strict=False)])
        self.to_image = ImageHead(widths[-1])

    def forward(self, z: Tensor, epsilon: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return image s0 (B, 3, s, s), and mean and log variance (B, C) of the condition."""
        mean, logvar = self.ca_net(sentence)
        c0 = mean + epsilon * torch.exp(0.5 * logvar)
        features = self.start(torch.cat([z, c0], dim=1)).view(len(z), -1, 4, 4)
        return self.to_image(self.upsample(features)), mean, logvar


class StageII(nn.Module):
    """Stage-II: Stage-I's image and a separately augmented condition -> a larger image; no noise z."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__()
        width, condition_dim = architecture.generator_width, architecture.condition_dim
        encoded = width << _DOWN
        doublings = int(math.log2(architecture.image_size // (architecture.base_size >> _DOWN)))
        widths = [max(1, encoded >> i) for i in range(doublings + 1)]
        self.ca_net = ReluAugmentation(embedding_dim, condition_dim)
        self.encode = nn.Sequential(
            conv3x3(3, width),
            nn.ReLU(),
            *[layer for i in range(_DOWN) for layer in _halve(width << i, width << (i + 1))],
        )
        self.joint = nn.Sequential(conv3x3(encoded + condition_dim, encoded), nn.BatchNorm2d(encoded), nn.ReLU())
        self.residual = nn.Sequential(*[ReluResidualBlock(encoded) for _ in range(architecture.residual_blocks)])
        self.upsample = nn.Sequential(*[relu_up_block(*pair) for pair in zip(widths, widths[1:], strict=False)])
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

    initial_weights = "normal"

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

    def step_of_stage(self, step: int, steps: int) -> int:
        return step if step < steps // 2 else step - steps // 2

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        dims = [self.architecture.noise_dim, self.architecture.condition_dim, self.architecture.condition_dim]
        z, epsilon0, epsilon = noise.split(dims, dim=1)
        s0, mean, logvar = self.stage1(z, epsilon0, sentence)
        if self.training and self._trained == 0:
            return Generated([s0], mean=mean, logvar=logvar)
        image, mean, logvar = self.stage2(s0, epsilon, sentence)
        return Generated([s0, image], mean=mean, logvar=logvar)

    def discriminators(self) -> nn.ModuleList:
        """Return Stage-I's discriminator, of pairs, and Stage-II's, of pairs and images; both read the mean."""
        width, condition_dim = self.architecture.discriminator_width, self.architecture.condition_dim
        small, large = self.image_sizes
        return nn.ModuleList(
            [
                Discriminator(small, width, condition_dim, "batch", unconditional=False),
                Discriminator(large, width, condition_dim, "batch"),
            ]
        )
