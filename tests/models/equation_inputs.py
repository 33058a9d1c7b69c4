"""Small image features R, words W and a word mask, with the letters of the papers' equations."""

import torch
from torch import Tensor

T, N_W, N_R, SIDE = 4, 5, 3, 2  # words, channels of words and of image features, side of the image features
MASK = torch.tensor([[False] * T, [False, False, True, True]])


def image_features() -> Tensor:
    """Return R (2, N_R, SIDE, SIDE) in float64."""
    return torch.randn(2, N_R, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()


def word_features() -> Tensor:
    """Return W (2, N_W, T) in float64."""
    return torch.randn(2, N_W, T, generator=torch.Generator().manual_seed(2)).double()
