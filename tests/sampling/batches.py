"""Batches of captions and noise for a generator, as sampling makes them: sorted by length, the last one smaller."""

import torch
from torch import Tensor

from dmgan.models.initialisation import initialise
from dmgan.models.interface import TextToImageGAN
from dmgan.models.registry import build_model, find
from dmgan.text.damsm import EncodedCaptions
from dmgan.text.encoders import padding_mask
from tests.conftest import ARCHITECTURE

EMBEDDING_DIM = 16
SIZES = [(4, 5)] * 4 + [(4, 7)] * 4 + [(2, 7)]  # captions and longest caption of each batch
_FEATURES = (64, 2, 2)  # of an image of 32 px by the small feature network


def random_model(name: str, device: torch.device) -> TextToImageGAN:
    """A model of the registry with random weights and batch-norm statistics, in evaluation mode."""
    torch.manual_seed(0)
    model = build_model(name, ARCHITECTURE, EMBEDDING_DIM)
    initialise(model)
    for layer in model.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return model.to(device).eval().requires_grad_(False)


def random_batches(name: str, model: TextToImageGAN, device: torch.device) -> list[tuple]:
    """Arguments of InferenceGenerator.images for every batch of SIZES."""
    return [_batch(name, model, rows, words, device) for rows, words in SIZES]


def _batch(name: str, model: TextToImageGAN, rows: int, words: int, device: torch.device) -> tuple:
    lengths = torch.randint(2, words + 1, (rows,))
    lengths[0] = words
    mask = padding_mask(lengths)
    features = torch.randn(rows, EMBEDDING_DIM, words).masked_fill(mask[:, None], 0.0)
    captions = EncodedCaptions(torch.randn(rows, EMBEDDING_DIM), features, mask, lengths)
    captions = captions._replace(**{key: getattr(captions, key).to(device) for key in ("sentence", "words", "mask")})
    memory: Tensor | None = torch.randn(rows, *_FEATURES, device=device) if find(name).retrieves else None
    return torch.randn(rows, model.noise_dim), captions, memory
