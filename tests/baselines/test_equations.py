"""Equations of AttnGAN, ControlGAN, MirrorGAN, DF-GAN and GAN-INT, against naive loops."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from baselines.attngan import WordAttention
from baselines.controlgan import ChannelAttention, ControlRefinement, WordLevelDiscriminator
from baselines.dfgan import Affine
from baselines.mirrorgan import GlobalLocalAttention
from dmgan.models.blocks import attend
from dmgan.models.interface import Generated
from dmgan.models.registry import MODELS, build_model
from dmgan.options import (
    ArchitectureOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.text.damsm import EncodedCaptions
from dmgan.training.trainer import FurtherInputs, Trainer
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
    for mlp in (affine.gamma, affine.beta):
        torch.nn.init.normal_(mlp[2].weight)  # it starts at 0
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
    """One pass of new noise: 4 captions and 2 means (e_k + e_{k+2}) / 2; so 2/3 of the loss are of captions."""
    torch.manual_seed(0)
    architecture = ArchitectureOptions(8, 2, 2, 2, 3, 2, 0)
    model = build_model("gan-int-cls", architecture, N_W)
    noise, new_noise, sentence = torch.randn(4, 3), torch.randn(6, 3), torch.randn(4, N_W)
    captions = EncodedCaptions(sentence, torch.randn(4, N_W, 2), torch.zeros(4, 2, dtype=bool), torch.full((4,), 2))
    real, wrong = [torch.rand(4, 3, 16, 16)], [torch.rand(4, 3, 16, 16)]
    settings = TrainingSettings(architecture, TrainingOptions())
    trainer = Trainer(model, None, settings, MODELS["gan-int-cls"].losses, torch.device("cpu"))
    before = copy.deepcopy(model)
    further = FurtherInputs(wrong, generator_noise=new_noise)
    loss = trainer.step(real, captions, torch.arange(4), noise, further)["adversarial"]
    (discriminator,) = trainer.discriminators  # the discriminator of the generator's loss, but for running statistics
    halfway = torch.stack([(sentence[k] + sentence[k + 2]) / 2 for k in range(2)])
    every = torch.cat([sentence, halfway])
    images = before.generate(new_noise, every, None, None).images[0]
    terms = torch.log1p(torch.exp(-discriminator.conditional(discriminator.features(images), every)))
    assert float(loss) == pytest.approx(float(2 * terms[:4].mean() + terms[4:].mean()) / 3, rel=1e-4)


@pytest.mark.parametrize(("name", "reaches"), [("stackganpp", True), ("stackgan", False)])
def test_the_discriminators_read_the_mean_of_the_condition(name, reaches):
    """In the generator's loss its gradient reaches the conditioning augmentation in StackGAN++, not in StackGAN."""
    torch.manual_seed(0)
    architecture = ArchitectureOptions(8, 2, 4, 4, 3, 2, 0)
    model = build_model(name, architecture, N_W)
    settings = TrainingSettings(architecture, TrainingOptions(kl_weight=0.0))
    trainer = Trainer(model, None, settings, MODELS[name].losses, torch.device("cpu"))
    means, read = [], []
    model.register_forward_hook(lambda module, inputs, generated: means.append(generated.mean))
    for discriminator in trainer.discriminators:
        discriminator.COND_DNET.register_forward_hook(lambda module, inputs, logits: read.append(inputs[1]))
    captions = EncodedCaptions(
        torch.randn(4, N_W), torch.randn(4, N_W, 2), torch.zeros(4, 2, dtype=bool), torch.full((4,), 2)
    )
    images, wrong = ([torch.rand(4, 3, side, side) for side in model.image_sizes] for _ in range(2))
    further = FurtherInputs(wrong if name == "stackganpp" else ())
    trainer.step(images, captions, torch.arange(4), torch.randn(4, model.noise_dim), further)
    (mean,) = means
    for condition in read:  # the three rows are StackGAN's mismatched pairs of image k with caption k + 1
        assert torch.equal(condition, mean[1:] if len(condition) == 3 else mean)
    assert sum(condition.requires_grad for condition in read) == (2 if reaches else 0)


def test_channel_attention_of_controlgan(R, W):
    torch.manual_seed(0)
    attention = ChannelAttention(SIDE, N_W).double()
    out = attention(R, W, LAST_WORD_PADDED)
    words = [attention.U.weight @ W[0, :, i] for i in range(3)]  # each at the N places
    for channel in range(N_R):
        exps = [math.exp(float(R[0, channel].flatten() @ word)) for word in words]
        expected = sum(e / sum(exps) * word for e, word in zip(exps, words, strict=True))
        torch.testing.assert_close(out[0, channel].flatten(), expected)


def test_channel_attention_of_controlgan_reads_the_words_attended_at_the_places(R, W):
    """As released; in the paper it reads the features."""
    torch.manual_seed(0)
    refinement = ControlRefinement(SIDE, N_R, N_W, residual_blocks=0).double()
    seen = {}
    refinement.channel.register_forward_hook(lambda module, inputs, output: seen.update(query=inputs[0]))
    refinement(R, W, LAST_WORD_PADDED)
    projected = refinement.spatial(W)
    expected, _ = attend(R, projected, projected, LAST_WORD_PADDED, "corrected")
    torch.testing.assert_close(seen["query"], expected)


def test_controlgan_takes_the_mean_of_the_perceptual_losses_and_compares_wrong_captions(W):
    """Released: the mean over the stages, and captions drawn for the images in place of those of the next images."""
    torch.manual_seed(0)
    model = build_model("controlgan", ArchitectureOptions(8, 2, 2, 2, 3, 2, 0), N_W)
    encode = SimpleNamespace(encode_images=lambda images: (images[:, :1].expand(-1, N_W, -1, -1), None))
    networks = SimpleNamespace(perceptual=lambda images: images)
    context = SimpleNamespace(
        options=TrainingOptions(perceptual_weight=3.0), networks=networks, discriminators=model.discriminators(),
        encode_images=encode.encode_images,
    )  # fmt: skip
    real, fakes = ([torch.rand(2, 3, side, side) for side in (8, 16)] for _ in range(2))
    captions, wrong = (EncodedCaptions(None, words.float(), LAST_WORD_PADDED, None) for words in (W, W.flip(0)))
    found = model.extra_losses(Generated(fakes), real, captions, context)["perceptual"]
    by_stage = [float((fake - wanted).square().mean()) for fake, wanted in zip(fakes, real, strict=True)]
    assert float(found) == pytest.approx(3 * sum(by_stage) / 2)
    discriminator = context.discriminators[0]
    found = model.extra_discriminator_losses(discriminator, real[0], captions, wrong, context)["words"]
    regions, _ = context.encode_images(real[0])
    own, others = (discriminator.words(regions, each.words, each.mask) for each in (captions, wrong))
    expected = torch.log1p(torch.exp(-own)).mean() + torch.log1p(torch.exp(others)).mean()
    assert float(found) == pytest.approx(0.5 * float(expected), rel=1e-5)
    assert MODELS["controlgan"].losses.wrong_captions


def test_the_stream_loss_of_mirrorgan_shows_the_last_image_as_generated_in_minus_1_to_1():
    model = build_model("mirrorgan", ArchitectureOptions(8, 2, 2, 2, 3, 2, 0), N_W)
    seen, fakes = [], [torch.rand(2, 3, side, side) * 2 - 1 for side in (8, 16)]

    def encode(images):
        seen.append(images)
        return None, images.flatten(1)[:, :N_W]

    captioner = SimpleNamespace(network=SimpleNamespace(cross_entropy=lambda embedding, tokens, mask: embedding.sum()))
    context = SimpleNamespace(
        options=TrainingOptions(), networks=SimpleNamespace(captioner=captioner), encode_images=encode
    )
    captions = EncodedCaptions(None, None, None, None, None)
    loss = model.extra_losses(Generated(fakes), None, captions, context)["stream"]
    assert len(seen) == 1 and torch.equal(seen[0], fakes[-1]) and float(seen[0].min()) < -0.5
    assert float(loss) == pytest.approx(10 * float(fakes[-1].flatten(1)[:, :N_W].sum()), rel=1e-5)  # released weight


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
    projected = attention.V.weight @ s[1] + attention.V.bias
    exps = (attention.W.weight[:, :, 0, 0] @ (R[1, :, 0, 1] * projected)).exp()
    torch.testing.assert_close(out[1, :, 0, 1], projected * exps / exps.sum())
