"""GAN-INT-CLS: generative adversarial text to image synthesis (Reed et al., ICML 2016).

A DCGAN whose input is noise and the compressed sentence. CLS: the discriminator is also trained on real images with
captions of other images. INT: the generator is also trained on the means of two captions' sentence features. CLS and
INT are implemented in dmgan/training/gan_losses.py and dmgan/training/trainer.py. Letters: z noise, phi sentence
(here the DAMSM's).
"""

import math

import torch
from torch import Tensor, nn

from dmgan.models.discriminators import discriminators_for
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions


def _double(inputs: int, outputs: int) -> list[nn.Module]:
    """Return the layers of a block that doubles the side: (B, inputs, s, s) -> (B, outputs, 2s, 2s)."""
    conv = nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


class GANIntCls(TextToImageGAN):
    """The generator of GAN-INT-CLS: noise and compressed sentence to 4x4, then transposed convolutions."""

    weight_std = 0.02  # as in DCGAN and the released code

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__(architecture, embedding_dim)
        doublings = int(math.log2(architecture.image_size // 4))
        widths = [architecture.generator_width << i for i in range(doublings - 1, -1, -1)]
        self.compress = nn.Sequential(nn.Linear(embedding_dim, architecture.condition_dim), nn.LeakyReLU(0.2))
        self.start = nn.Sequential(
            nn.ConvTranspose2d(architecture.noise_dim + architecture.condition_dim, widths[0], 4, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        pairs = zip(widths, widths[1:], strict=False)
        self.upsample = nn.Sequential(*[layer for pair in pairs for layer in _double(*pair)])
        self.to_image = nn.ConvTranspose2d(widths[-1], 3, kernel_size=4, stride=2, padding=1)

    @property
    def image_sizes(self) -> tuple[int, ...]:
        return self.architecture.sizes[-1:]

    @property
    def noise_dim(self) -> int:
        return self.architecture.noise_dim  # no conditioning augmentation

    # GAN-INT-CLS, section 4.1, unnumbered: x = G(z, phi), the sentence compressed and concatenated to the noise
    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        joined = torch.cat([noise, self.compress(sentence)], dim=1)
        return Generated([torch.tanh(self.to_image(self.upsample(self.start(joined[:, :, None, None]))))])

    def discriminators(self) -> nn.ModuleList:
        sizes, width = self.image_sizes, self.architecture.discriminator_width
        return discriminators_for(sizes, width, self.embedding_dim, normalisation="batch", unconditional=False)
