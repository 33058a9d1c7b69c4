"""Weights of words: shares, gates, the image that a refinement made, and labels of repeated and long words."""

import numpy as np
import pytest
import torch

from dmgan.models.interface import Generated
from dmgan.sampling.word_maps import (
    ChosenWord,
    attention_weights,
    refined_image,
    top_words,
    unique_labels,
    word_weights,
)


def test_the_weights_of_an_image_leave_out_the_padding():
    attention = torch.zeros(2, 4, 2, 2)
    attention[1, 0], attention[1, 2], attention[1, 3] = 1.0, 3.0, 7.0  # the last is padding
    gates = torch.tensor([[[0.0] * 4, [0.0] * 4], [[0.2, 0.4, 0.6, 0.9], [0.4, 0.4, 0.4, 0.9]]])
    (weights,) = word_weights(Generated([], [attention], gates=[gates]), row=1, length=3)
    assert weights.shares == pytest.approx([0.25, 0.0, 0.75])
    assert weights.maps.shape == (3, 2, 2) and weights.maps[2].max() == 3.0
    assert weights.gates == pytest.approx([0.3, 0.4, 0.5])
    (without,) = word_weights(Generated([], [attention]), row=1, length=3)
    assert without.gates is None


def test_a_refinement_made_the_image_of_twice_its_side_or_the_only_image():
    (weights,) = word_weights(Generated([], [torch.ones(1, 2, 8, 8)]), row=0, length=2)
    stages = [np.zeros((side, side, 3), np.uint8) for side in (8, 16, 32)]
    assert refined_image(stages, weights).shape[0] == 16
    assert refined_image(stages[-1:], weights).shape[0] == 32


def test_attention_weights_are_summed_over_pixels():
    attention = torch.zeros(3, 2, 2)
    attention[0] = 1.0
    attention[2, 0, 0] = 4.0
    assert attention_weights(attention) == pytest.approx([0.5, 0.0, 0.5])


def test_repeated_words_are_numbered():
    words = ["a", "red", "bird", "with", "a", "red", "wing"]
    chosen = top_words(words, np.array([0.1, 0.9, 0.8, 0.0, 0.2, 0.7, 0.3]), 4)
    assert [each.position for each in chosen] == [1, 2, 5, 6]
    assert unique_labels(chosen, words) == ["red (1st)", "bird", "red (2nd)", "wing"]


def test_a_long_word_is_cut_beside_its_bar():
    words = ["bird", "w" * 300, "w" * 300]
    labels = unique_labels([ChosenWord(words[1], 0.5, 1), ChosenWord(words[2], 0.3, 2)], words)
    assert labels == [f"{'w' * 17}… (1st)", f"{'w' * 17}… (2nd)"]
