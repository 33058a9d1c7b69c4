"""DF-GAN: a simple and effective baseline for text-to-image synthesis (Tao et al., CVPR 2022).

One generator and one discriminator, no stages: the sentence controls affine transformations of the features, and the
discriminator has one logit for image and sentence together. Letters: z noise, e sentence, h features of the generator.
The loss (hinge and matching-aware gradient penalty, DF-GAN Eq. 1) is in dmgan/training/gan_losses.py.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions

_MAX_FACTOR = 8  # channels of the widest block divided by generator_width or discriminator_width


def _perceptron(condition_dim: int, channels: int, start: float) -> nn.Sequential:
    """Return a perceptron (B, condition_dim) -> (B, channels) whose initial output is `start`."""
    last = nn.Linear(channels, channels)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, start)
    return nn.Sequential(nn.Linear(condition_dim, channels), nn.ReLU(), last)


class Affine(nn.Module):
    """Affine transformation of every channel; two perceptrons compute scale and shift from noise and sentence.

    At the start it is the identity.
    """

    def __init__(self, condition_dim: int, channels: int):
        super().__init__()
        self.gamma = _perceptron(condition_dim, channels, 1.0)
        self.beta = _perceptron(condition_dim, channels, 0.0)

    # DF-GAN Eq. 2-3: gamma = MLP_1(c), beta = MLP_2(c), AFF(h | c) = gamma h + beta, c = (z, e)
    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """Return the transformed features h (B, C, s, s) for the condition c (B, Z + E)."""
        return self.gamma(c)[:, :, None, None] * h + self.beta(c)[:, :, None, None]


class DFBlock(nn.Module):
    """Deep text-image fusion: affine and leaky ReLU twice, then a convolution."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int):
        super().__init__()
        self.affine1 = Affine(condition_dim, inputs)
        self.affine2 = Affine(condition_dim, inputs)
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        for affine in (self.affine1, self.affine2):
            h = F.leaky_relu(affine(h, c), 0.2)
        return self.conv(h)


class UpBlock(nn.Module):
    """Two fusion blocks with a shortcut: (B, inputs, s, s) -> (B, outputs, 2s, 2s)."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int):
        super().__init__()
        self.fuse1 = DFBlock(inputs, outputs, condition_dim)
        self.fuse2 = DFBlock(outputs, outputs, condition_dim)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, kernel_size=1)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        h = F.interpolate(h, scale_factor=2, mode="nearest")
        return self.shortcut(h) + self.fuse2(self.fuse1(h, c), c)


class DownBlock(nn.Module):
    """Two convolutions with a shortcut, without normalisation: (B, inputs, s, s) -> (B, outputs, s/2, s/2).

    The convolutions have a learned weight, which starts at 0. Where inputs and outputs are equal, the release has a
    convolution for the shortcut that no pass reads; here there is none.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, kernel_size=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        residual = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2)
        return F.avg_pool2d(self.shortcut(x), 2) + self.gamma * residual


class OneWayDiscriminator(nn.Module):
    """Target-aware discriminator: one logit for image and sentence together, no unconditional head."""

    has_unconditional_head = False

    def __init__(self, size: int, width: int, embedding_dim: int):
        super().__init__()
        halvings = int(math.log2(size // 4))
        channels = [width * min(1 << i, _MAX_FACTOR) for i in range(halvings + 1)]
        self.stem = nn.Conv2d(3, channels[0], kernel_size=3, padding=1)
        self.blocks = nn.Sequential(*[DownBlock(*pair) for pair in zip(channels, channels[1:], strict=False)])
        self.joint = nn.Conv2d(channels[-1] + embedding_dim, 2 * width, kernel_size=3, padding=1, bias=False)
        self.logit = nn.Conv2d(2 * width, 1, kernel_size=4, bias=False)

    def features(self, images: Tensor) -> Tensor:
        """Return features (B, C, 4, 4) of images (B, 3, size, size)."""
        return self.blocks(self.stem(images))

    def conditional(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Return logits (B,) for "the image is real and matches the sentence (B, E)"."""
        repeated = sentence[:, :, None, None].expand(-1, -1, 4, 4)
        joined = F.leaky_relu(self.joint(torch.cat([features, repeated], dim=1)), 0.2)
        return self.logit(joined).view(-1)


class DFGAN(TextToImageGAN):
    """The generator of DF-GAN: noise to 4x4 features, then one fusion block per doubling of the side."""

    initial_weights = "torch"

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__(architecture, embedding_dim)
        width, condition = architecture.generator_width, architecture.noise_dim + embedding_dim
        doublings = int(math.log2(architecture.image_size // 4))
        channels = [width * min(1 << i, _MAX_FACTOR) for i in range(doublings, -1, -1)]
        self.fc = nn.Linear(architecture.noise_dim, channels[0] * 4 * 4)
        pairs = zip(channels, channels[1:], strict=False)
        self.blocks = nn.ModuleList(UpBlock(*pair, condition) for pair in pairs)
        self.to_image = nn.Conv2d(channels[-1], 3, kernel_size=3, padding=1)

    @property
    def image_sizes(self) -> tuple[int, ...]:
        return self.architecture.sizes[-1:]

    @property
    def noise_dim(self) -> int:
        return self.architecture.noise_dim  # no conditioning augmentation

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        c = torch.cat([noise, sentence], dim=1)
        h = self.fc(noise).view(len(noise), -1, 4, 4)
        for block in self.blocks:
            h = block(h, c)
        return Generated([torch.tanh(self.to_image(F.leaky_relu(h, 0.2)))])

    def discriminators(self) -> nn.ModuleList:
        width = self.architecture.discriminator_width
        return nn.ModuleList([OneWayDiscriminator(self.architecture.image_size, width, self.embedding_dim)])
