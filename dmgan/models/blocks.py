"""Blocks that AttnGAN and DM-GAN share. Attribute names equal those of the released state dicts."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3x3 convolution without bias that keeps the side."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=1, padding=1, bias=False)


class GLU(nn.Module):
    """Gated linear unit over the channels: first half times sigmoid of the second half."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            # Keep channels_last: a contiguous gradient makes batch norm's backward 40 times as slow.
            return F.glu(x.permute(0, 2, 3, 1), dim=3).permute(0, 3, 1, 2)
        return F.glu(x, dim=1)


def up_block(inputs: int, outputs: int) -> nn.Sequential:
    """Return a block that doubles the side: (B, inputs, s, s) -> (B, outputs, 2s, 2s)."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        conv3x3(inputs, 2 * outputs),
        nn.BatchNorm2d(2 * outputs),
        GLU(),
    )


class ResidualBlock(nn.Module):
    """Residual block of two 3x3 convolutions, without activation after the sum."""

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
    """Conditioning augmentation (StackGAN): sentence (B, E) -> mean and log variance (B, C) of the condition."""

    def __init__(self, embedding_dim: int, condition_dim: int):
        super().__init__()
        self.fc = nn.Linear(embedding_dim, 4 * condition_dim)

    def forward(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        return F.glu(self.fc(sentence), dim=1).chunk(2, dim=1)


class InitialStage(nn.Module):
    """First generator stage: condition and noise (B, C + Z) -> features (B, width, base_size, base_size)."""

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
    """Output layers: features (B, width, s, s) -> image (B, 3, s, s) in [-1, 1]."""

    def __init__(self, width: int):
        super().__init__()
        self.img = nn.Sequential(conv3x3(width, 3), nn.Tanh())

    def forward(self, features: Tensor) -> Tensor:
        return self.img(features)


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, word_mask: str) -> tuple[Tensor, Tensor]:
    """Attend to words at every pixel: softmax over words of <query, key>, without scaling.

    queries (B, C, s, s), keys and values (B, C, T), mask (B, T) true at padding. Returns the attended values
    (B, C, s, s) and the weights (B, T, s, s). word_mask: "corrected" masks the padding of the image's own caption.
    "released" reproduces the released code: row r of the B N rows is masked with the padding of sample r mod B, so that
    an image depends on the other captions of its batch.
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
