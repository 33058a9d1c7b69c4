"""AttnGAN: fine-grained text to image generation with attentional GANs (Xu et al., CVPR 2018), and AttnDCGAN.

Equation numbers are the paper's. Letters: e_i word features (D = embedding_dim), h_j image features of
region j (D_hat = generator_width), c_j word-context vector of region j.
"""

import torch
from torch import Tensor, nn

from dmgan.models.blocks import (
    ConditioningAugmentation,
    ImageHead,
    InitialStage,
    ResidualBlock,
    attend,
    up_block,
)
from dmgan.models.discriminators import discriminators_for
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions


class WordAttention(nn.Module):
    """The attention model F_attn, whose keys and values are the words projected by U."""

    def __init__(self, width: int, embedding_dim: int, word_mask: str):
        super().__init__()
        self.word_mask = word_mask
        self.conv_context = nn.Conv2d(embedding_dim, width, kernel_size=1, bias=False)  # U

    # AttnGAN Eq. 2: s'_ji = h_j^T U e_i, beta = softmax over i, c_j = sum_i beta_ji U e_i
    def forward(self, h: Tensor, e: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return context (B, D_hat, s, s) and weights (B, T, s, s) of h (B, D_hat, s, s) and e (B, D, T)."""
        projected = self.conv_context(e[:, :, :, None])[:, :, :, 0]
        return attend(h, projected, projected, mask, self.word_mask)


class AttentionRefinement(nn.Module):
    """Refinement h_i = F_i(h_{i-1}, F_attn(e, h_{i-1})): features (B, D_hat, s, s) -> (B, D_hat, 2s, 2s)."""

    def __init__(self, width: int, embedding_dim: int, residual_blocks: int, word_mask: str):
        super().__init__()
        self.att = WordAttention(width, embedding_dim, word_mask)
        self.residual = nn.Sequential(*[ResidualBlock(2 * width) for _ in range(residual_blocks)])
        self.upsample = up_block(2 * width, width)

    # AttnGAN Eq. 1
    def forward(self, h: Tensor, e: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        c, beta = self.att(h, e, mask)
        return self.upsample(self.residual(torch.cat([h, c], dim=1))), beta


class AttnGAN(TextToImageGAN):
    """The generator of AttnGAN: an initial image, then attentional refinements of the image."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int, word_mask: str = "corrected"):
        super().__init__(architecture, embedding_dim)
        width = architecture.generator_width
        self.ca_net = ConditioningAugmentation(embedding_dim, architecture.condition_dim)
        self.h_net1 = InitialStage(architecture.condition_dim + architecture.noise_dim, width, architecture.base_size)
        self._add_image_head(1)
        for stage in range(2, architecture.stages + 1):
            refinement = AttentionRefinement(width, embedding_dim, architecture.residual_blocks, word_mask)
            setattr(self, f"h_net{stage}", refinement)
            self._add_image_head(stage)

    def _image_head(self, stage: int) -> str | None:
        """Return the attribute name of a stage's image head; None if the stage has no image."""
        return f"img_net{stage}"

    def _add_image_head(self, stage: int) -> None:
        if name := self._image_head(stage):
            setattr(self, name, ImageHead(self.architecture.generator_width))

    def _images(self, stage: int, h: Tensor) -> list[Tensor]:
        """Return a list with the stage's image of features h; empty if the stage has no image."""
        name = self._image_head(stage)
        return [getattr(self, name)(h)] if name else []

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        z, epsilon = noise.split([self.architecture.noise_dim, self.architecture.condition_dim], dim=1)
        mean, logvar = self.ca_net(sentence)
        condition = mean + epsilon * torch.exp(0.5 * logvar)

        h = self.h_net1(torch.cat([condition, z], dim=1))
        images, attention = self._images(1, h), []
        for stage in range(2, self.architecture.stages + 1):
            h, beta = getattr(self, f"h_net{stage}")(h, words, word_mask)
            images += self._images(stage, h)
            attention.append(beta)
        return Generated(images, attention, mean, logvar)

    def discriminators(self) -> nn.ModuleList:
        width = self.architecture.discriminator_width
        return discriminators_for(self.image_sizes, width, self.embedding_dim, normalisation="batch")


class AttnDCGAN(AttnGAN):
    """The release's B_DCGAN: one image, of the last stage, and one discriminator, with a conditional head only."""

    @property
    def image_sizes(self) -> tuple[int, ...]:
        return self.architecture.sizes[-1:]

    def _image_head(self, stage: int) -> str | None:
        return "img_net" if stage == self.architecture.stages else None

    def discriminators(self) -> nn.ModuleList:
        sizes, width = self.image_sizes, self.architecture.discriminator_width
        return discriminators_for(sizes, width, self.embedding_dim, normalisation="batch", unconditional=False)
