"""Equations of AttnGAN, ControlGAN, MirrorGAN, DF-GAN and GAN-INT, against naive loops."""

import copy
import math

import pytest
import torch

from baselines.attngan import WordAttention
from baselines.controlgan import ChannelAttention, WordLevelDiscriminator
from baselines.dfgan import Affine
from baselines.mirrorgan import GlobalLocalAttention
from dmgan.models.registry import MODELS, build_model
from dmgan.options import (
    ArchitectureOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.text.damsm import EncodedCaptions
from dmgan.training.trainer import Trainer
from tests.models.equation_inputs import N_R, N_W, SIDE, T, image_features, word_features

LAST_WORD_PADDED = torch.tensor([[False, False, False, True], [False] * T])


@pytest.fixture
def R():
    return image_features()


@pytest.fixture
def W():
    return word_features()


def test_word_attention_of_attngan_eq_2(R, W):
    torch.manual_seed(0)
    attention = WordAttention(N_R, N_W, "corrected").double()
    U = attention.conv_context.weight[:, :, 0, 0]
    c, beta = attention(R, W, LAST_WORD_PADDED)
    words = [U @ W[0, :, i] for i in range(3)]
    for y in range(SIDE):
        for x in range(SIDE):
            exps = [math.exp(float(R[0, :, y, x] @ word)) for word in words]
            expected = sum(e / sum(exps) * word for e, word in zip(exps, words, strict=True))
            torch.testing.assert_close(c[0, :, y, x], expected)
            assert float(beta[0, 3, y, x]) == 0


def test_affine_transformation_of_df_gan_eq_2_and_3():
    torch.manual_seed(0)
    affine = Affine(4, 3).double()
    h, c = torch.randn(2, 3, 2, 2).double(), torch.randn(2, 4).double()
    out = affine(h, c)
    for b in range(2):
        gamma, beta = (
            mlp[2].weight @ (mlp[0].weight @ c[b] + mlp[0].bias).relu() + mlp[2].bias
            for mlp in (affine.gamma, affine.beta)
        )
        for i in range(3):
            torch.testing.assert_close(out[b, i], gamma[i] * h[b, i] + beta[i])


def test_gan_int_trains_the_generator_on_interpolated_sentences_too():
    """The generator's loss is that of the captions plus that of (e_k + e_{k-1}) / 2, with the same noise."""
    torch.manual_seed(0)
    architecture = ArchitectureOptions(8, 2, 2, 2, 3, 2, 0)
    model = build_model("gan-int-cls", architecture, N_W)
    noise, sentence = torch.randn(4, 3), torch.randn(4, N_W)
    captions = EncodedCaptions(sentence, torch.randn(4, N_W, 2), torch.zeros(4, 2, dtype=bool), torch.full((4,), 2))
    real = [torch.rand(4, 3, 16, 16)]
    settings = TrainingSettings(architecture, TrainingOptions())
    trainer = Trainer(model, None, settings, MODELS["gan-int-cls"].losses, torch.device("cpu"))
    before = copy.deepcopy(model)
    loss = trainer.step(real, captions, torch.arange(4), noise)["adversarial"]
    (discriminator,) = trainer.discriminators  # the discriminator of the generator's loss, but for running statistics

    def generator_loss(e) -> float:
        images = before.generate(noise, e, None, None).images[0]
        logits = discriminator.conditional(discriminator.features(images), e)
        return float(torch.log1p(torch.exp(-logits)).mean())

    halfway = torch.stack([(sentence[k] + sentence[k - 1]) / 2 for k in range(4)])
    assert float(loss) == pytest.approx(generator_loss(sentence) + generator_loss(halfway), rel=1e-4)


def test_channel_attention_of_controlgan(R, W):
    torch.manual_seed(0)
    attention = ChannelAttention(SIDE, N_W).double()
    out = attention(R, W, LAST_WORD_PADDED)
    words = [attention.U.weight @ W[0, :, i] for i in range(3)]  # each at the N places
    for channel in range(N_R):
        exps = [math.exp(float(R[0, channel].flatten() @ word)) for word in words]
        expected = sum(e / sum(exps) * word for e, word in zip(exps, words, strict=True))
        torch.testing.assert_close(out[0, channel].flatten(), expected)


def test_word_level_discriminator_of_controlgan(W):
    torch.manual_seed(0)
    critic, n = WordLevelDiscriminator(N_W).double(), torch.randn(2, N_W, SIDE, SIDE).double()
    perceived = [critic.F.weight[:, :, 0, 0] @ n[0, :, y, x] for y in range(SIDE) for x in range(SIDE)]
    total = 0.0
    for i in range(3):
        w = W[0, :, i]
        exps = [math.exp(float(w @ region)) for region in perceived]
        b = sum(e / sum(exps) * region for e, region in zip(exps, perceived, strict=True))
        total += math.exp(5.0 * float(b @ w) / float(b.norm() * w.norm()))
    probability = torch.sigmoid(critic(n, W, LAST_WORD_PADDED)[0])
    assert float(probability) == pytest.approx(1 / (1 + math.exp(-math.log(total))), rel=1e-6)


def test_sentence_attention_of_mirrorgan(R):
    torch.manual_seed(0)
    attention, s = GlobalLocalAttention(N_R, N_W, 4).double(), torch.randn(2, 4).double()
    out = attention.sentence(R, s)
    projected = attention.V.weight @ s[1]
    exps = (attention.W.weight[:, :, 0, 0] @ (R[1, :, 0, 1] * projected)).exp()
    torch.testing.assert_close(out[1, :, 0, 1], projected * exps / exps.sum())
