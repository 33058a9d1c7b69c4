"""The baseline of the benchmarks computes what the trainer computes."""

import pytest
import torch

from benchmarks.training_baseline import BaselineStep, words_loss
from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions, LossOptions, MatchingOptions, TrainingOptions, TrainingSettings
from dmgan.text.damsm import EncodedCaptions
from dmgan.text.encoders import SmallImageEncoder, padding_mask
from dmgan.training.damsm_loss import cross_entropies, pack_words, word_scores
from dmgan.training.trainer import Trainer
from tests.conftest import CPU

BATCH, EMBEDDING = 3, 8


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
def test_the_baselines_step_is_the_trainers():
    torch.manual_seed(0)
    sizes = ArchitectureOptions(
        generator_width=2, discriminator_width=1, noise_dim=4, condition_dim=3, residual_blocks=1
    )
    encoder = SmallImageEncoder(EMBEDDING, 2).eval().requires_grad_(False)
    options, gammas = TrainingOptions(batch_size=BATCH), MatchingOptions()
    plain = BaselineStep(sizes, EMBEDDING, encoder, options, gammas, CPU)
    model = build_model("dmgan", sizes, EMBEDDING, word_mask="released")
    ours = Trainer(model, encoder, TrainingSettings(sizes, options, gammas), LossOptions(), CPU)
    model.load_state_dict(plain.generator.state_dict(), strict=True)
    for mine, other in zip(ours.discriminators, plain.discriminators, strict=True):
        mine.load_state_dict(other.state_dict(), strict=True)
    lengths = torch.tensor([3, 5, 4])
    words = torch.randn(BATCH, EMBEDDING, 5).masked_fill(padding_mask(lengths)[:, None], 0.0)
    captions = EncodedCaptions(torch.randn(BATCH, EMBEDDING), words, padding_mask(lengths), lengths)
    images, class_ids = [torch.rand(BATCH, 3, side, side) * 2 - 1 for side in sizes.sizes], torch.tensor([0, 1, 0])
    for _ in range(2):
        noise = torch.randn(BATCH, model.noise_dim)
        found = ours.step(images, captions, class_ids, noise)
        expected = plain.step(images, captions.sentence, words, captions.mask, lengths, class_ids, noise)
        assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected, rel=1e-6)


def test_the_loop_over_captions_is_the_word_loss():
    torch.manual_seed(0)
    lengths, class_ids, gammas = torch.tensor([2, 6, 4, 6]), torch.tensor([0, 1, 0, 2]), MatchingOptions()
    regions, words = torch.randn(4, EMBEDDING, 5, 5), torch.randn(4, EMBEDDING, 6)
    scores = gammas.gamma3 * word_scores(regions, pack_words(words, lengths), gammas.gamma1, gammas.gamma2)
    torch.testing.assert_close(
        cross_entropies(scores, class_ids), words_loss(regions, words, lengths, class_ids, gammas)
    )
