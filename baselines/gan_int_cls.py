"""GAN-INT-CLS: generative adversarial text to image synthesis (Reed et al., ICML 2016), and GAN-CLS for COCO.

A DCGAN whose input is noise and the compressed sentence. CLS: the discriminator is also trained on captions with images
of other classes. INT: the generator is also trained on the means of two captions' sentence features. CLS and INT are
implemented in dmgan/training/gan_losses.py and dmgan/training/trainer.py. Letters: z noise, phi sentence (here the
DAMSM's).

The released convolutions have biases that are set to zero before every pass; here the convolutions have no biases.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions

_BOTTLENECK = 4  # channels of a bottleneck's input divided by those of its inner convolutions


class Bottleneck(nn.Module):
    """Residual bottleneck of three convolutions, with activation after the sum: (B, C, s, s) -> (B, C, s, s)."""

    def __init__(self, channels: int, slope: float):
        super().__init__()
        inner, self.slope = max(1, channels // _BOTTLENECK), slope
        self.block = nn.Sequential(
            nn.Conv2d(channels, inner, kernel_size=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.LeakyReLU(slope),
            nn.Conv2d(inner, inner, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.LeakyReLU(slope),
            nn.Conv2d(inner, channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.block(x), self.slope)


class UniformLinear(nn.Linear):
    """Linear layer whose initial weights are those of Torch 7, uniform in +-1/sqrt(inputs), which torch has too."""

    keeps_initialisation = True


class GANIntCls(TextToImageGAN):
    """The generator of GAN-INT-CLS: noise and compressed sentence to 4x4, then transposed convolutions.

    script: "birds", the released script of CUB and of flowers, or "coco", whose discriminator differs in two layers.
    """

    initial_weights = "normal"  # as in DCGAN and the released code

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int, script: str = "birds"):
        super().__init__(architecture, embedding_dim)
        self.script = script
        doublings = int(math.log2(architecture.image_size // 4))
        widths = [architecture.generator_width << i for i in range(doublings - 1, -1, -1)]
        self.compress = nn.Sequential(UniformLinear(embedding_dim, architecture.condition_dim), nn.LeakyReLU(0.2))
        joined = architecture.noise_dim + architecture.condition_dim
        layers = [nn.ConvTranspose2d(joined, widths[0], 4, bias=False), nn.BatchNorm2d(widths[0])]
        layers.append(Bottleneck(widths[0], slope=0.0))  # at 4 px
        for i, pair in enumerate(zip(widths, widths[1:], strict=False)):
            layers += [nn.ConvTranspose2d(*pair, kernel_size=4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(pair[1]), Bottleneck(pair[1], slope=0.0) if i == 0 else nn.ReLU()]  # 8 px: i = 0
        self.layers = nn.Sequential(*layers)
        self.to_image = nn.ConvTranspose2d(widths[-1], 3, kernel_size=4, stride=2, padding=1, bias=False)

    @property
    def image_sizes(self) -> tuple[int, ...]:
        return self.architecture.sizes[-1:]

    @property
    def noise_dim(self) -> int:
        return self.architecture.noise_dim  # no conditioning augmentation

    # GAN-INT-CLS, section 4.1, unnumbered: x = G(z, phi), the sentence compressed and concatenated to the noise
    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        joined = torch.cat([noise, self.compress(sentence)], dim=1)
        return Generated([torch.tanh(self.to_image(self.layers(joined[:, :, None, None])))])

    def discriminators(self) -> nn.ModuleList:
        return nn.ModuleList([CompressingDiscriminator(self.architecture, self.embedding_dim, self.script)])


class CompressingDiscriminator(nn.Module):
    """Discriminator of pairs, which compresses the sentence and joins it to 4x4 features by a 1x1 convolution."""

    has_unconditional_head = False

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int, script: str):
        super().__init__()
        width, text_dim = architecture.discriminator_width, architecture.condition_dim
        halvings = int(math.log2(architecture.image_size // 4))
        widths = [width << i for i in range(halvings)]
        layers = [_halve(3, widths[0]), nn.LeakyReLU(0.2)]
        for i, pair in enumerate(zip(widths, widths[1:], strict=False), start=1):
            layers += [_halve(*pair), nn.BatchNorm2d(pair[1])]
            # No activation before the bottleneck, and in the script of birds not in the layer before either.
            if i < halvings - (1 if script == "coco" else 2):
                layers.append(nn.LeakyReLU(0.2))
        self.trunk = nn.Sequential(*layers, Bottleneck(widths[-1], slope=0.2))
        normalisation = [] if script == "coco" else [nn.BatchNorm1d(text_dim)]
        self.compress = nn.Sequential(UniformLinear(embedding_dim, text_dim), *normalisation, nn.LeakyReLU(0.2))
        self.joint = nn.Sequential(
            nn.Conv2d(widths[-1] + text_dim, widths[-1], kernel_size=1, bias=False),
            nn.BatchNorm2d(widths[-1]),
            nn.LeakyReLU(0.2),
        )
        self.logit = nn.Conv2d(widths[-1], 1, kernel_size=4, bias=False)

    def features(self, images: Tensor) -> Tensor:
        """Return features (B, C, 4, 4) of images (B, 3, size, size)."""
        return self.trunk(images)

    def conditional(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Return logits (B,) for "the image is real and matches the sentence (B, E)"."""
        repeated = self.compress(sentence)[:, :, None, None].expand(-1, -1, 4, 4)
        return self.logit(self.joint(torch.cat([features, repeated], dim=1))).view(-1)


def _halve(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)
