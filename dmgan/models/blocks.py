"""Blocks that AttnGAN and DM-GAN share. Attribute names are the released state dict's."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3 convolution that keeps the size, without bias."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=1, padding=1, bias=False)


class GLU(nn.Module):
    """Gated linear unit over the channels: first half times sigmoid of the second."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            # Its gradient would lie in memory otherwise than x, and batch norm's backward take 40 times as long.
            return F.glu(x.permute(0, 2, 3, 1), dim=3).permute(0, 3, 1, 2)
        return F.glu(x, dim=1)


def up_block(inputs: int, outputs: int) -> nn.Sequential:
    """(B, inputs, s, s) -> (B, outputs, 2s, 2s)."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        conv3x3(inputs, 2 * outputs),
        nn.BatchNorm2d(2 * outputs),
        GLU(),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity; nothing follows the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.block = nn.Sequential(
            conv3x3(channels, 2 * channels),
            nn.BatchNorm2d(2 * channels),
            GLU(),
            conv3x3(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + x


class ConditioningAugmentation(nn.Module):
    """Sentence (B, E) -> mean and log variance (B, C) of the condition (StackGAN)."""

    def __init__(self, embedding_dim: int, condition_dim: int):
        super().__init__()
        self.fc = nn.Linear(embedding_dim, 4 * condition_dim)

    def forward(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        return F.glu(self.fc(sentence), dim=1).chunk(2, dim=1)


class InitialStage(nn.Module):
    """Condition and noise (B, C + Z) -> features (B, width, base_size, base_size)."""

    def __init__(self, inputs: int, width: int, base_size: int):
        super().__init__()
        doublings = int(math.log2(base_size // 4))
        self.channels = width << doublings
        self.fc = nn.Sequential(
            nn.Linear(inputs, 2 * self.channels * 4 * 4, bias=False),
            nn.BatchNorm1d(2 * self.channels * 4 * 4),
            GLU(),
        )
        self.doublings = doublings
        for i in range(doublings):
            setattr(self, f"upsample{i + 1}", up_block(self.channels >> i, self.channels >> (i + 1)))

    def forward(self, condition_and_noise: Tensor) -> Tensor:
        features = self.fc(condition_and_noise).view(-1, self.channels, 4, 4)
        for i in range(self.doublings):
            features = getattr(self, f"upsample{i + 1}")(features)
        return features


class ImageHead(nn.Module):
    """Features (B, width, s, s) -> image (B, 3, s, s) in [-1, 1]."""

    def __init__(self, width: int):
        super().__init__()
        self.img = nn.Sequential(conv3x3(width, 3), nn.Tanh())

    def forward(self, features: Tensor) -> Tensor:
        return self.img(features)


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, word_mask: str) -> tuple[Tensor, Tensor]:
    """Words read at every pixel: softmax over words of <query, key>, no scaling.

    queries (B, C, s, s), keys and values (B, C, T), mask (B, T) true at padding. Returns the reads
    (B, C, s, s) and the weights (B, T, s, s). `word_mask` is "corrected" (each image under its own
    caption's mask) or "released" (row r of the B*N rows under the mask of sample r mod B: for
    comparison with the released code only, an image then depends on its batch mates).
    """
    batch, channels, height, width = queries.shape
    scores = torch.einsum("bcn,bct->bnt", queries.flatten(2), keys)
    if word_mask == "released":
        rows = torch.arange(scores.shape[0] * scores.shape[1], device=mask.device) % batch
        row_mask = mask[rows].view_as(scores)
    else:
        row_mask = mask[:, None, :]
    weights = scores.masked_fill(row_mask, -torch.inf).softmax(dim=2)
    reads = torch.einsum("bnt,bct->bcn", weights, values)
    return reads.view(batch, channels, height, width), weights.transpose(1, 2).reshape(batch, -1, height, width)
