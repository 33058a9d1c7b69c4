"""MDSP: memory-driven semi-parametric text-to-image generation (Li, Torr and Lukasiewicz, BMVC 2022).

Equation numbers are the paper's. The paper describes two modules only in words, which are written as equations here:
the affine combination module (ACM) of ManiGAN (Li et al., CVPR 2020), and the content features of section 4.2.
Letters: S sentence, c augmented condition of S, z noise, v image features (B, C, h, w) of the retrieved image, v_g
mean of v, V_k features of stage k computed from v, h_k hidden features of stage k, a^l content features, x_k image of
stage k.
Retrieval is in dmgan/models/retrieval.py, VGG-16's features are in dmgan/models/vgg.py, Eq. 1-4 in
dmgan/training/gan_losses.py.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.errors import UserError
from dmgan.models.blocks import ConditioningAugmentation, ImageHead, InitialStage, ResidualBlock, conv3x3, up_block
from dmgan.models.discriminators import LogitHead, SpectralNormConv2d
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.models.vgg import CHANNELS, REDUCTION
from dmgan.options import ArchitectureOptions

# Section 4.1: the generator.


# v_g[c] = 1 / (h w) sum_y,x v[c, y, x]
def channel_means(v: Tensor) -> Tensor:
    """Return the channel means (B, C) of features (B, C, h, w)."""
    return v.mean(dim=(2, 3))


class AffineCombination(nn.Module):
    """Affine combination module (ACM): hidden and image features, both (B, N, s, s) -> (B, N, s, s)."""

    def __init__(self, width: int):
        super().__init__()
        self.shared = conv3x3(width, 2 * width)
        self.W = conv3x3(2 * width, width)
        self.b = conv3x3(2 * width, width)

    # ManiGAN Eq. 1: h' = h * W(v) + b(v), element by element
    def forward(self, h: Tensor, V: Tensor) -> Tensor:
        shared = self.shared(V)
        return h * self.W(shared) + self.b(shared)


class Concatenation(nn.Module):
    """Ablation of the affine combination: one convolution over the concatenated features."""

    def __init__(self, width: int):
        super().__init__()
        self.join = conv3x3(2 * width, width)

    def forward(self, h: Tensor, V: Tensor) -> Tensor:
        return self.join(torch.cat([h, V], dim=1))


class NoCombination(nn.Module):
    """Ablation without image features: returns the hidden features."""

    def forward(self, h: Tensor, V: Tensor | None) -> Tensor:
        return h


_COMBINATIONS = {"acm": AffineCombination, "concatenate": Concatenation, "none": lambda width: NoCombination()}


class MapInitialStage(InitialStage):
    """Ablation whose first stage reads the feature map v, pooled to 4x4, instead of its mean."""

    def __init__(self, inputs: int, width: int, base_size: int, feature_channels: int):
        super().__init__(inputs, width, base_size)
        self.join = conv3x3(self.channels + feature_channels, self.channels)

    def forward(self, condition_and_noise: Tensor, v: Tensor) -> Tensor:
        features = self.fc(condition_and_noise).view(-1, self.channels, 4, 4)
        features = self.join(torch.cat([features, F.adaptive_avg_pool2d(v, 4)], dim=1))
        for i in range(self.doublings):
            features = getattr(self, f"upsample{i + 1}")(features)
        return features


class Refinement(nn.Module):
    """Refinement h_{k+1} = up(Res(ACM(h_k, V_k))): (B, N, s, s) -> (B, N, 2s, 2s)."""

    def __init__(self, width: int, residual_blocks: int, combination: str):
        super().__init__()
        self.combine = _COMBINATIONS[combination](width)
        self.residual = nn.Sequential(*[ResidualBlock(width) for _ in range(residual_blocks)])
        self.upsample = up_block(width, width)

    def forward(self, h: Tensor, V: Tensor | None) -> Tensor:
        return self.upsample(self.residual(self.combine(h, V)))


class CombiningHead(nn.Module):
    """Image head x_k = img(ACM(h_k, V_k)), with an ACM that is separate from the refinement's."""

    def __init__(self, width: int, combination: str):
        super().__init__()
        self.combine = _COMBINATIONS[combination](width)
        self.image = ImageHead(width)

    def forward(self, h: Tensor, V: Tensor | None) -> Tensor:
        return self.image(self.combine(h, V))


class MDSP(TextToImageGAN):
    """The generator of MDSP: a first image from S, z and v_g, then refinements that read v.

    first_stage: input of the first stage from v: the "mean" v_g, the "map" v, or "none". later_stages: how the other
    stages combine v with hidden features: "acm", "concatenate" or "none". content: pooling of the discriminators'
    content features: "average", "max" or "none". If no stage reads v, the model is parametric and does not retrieve.
    """

    def __init__(
        self,
        architecture: ArchitectureOptions,
        embedding_dim: int,
        first_stage: str = "mean",
        later_stages: str = "acm",
        content: str = "average",
    ):
        super().__init__(architecture, embedding_dim)
        self.first_stage, self.later_stages, self.content = first_stage, later_stages, content
        width, channels = architecture.generator_width, CHANNELS[architecture.feature_network]

        self.ca_net = ConditioningAugmentation(embedding_dim, architecture.condition_dim)
        inputs = architecture.condition_dim + architecture.noise_dim
        if first_stage == "map":
            self.h_net1 = MapInitialStage(inputs, width, architecture.base_size, channels)
        else:
            inputs += channels if first_stage == "mean" else 0
            self.h_net1 = InitialStage(inputs, width, architecture.base_size)
        self.img_net1 = ImageHead(width)
        for stage in range(2, architecture.stages + 1):
            setattr(self, f"h_net{stage}", Refinement(width, architecture.residual_blocks, later_stages))
            setattr(self, f"img_net{stage}", CombiningHead(width, later_stages))
        if later_stages != "none":
            self._add_feature_pyramid(channels, width)

    def _add_feature_pyramid(self, channels: int, width: int) -> None:
        """Add the layers of V_1 = up(... up(v)), at the first stage's side, and of V_{k+1} = up(V_k)."""
        stages = self.architecture.stages
        doublings = int(math.log2(REDUCTION)) - (stages - 1)
        if doublings < 1:
            raise UserError(
                f"stages {stages}: the features, 1/{REDUCTION} of the last side, are larger than the first stage; "
                f"give at most {int(math.log2(REDUCTION))}"
            )
        blocks = [up_block(channels if i == 0 else width, width) for i in range(doublings)]
        self.v_net1 = nn.Sequential(*blocks)
        for stage in range(2, stages + 1):
            setattr(self, f"v_net{stage}", up_block(width, width))

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        if memory is None and (self.first_stage != "none" or self.later_stages != "none"):
            raise ValueError("MDSP generates from retrieved features, but memory is None")
        z, epsilon = noise.split([self.architecture.noise_dim, self.architecture.condition_dim], dim=1)
        mean, logvar = self.ca_net(sentence)
        c, v = mean + epsilon * torch.exp(0.5 * logvar), memory

        if self.first_stage == "map":
            h = self.h_net1(torch.cat([c, z], dim=1), v)
        else:
            seen = [channel_means(v)] if self.first_stage == "mean" else []
            h = self.h_net1(torch.cat([c, z, *seen], dim=1))
        images = [self.img_net1(h)]

        V = self._pyramid(v)
        for stage in range(2, self.architecture.stages + 1):
            h = getattr(self, f"h_net{stage}")(h, V[stage - 2])
            images.append(getattr(self, f"img_net{stage}")(h, V[stage - 1]))
        return Generated(images, mean=mean, logvar=logvar)

    def _pyramid(self, v: Tensor | None) -> list[Tensor | None]:
        """Return V_1 ... V_K, at the sides of stages 1 ... K."""
        if self.later_stages == "none":
            return [None] * self.architecture.stages
        V = [self.v_net1(v)]
        for stage in range(2, self.architecture.stages + 1):
            V.append(getattr(self, f"v_net{stage}")(V[-1]))
        return V

    def discriminators(self) -> nn.ModuleList:
        width = self.architecture.discriminator_width
        return nn.ModuleList(
            ContentDiscriminator(size, width, self.embedding_dim, self.content) for size in self.image_sizes
        )


# Section 4.2: the discriminator with content information.


# a^0 = x, a^l = pool(a^{l-1}) with kernel and stride 2
def content_features(x: Tensor, count: int, pooling: str) -> list[Tensor]:
    """Return a^1 (B, 3, s/2, s/2) ... a^count of an image x (B, 3, s, s)."""
    pool = {"average": F.avg_pool2d, "max": F.max_pool2d}[pooling]
    features = [x]
    for _ in range(count):
        features.append(pool(features[-1], kernel_size=2, stride=2))
    return features[1:]


class ContentDiscriminator(nn.Module):
    """Discriminator of images of one side, with both heads, that reads the pooled image at every scale.

    h^l = LeakyReLU(Conv4x4([h^{l-1}, a^{l-1}])) halves the side, from the image to 4x4; above 64 px, 3x3 convolutions
    reduce the channels. Spectral normalisation instead of batch normalisation keeps R1's gradients of different images
    separate.
    """

    def __init__(self, size: int, width: int, embedding_dim: int, content: str):
        super().__init__()
        self.content, self.has_unconditional_head = content, True
        extra = 0 if content == "none" else 3
        halvings = int(math.log2(size // 4))
        widest = max(halvings, 4)  # as in AttnGAN: 8 width at 4x4, wider layers above 64 px
        widths = [width << i for i in range(widest - halvings, widest)]
        inputs = [3] + [each + extra for each in widths[:-1]]
        self.halve = nn.ModuleList(_convolution(*each, kernel=4, stride=2) for each in zip(inputs, widths, strict=True))
        back = [widths[-1] + extra] + [width << i for i in range(widest - 2, 2, -1)]
        self.narrow = nn.Sequential(*[_convolution(*each, kernel=3, stride=1) for each in pairwise(back)])
        self.alone = LogitHead(back[-1], 0, "spectral")
        self.with_sentence = LogitHead(back[-1], embedding_dim, "spectral")

    def features(self, images: Tensor) -> Tensor:
        """Return features (B, C, 4, 4) of images (B, 3, size, size)."""
        h = images
        pooled = [] if self.content == "none" else content_features(images, len(self.halve), self.content)
        for level, convolution in enumerate(self.halve):
            h = torch.cat([convolution(h), *pooled[level : level + 1]], dim=1)
        return self.narrow(h)

    def unconditional(self, features: Tensor) -> Tensor:
        """Return logits (B,) for "the image is real"."""
        return self.alone(features)

    def conditional(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Return logits (B,) for "the image is real and matches the sentence (B, E)"."""
        return self.with_sentence(features, sentence)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(SpectralNormConv2d(inputs, outputs, kernel, stride, 1), nn.LeakyReLU(0.2))
