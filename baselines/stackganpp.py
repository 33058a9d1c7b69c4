"""StackGAN++: realistic image synthesis with stacked generative adversarial networks (Zhang et al., TPAMI 2018).

StackGAN-v2: all stages are trained together. Every stage has an image and a discriminator with a conditional and an
unconditional head; the conditional head reads the mean of the conditioning augmentation. Letters: z noise, c augmented
condition, h_i features of stage i, F_i layers of stage i, G_i image head of stage i.
"""

import torch
from torch import Tensor, nn

from dmgan.models.blocks import (
    GLU,
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


class NextStage(nn.Module):
    """Layers F_i: features (B, inputs, s, s) and condition (B, C) -> features (B, outputs, 2s, 2s)."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int, residual_blocks: int):
        super().__init__()
        self.joint = nn.Sequential(
            conv3x3(inputs + condition_dim, 2 * inputs),
            nn.BatchNorm2d(2 * inputs),
            GLU(),
        )
        self.residual = nn.Sequential(*[ResidualBlock(inputs) for _ in range(residual_blocks)])
        self.upsample = up_block(inputs, outputs)

    # StackGAN++, section 4.1: h_i = F_i(h_{i-1}, c), the condition repeated at every place
    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        repeated = c[:, :, None, None].expand(-1, -1, *h.shape[2:])
        return self.upsample(self.residual(self.joint(torch.cat([h, repeated], dim=1))))


class StackGANpp(TextToImageGAN):
    """The generator of StackGAN++: an initial image, then stages that read the condition again."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__(architecture, embedding_dim)
        width, condition_dim = architecture.generator_width, architecture.condition_dim
        widths = [max(1, width >> stage) for stage in range(architecture.stages)]  # halved as the side doubles
        self.ca_net = ConditioningAugmentation(embedding_dim, condition_dim)
        self.first = InitialStage(condition_dim + architecture.noise_dim, width, architecture.base_size)
        self.next = nn.ModuleList(
            NextStage(*pair, condition_dim, architecture.residual_blocks)
            for pair in zip(widths, widths[1:], strict=False)
        )
        self.to_image = nn.ModuleList(ImageHead(each) for each in widths)

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        z, epsilon = noise.split([self.architecture.noise_dim, self.architecture.condition_dim], dim=1)
        mean, logvar = self.ca_net(sentence)
        c = mean + epsilon * torch.exp(0.5 * logvar)

        h = self.first(torch.cat([c, z], dim=1))  # h_0 = F_0(c, z)
        images = [self.to_image[0](h)]
        for stage, to_image in zip(self.next, self.to_image[1:], strict=True):
            h = stage(h, c)
            images.append(to_image(h))  # s_i = G_i(h_i)
        return Generated(images, mean=mean, logvar=logvar)

    def discriminators(self) -> nn.ModuleList:
        width, condition_dim = self.architecture.discriminator_width, self.architecture.condition_dim
        return discriminators_for(self.image_sizes, width, condition_dim, normalisation="batch")
