"""ControlGAN: controllable text-to-image generation (Li et al., NeurIPS 2019).

AttnGAN with additional channel-wise attention, a word-level discriminator and a perceptual loss. Letters: w words
(D = embedding_dim), v features of a stage (C = generator_width, N = H W places), a words attended at the places, n
regions of an image.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.models.blocks import (
    ConditioningAugmentation,
    ImageHead,
    InitialStage,
    ResidualBlock,
    attend,
    up_block,
)
from dmgan.models.discriminators import Discriminator
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions

WORDS_IN_DISCRIMINATOR, WORDS_IN_GENERATOR = 0.5, 1.0  # lambda_1, lambda_3
_GAMMA2 = 5.0  # sharpness of the sum over words


class ChannelAttention(nn.Module):
    """Channel-wise attention: words are projected to the N places and compared with every channel."""

    def __init__(self, side: int, embedding_dim: int):
        super().__init__()
        self.U = nn.Linear(embedding_dim, side * side, bias=False)

    # ControlGAN, section 3.2: w~ = U w, alpha = softmax over words of v w~, f = alpha w~^T; as released, the words
    # attended at the places, a, stand for v
    def forward(self, a: Tensor, w: Tensor, mask: Tensor) -> Tensor:
        """Return attended words per channel (B, C, s, s); a (B, C, s, s), w (B, D, T), mask (B, T) true at padding."""
        projected = self.U(w.transpose(1, 2))  # (B, T, N)
        m = a.flatten(2) @ projected.transpose(1, 2)  # (B, C, T)
        alpha = m.masked_fill(mask[:, None, :], -torch.inf).softmax(dim=2)
        return (alpha @ projected).view_as(a)


class ControlRefinement(nn.Module):
    """Refinement with spatial and channel-wise attention: features (B, C, s, s) -> (B, C, 2s, 2s)."""

    def __init__(self, side: int, width: int, embedding_dim: int, residual_blocks: int):
        super().__init__()
        self.spatial = nn.Conv1d(embedding_dim, width, kernel_size=1, bias=False)
        self.channel = ChannelAttention(side, embedding_dim)
        self.residual = nn.Sequential(*[ResidualBlock(3 * width) for _ in range(residual_blocks)])
        self.upsample = up_block(3 * width, width)

    def forward(self, v: Tensor, w: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        projected = self.spatial(w)
        at_places, weights = attend(v, projected, projected, mask, "corrected")
        in_channels = self.channel(at_places, w, mask)
        return self.upsample(self.residual(torch.cat([v, at_places, in_channels], dim=1))), weights


class WordLevelDiscriminator(nn.Module):
    """Discriminator of whether the regions of an image show every word of a caption."""

    def __init__(self, embedding_dim: int):
        super().__init__()
        self.F = nn.Conv2d(embedding_dim, embedding_dim, kernel_size=1, bias=False)  # perception layer

    # ControlGAN, section 3.3: n~ = F(n), beta = softmax over regions of w^T n~, b = n~ beta^T; the released
    # code has sigma(log sum exp(gamma_2 cos(b, w)))
    def forward(self, n: Tensor, w: Tensor, mask: Tensor) -> Tensor:
        """Return logits (B,) of regions n (B, D, h, w), words w (B, D, T) and mask (B, T), true at padding."""
        perceived = self.F(n).flatten(2)  # (B, D, R)
        beta = (w.transpose(1, 2) @ perceived).softmax(dim=2)  # (B, T, R)
        b = perceived @ beta.transpose(1, 2)  # (B, D, T)
        cosine = F.cosine_similarity(b, w, dim=1)  # (B, T)
        return (_GAMMA2 * cosine).masked_fill(mask, -torch.inf).logsumexp(dim=1)


class ControlDiscriminator(Discriminator):
    """The discriminator of one stage, with an additional word-level discriminator."""

    def __init__(self, size: int, width: int, embedding_dim: int):
        super().__init__(size, width, embedding_dim, normalisation="batch")
        self.words = WordLevelDiscriminator(embedding_dim)


class ControlGAN(TextToImageGAN):
    """The generator of ControlGAN: an initial image, then refinements with spatial and channel-wise attention."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__(architecture, embedding_dim)
        width = architecture.generator_width
        self.ca_net = ConditioningAugmentation(embedding_dim, architecture.condition_dim)
        self.first = InitialStage(architecture.condition_dim + architecture.noise_dim, width, architecture.base_size)
        self.refine = nn.ModuleList(
            ControlRefinement(side, width, embedding_dim, architecture.residual_blocks)
            for side in architecture.sizes[:-1]
        )
        self.to_image = nn.ModuleList(ImageHead(width) for _ in architecture.sizes)

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        z, epsilon = noise.split([self.architecture.noise_dim, self.architecture.condition_dim], dim=1)
        mean, logvar = self.ca_net(sentence)
        condition = mean + epsilon * torch.exp(0.5 * logvar)

        v = self.first(torch.cat([condition, z], dim=1))
        images, attention = [self.to_image[0](v)], []
        for refine, to_image in zip(self.refine, self.to_image[1:], strict=True):
            v, weights = refine(v, words, word_mask)
            images.append(to_image(v))
            attention.append(weights)
        return Generated(images, attention, mean, logvar)

    def discriminators(self) -> nn.ModuleList:
        width = self.architecture.discriminator_width
        return nn.ModuleList(ControlDiscriminator(size, width, self.embedding_dim) for size in self.image_sizes)

    # ControlGAN, section 3.5, lambda_1: target real for real images with their own words, fake with a wrong caption's
    def extra_discriminator_losses(self, discriminator, real, captions, wrong, context) -> dict[str, Tensor]:
        with torch.no_grad():
            n, _ = context.encode_images(real)
        own = discriminator.words(n, captions.words, captions.mask)
        others = discriminator.words(n, wrong.words, wrong.mask)
        loss = F.softplus(-own).mean() + F.softplus(others).mean()
        return {"words": WORDS_IN_DISCRIMINATOR * loss}

    # ControlGAN, sections 3.4 (perceptual loss) and 3.5, lambda_2 and lambda_3: a sum of word-level terms over the
    # stages, and the mean of their perceptual losses, as released
    def extra_losses(self, generated, real, captions, context) -> dict[str, Tensor]:
        words = perceptual = 0.0
        features = context.networks.perceptual
        for discriminator, fake, wanted in zip(context.discriminators, generated.images, real, strict=True):
            n, _ = context.encode_images(fake)
            words = words + F.softplus(-discriminator.words(n, captions.words, captions.mask)).mean()
            with torch.no_grad():
                target = features(wanted)
            perceptual = perceptual + F.mse_loss(features(fake), target)
        return {
            "words": WORDS_IN_GENERATOR * words,
            "perceptual": context.options.perceptual_weight * perceptual / len(real),
        }
