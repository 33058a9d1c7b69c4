"""The text encoder's padded pass equals its packed pass; pooling and resizing have torch's values and gradients."""

import pytest
import torch
from torch.nn import functional as F

from dmgan.text.encoders import TextEncoder, padding_mask, place_means
from dmgan.text.resizing import resized


@pytest.mark.parametrize("side", [1, 2, 4, 8, 12])
def test_place_means_equal_adaptive_average_pooling(side):
    x = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    found, expected = place_means(x, 4), F.adaptive_avg_pool2d(x, 4)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    gradients = [torch.autograd.grad((weight * each).sum(), x)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("side, wanted", [(64, 32), (32, 8), (8, 32), (24, 31), (32, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resizing_for_the_image_encoder_equals_torch_interpolate(side, wanted, dtype):
    x = torch.rand(2, 3, side, side, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = resized(x, wanted)
    expected = F.interpolate(x, size=(wanted, wanted), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(found)
    gradients = [torch.autograd.grad((weight * each).sum(), x)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_the_padded_pass_of_the_text_encoder_equals_the_packed_pass():
    torch.manual_seed(0)
    encoder, lengths = TextEncoder(20, embedding_dim=8, dropout=0.0).double(), torch.tensor([3, 7, 1, 5])
    mask = torch.cat([padding_mask(lengths), torch.ones(4, 2, dtype=torch.bool)], dim=1)  # two more than the longest
    tokens = torch.randint(1, 20, mask.shape).masked_fill(mask, 0)
    passes = {"packed": encoder(tokens[:, :7], lengths), "padded": encoder.padded(tokens, mask)}
    (words, sentence), (padded_words, padded_sentence) = passes["packed"], passes["padded"]
    torch.testing.assert_close(padded_words, F.pad(words, (0, 2)))
    torch.testing.assert_close(padded_sentence, sentence)
    gradients = [
        torch.autograd.grad(words.square().sum() + sentence.sum(), list(encoder.parameters()))
        for words, sentence in passes.values()
    ]
    torch.testing.assert_close(*gradients)
