"""DAMSM's matching losses (AttnGAN Eq. 7-13), against naive loops."""

import math

import numpy as np
import pytest
import torch

from dmgan.options import MatchingOptions
from dmgan.text.damsm import EncodedCaptions
from dmgan.text.encoders import padding_mask
from dmgan.training.damsm_loss import matching_losses, matching_scores, pack_words, pad_words, word_scores

LAYOUTS = {"packed": pack_words, "padded": lambda words, lengths: pad_words(words, padding_mask(lengths))}


def naive_word_score(region, word, gamma1, gamma2) -> float:
    """Return R(Q, D) of an image (E, R) and a caption (E, T) by loops (AttnGAN Eq. 7-10)."""
    regions, length = region.shape[1], word.shape[1]
    s = [[float(region[:, r] @ word[:, t]) for t in range(length)] for r in range(regions)]
    s_bar = [
        [math.exp(s[r][t]) / sum(math.exp(s[r][k]) for k in range(length)) for t in range(length)]
        for r in range(regions)
    ]
    total = 0.0
    for t in range(length):
        exps = [math.exp(gamma1 * s_bar[r][t]) for r in range(regions)]
        c = sum(exps[r] / sum(exps) * region[:, r] for r in range(regions))
        cosine = float(c @ word[:, t]) / float(c.norm() * word[:, t].norm())
        total += math.exp(gamma2 * cosine)
    return math.log(total)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_word_scores_equal_the_naive_loop(layout):
    torch.manual_seed(0)
    regions, words = torch.randn(3, 6, 2, 2).double(), torch.randn(2, 6, 5).double()
    lengths = torch.tensor([5, 3])
    words[1, :, 3:] = 0
    scores = word_scores(regions, LAYOUTS[layout](words, lengths), 4.0, 5.0)
    for i in range(3):
        for j in range(2):
            naive = naive_word_score(regions[i].flatten(1), words[j, :, : lengths[j]], 4.0, 5.0)
            assert float(scores[i, j]) == pytest.approx(naive, rel=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_word_scores_have_the_numeric_gradients(layout):
    torch.manual_seed(0)
    regions, words = torch.randn(2, 3, 2, 2).double(), torch.randn(3, 3, 4).double()
    lengths = torch.tensor([2, 4, 3])
    given = (regions.requires_grad_(), words.requires_grad_())

    def scores(regions, words):
        return word_scores(regions, LAYOUTS[layout](words, lengths), 4.0, 5.0)

    assert torch.autograd.gradcheck(scores, given)
    padding = torch.autograd.grad(scores(*given).sum(), words)[0][0, :, 2:]
    assert not padding.any()


def test_images_of_the_same_class_are_no_negatives():
    torch.manual_seed(0)
    regions, embedding = torch.randn(3, 6, 2, 2).double(), torch.randn(3, 6).double()
    words, sentence, lengths = torch.randn(3, 6, 4).double(), torch.randn(3, 6).double(), torch.tensor([4, 4, 4])
    gammas = MatchingOptions()
    captions = EncodedCaptions(sentence, words, padding_mask(lengths), lengths)
    losses = matching_losses(regions, embedding, captions, torch.tensor([7, 8, 7]), gammas)
    cosine = [[float(torch.cosine_similarity(embedding[i], sentence[j], dim=0)) for j in range(3)] for i in range(3)]
    allowed = {0: (0, 1), 1: (0, 1, 2), 2: (1, 2)}
    rows = [math.log(sum(math.exp(10 * (cosine[i][j] - cosine[i][i])) for j in allowed[i])) for i in range(3)]
    assert float(losses.sentence0) == pytest.approx(np.mean(rows))
    columns = [math.log(sum(math.exp(10 * (cosine[j][i] - cosine[i][i])) for j in allowed[i])) for i in range(3)]
    assert float(losses.sentence1) == pytest.approx(np.mean(columns))


def test_captions_without_lengths_have_the_scores_of_captions_with_lengths():
    """The step of a GPU knows the mask alone; values and gradients must not depend on the layout of the words."""
    torch.manual_seed(0)
    lengths, gammas = torch.tensor([9, 3, 6, 1]), MatchingOptions()
    regions = torch.randn(4, 16, 5, 5, dtype=torch.float64, requires_grad=True)
    embedding, sentence = torch.randn(4, 16).double(), torch.randn(4, 16).double()
    words = torch.randn(4, 16, 9).double().masked_fill(padding_mask(lengths)[:, None], 0.0)
    captions = EncodedCaptions(sentence, words, padding_mask(lengths), lengths)
    found = {}
    for layout, given in (("packed", captions), ("padded", captions.padded_to(12)._replace(lengths=None))):
        by_word, by_sentence = matching_scores(regions, embedding, given, gammas)
        (gradient,) = torch.autograd.grad(by_word.square().sum(), regions)
        found[layout] = (by_word, by_sentence, gradient)
    torch.testing.assert_close(found["padded"], found["packed"], rtol=1e-12, atol=1e-12)
