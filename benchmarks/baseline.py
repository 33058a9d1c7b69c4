"""Baseline generator: DM-GAN in plain float32 and eager mode, as in the released code.

Written from the released architecture's description and independent of `dmgan.models`, so that optimisations there do
not speed up the baseline. Parameter names are those of the release, so that both load the same weights strictly and
their values can be compared.
"""

import math

import torch
from torch import Tensor, nn

from dmgan.options import ArchitectureOptions


def _conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=1, padding=1, bias=False)


class _GLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        channels = x.size(1) // 2
        return x[:, :channels] * torch.sigmoid(x[:, channels:])


def _up_block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        _conv3x3(inputs, outputs * 2),
        nn.BatchNorm2d(outputs * 2),
        _GLU(),
    )


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block = nn.Sequential(
            _conv3x3(channels, channels * 2),
            nn.BatchNorm2d(channels * 2),
            _GLU(),
            _conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        out = self.block(x)
        out += residual
        return out


class _ConditioningAugmentation(nn.Module):
    def __init__(self, embedding_dim: int, condition_dim: int):
        super().__init__()
        self.condition_dim = condition_dim
        self.fc = nn.Linear(embedding_dim, condition_dim * 4)
        self.glu = _GLU()

    def forward(self, sentence: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.glu(self.fc(sentence))
        mean, logvar = x[:, : self.condition_dim], x[:, self.condition_dim :]
        return epsilon.mul(logvar.mul(0.5).exp()).add(mean), mean, logvar


class _InitialStage(nn.Module):
    def __init__(self, inputs: int, width: int, base_size: int):
        super().__init__()
        self.doublings = int(math.log2(base_size // 4))
        self.channels = width * 2**self.doublings
        self.fc = nn.Sequential(
            nn.Linear(inputs, self.channels * 4 * 4 * 2, bias=False),
            nn.BatchNorm1d(self.channels * 4 * 4 * 2),
            _GLU(),
        )
        for i in range(self.doublings):
            setattr(self, f"upsample{i + 1}", _up_block(self.channels // 2**i, self.channels // 2 ** (i + 1)))

    def forward(self, condition: Tensor, z: Tensor) -> Tensor:
        out = self.fc(torch.cat((condition, z), 1)).view(-1, self.channels, 4, 4)
        for i in range(self.doublings):
            out = getattr(self, f"upsample{i + 1}")(out)
        return out


class _ImageHead(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.img = nn.Sequential(_conv3x3(width, 3), nn.Tanh())

    def forward(self, features: Tensor) -> Tensor:
        return self.img(features)


class _Refinement(nn.Module):
    def __init__(self, width: int, embedding_dim: int, residual_blocks: int, side: int):
        super().__init__()
        self.mean = nn.AvgPool2d(kernel_size=side)
        self.A = nn.Linear(embedding_dim, 1, bias=False)
        self.B = nn.Linear(width, 1, bias=False)
        self.M_r = nn.Sequential(nn.Conv1d(width, width * 2, kernel_size=1), nn.ReLU())
        self.M_w = nn.Sequential(nn.Conv1d(embedding_dim, width * 2, kernel_size=1), nn.ReLU())
        self.key = nn.Sequential(nn.Conv1d(width * 2, width, kernel_size=1), nn.ReLU())
        self.value = nn.Sequential(nn.Conv1d(width * 2, width, kernel_size=1), nn.ReLU())
        self.response_gate = nn.Sequential(nn.Conv2d(width * 2, 1, kernel_size=1), nn.Sigmoid())
        self.residual = nn.Sequential(*[_ResidualBlock(width * 2) for _ in range(residual_blocks)])
        self.upsample = _up_block(width * 2, width)

    def forward(self, features: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        batch, width, height, breadth = features.size()
        pixels, count = height * breadth, words.size(2)
        mean = self.mean(features).detach().view(batch, width)
        gate = torch.sigmoid(self.A(words.transpose(1, 2)) + self.B(mean).repeat(1, count).unsqueeze(2))
        gate = gate.transpose(1, 2)  # (B, 1, T)
        memory = self.M_w(words) * gate + self.M_r(mean.unsqueeze(2).repeat(1, 1, count)) * (1 - gate)
        key, value = self.key(memory), self.value(memory)  # (B, width, T)

        query = features.view(batch, width, pixels).transpose(1, 2).contiguous()
        scores = torch.bmm(query, key).view(batch * pixels, count)
        # The release repeats the batch's masks over the rows: row r reads the mask of sample r mod B.
        scores.masked_fill_(mask.repeat(pixels, 1), -float("inf"))
        weights = torch.softmax(scores, dim=1).view(batch, pixels, count).transpose(1, 2).contiguous()
        read = torch.bmm(value, weights).view(batch, width, height, breadth)
        attention = weights.view(batch, count, height, breadth)

        response = self.response_gate(torch.cat((features, read), 1)).repeat(1, width, 1, 1)
        fused = features * (1 - response) + response * read
        fused = torch.cat((fused, fused), 1)
        return self.upsample(self.residual(fused)), attention


class BaselineGenerator(nn.Module):
    """DM-GAN's generator: z (B, Z), sentence (B, E), words (B, E, T), mask (B, T), epsilon (B, C) -> three images.

    Returns (images, attention maps, mean, logvar). Equals `DMGAN(..., word_mask="released")` to rounding.
    """

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__()
        width, self.stages = architecture.generator_width, architecture.stages
        self.ca_net = _ConditioningAugmentation(embedding_dim, architecture.condition_dim)
        self.h_net1 = _InitialStage(architecture.condition_dim + architecture.noise_dim, width, architecture.base_size)
        self.img_net1 = _ImageHead(width)
        for stage, side in enumerate(architecture.sizes[:-1], start=2):
            setattr(self, f"h_net{stage}", _Refinement(width, embedding_dim, architecture.residual_blocks, side))
            setattr(self, f"img_net{stage}", _ImageHead(width))

    def forward(
        self, z: Tensor, sentence: Tensor, words: Tensor, mask: Tensor, epsilon: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        condition, mean, logvar = self.ca_net(sentence, epsilon)
        features = self.h_net1(condition, z)
        images, attention = [self.img_net1(features)], []
        for stage in range(2, self.stages + 1):
            features, weights = getattr(self, f"h_net{stage}")(features, words, mask)
            images.append(getattr(self, f"img_net{stage}")(features))
            attention.append(weights)
        return images, attention, mean, logvar
