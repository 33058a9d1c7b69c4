"""MirrorGAN: learning text-to-image generation by redescription (Qiao et al., CVPR 2019).

AttnGAN whose stages attend to words and sentence (GLAM). A pretrained captioner describes the last image, and the
STREAM loss compares its description with the caption. Letters: f features of a stage, w words, s augmented sentence
(s_ca), U and V projections.
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


class GlobalLocalAttention(nn.Module):
    """GLAM: word-level and sentence-level attention of features f (B, C, s, s)."""

    def __init__(self, width: int, embedding_dim: int, condition_dim: int):
        super().__init__()
        self.U = nn.Conv1d(embedding_dim, width, kernel_size=1, bias=False)
        self.V = nn.Linear(condition_dim, width)
        self.W = nn.Conv2d(width, width, kernel_size=1, bias=False)  # in the released code, before the softmax

    # MirrorGAN, section 3.2: Att_w = sum_l (U w_l) softmax_l(f^T U w_l)
    def words(self, f: Tensor, w: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return attended words (B, C, s, s) and weights (B, T, s, s); w (B, D, T), mask (B, T) true at padding."""
        projected = self.U(w)
        return attend(f, projected, projected, mask, "corrected")

    # MirrorGAN, section 3.2: Att_s = (V s) o softmax(f o (V s)), over the channels of every place
    def sentence(self, f: Tensor, s: Tensor) -> Tensor:
        """Return the sentence's attended features (B, C, s, s) of f (B, C, s, s) and s (B, condition_dim)."""
        projected = self.V(s)[:, :, None, None]
        return projected * self.W(f * projected).softmax(dim=1)


class MirrorRefinement(nn.Module):
    """Refinement f_i = F_i(f_{i-1}, Att_w, Att_s): features (B, C, s, s) -> (B, C, 2s, 2s)."""

    def __init__(self, width: int, embedding_dim: int, condition_dim: int, residual_blocks: int):
        super().__init__()
        self.attention = GlobalLocalAttention(width, embedding_dim, condition_dim)
        self.narrow = nn.Conv2d(3 * width, 2 * width, kernel_size=1, bias=False)  # in the released code
        self.residual = nn.Sequential(*[ResidualBlock(2 * width) for _ in range(residual_blocks)])
        self.upsample = up_block(2 * width, width)

    def forward(self, f: Tensor, w: Tensor, s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        by_words, weights = self.attention.words(f, w, mask)
        by_sentence = self.attention.sentence(f, s)
        joined = self.narrow(torch.cat([f, by_words, by_sentence], dim=1))
        return self.upsample(self.residual(joined)), weights


class MirrorGAN(TextToImageGAN):
    """The generator of MirrorGAN: an initial image, then refinements with GLAM."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__(architecture, embedding_dim)
        width, condition_dim = architecture.generator_width, architecture.condition_dim
        self.ca_net = ConditioningAugmentation(embedding_dim, condition_dim)
        self.first = InitialStage(condition_dim + architecture.noise_dim, width, architecture.base_size)
        self.refine = nn.ModuleList(
            MirrorRefinement(width, embedding_dim, condition_dim, architecture.residual_blocks)
            for _ in architecture.sizes[:-1]
        )
        self.to_image = nn.ModuleList(ImageHead(width) for _ in architecture.sizes)

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        z, epsilon = noise.split([self.architecture.noise_dim, self.architecture.condition_dim], dim=1)
        mean, logvar = self.ca_net(sentence)
        s = mean + epsilon * torch.exp(0.5 * logvar)

        f = self.first(torch.cat([s, z], dim=1))
        images, attention = [self.to_image[0](f)], []
        for refine, to_image in zip(self.refine, self.to_image[1:], strict=True):
            f, weights = refine(f, words, s, word_mask)
            images.append(to_image(f))
            attention.append(weights)
        return Generated(images, attention, mean, logvar)

    def discriminators(self) -> nn.ModuleList:
        width = self.architecture.discriminator_width
        return discriminators_for(self.image_sizes, width, self.embedding_dim, normalisation="batch")

    # MirrorGAN, section 3.4: lambda L_stream, on the last image
    def extra_losses(self, generated, real, captions, context) -> dict[str, Tensor]:
        _, embedding = context.encode_images(generated.images[-1])
        loss = context.networks.captioner.network.cross_entropy(embedding, captions.tokens, captions.mask)
        return {"stream": context.options.caption_weight * loss}
