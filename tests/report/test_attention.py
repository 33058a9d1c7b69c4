"""Uniformity of attention, and the weights over words that the figures show."""

import pytest
import torch

from dmgan.report.figures.attention import Uniformity, relative_entropy, uniformity
from dmgan.report.figures.scene import Scene
from dmgan.report.figures.word_maps import draw_words
from dmgan.report.figures.word_weights import draw_weights, weights_of
from dmgan.sampling.trained_model import load_run
from tests.conftest import CPU


@pytest.fixture(scope="module")
def scene(run_folder, dataset) -> Scene:
    return Scene([load_run(run_folder, CPU)], dataset, 100)


def test_equal_weights_have_entropy_one_and_one_word_zero():
    equal = torch.full((5, 4, 4), 0.2)
    assert relative_entropy(equal, "word") == pytest.approx(1.0)
    one_word = torch.zeros(5, 4, 4)
    one_word[2] = 1.0
    assert relative_entropy(one_word, "word") == pytest.approx(0.0, abs=1e-6)
    two_of_four = torch.tensor([0.5, 0.5, 0.0, 0.0])[:, None, None].expand(4, 3, 3)
    assert relative_entropy(two_of_four, "word") == pytest.approx(0.5)


def test_entropy_over_pixels_is_of_each_word():
    one_pixel = torch.zeros(3, 4, 4)
    one_pixel[:, 1, 2] = 1.0
    assert relative_entropy(one_pixel, "pixel") == pytest.approx(0.0, abs=1e-6)
    assert relative_entropy(torch.full((3, 4, 4), 1 / 16), "pixel") == pytest.approx(1.0)
    assert relative_entropy(torch.ones(1, 4, 4), "word") == 1.0


def test_nearly_uniform_attention_is_said():
    assert str(Uniformity(0.95, "words")) == "0.95, nearly uniform"
    assert str(Uniformity(0.949, "words")) == "0.95" and not Uniformity(0.949, "words").nearly_uniform


def test_figure_6_and_the_words_state_the_entropy_of_every_refinement(scene):
    (run,) = scene.runs
    values = uniformity(scene, run)
    assert len(values) == 2 and all(0 <= each.entropy <= 1.0001 and each.over == "words" for each in values)
    foot = " ".join(text.get_text() for text in draw_words(scene).figure.texts)
    assert f"DM-GAN, refinement 1: {values[0]}" in foot and f"DM-GAN, refinement 2: {values[1]}" in foot
    labels = [text.get_text() for text in draw_weights(scene).figure.texts]
    assert f"attention 1 (entropy {values[0]})" in labels and "writing gate 2" in labels


def test_the_weights_are_those_of_the_model(scene):
    (run,) = scene.runs
    found = weights_of(scene, run, 0)
    assert found.words == scene.dataset.vocabulary.decode(scene.tokens(run, 0))
    assert [row.weights.sum() for row in found.rows[:2]] == pytest.approx([1, 1])
    gates = scene.generate(run, [0]).gates[1][0].mean(dim=0)
    assert found.rows[3].weights == pytest.approx(gates.numpy(), abs=1e-6)
