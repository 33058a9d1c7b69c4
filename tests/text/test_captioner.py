"""The captioner's loss, against a loop over the words."""

import numpy as np
import pytest
import torch

from dmgan.options import (
    CaptionerOptions,
)
from dmgan.text.captioner import Captioner


def test_the_captioner_predicts_every_word_from_the_image_and_the_words_before():
    torch.manual_seed(0)
    captioner = Captioner(7, 5, CaptionerOptions(embedding_dim=3, hidden_dim=4)).double().eval()
    embeddings, tokens = torch.randn(2, 5).double(), torch.tensor([[3, 1, 5], [2, 0, 0]])
    mask = torch.tensor([[False, False, False], [False, True, True]])
    losses = []
    for embedding, caption in zip(embeddings, ([3, 1, 5], [2]), strict=True):
        x, state = captioner.read_code(embedding[None])[:, None], None
        for token in caption:
            hidden, state = captioner.lstm(x, state)
            losses.append(-float(captioner.logits(hidden[0, 0]).log_softmax(dim=0)[token]))
            x = captioner.embedding.weight[token][None, None]
    assert float(captioner.cross_entropy(embeddings, tokens, mask)) == pytest.approx(np.mean(losses), rel=1e-9)
