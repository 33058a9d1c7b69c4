"""Adversarial losses, gradient penalties and the KL term, against naive loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.dfgan import OneWayDiscriminator
from dmgan.errors import UserError
from dmgan.models.discriminators import Discriminator
from dmgan.models.registry import MODELS
from dmgan.options import LossOptions
from dmgan.training.gan_losses import adversarial_loss, discriminator_loss, kl_loss
from tests.models.equation_inputs import N_W


def discriminator_case(unconditional: bool):
    """Return a discriminator in evaluation mode, real and fake images, sentences, and D: the probability of real."""
    torch.manual_seed(0)
    discriminator = Discriminator(16, 3, N_W, "batch", unconditional).double().eval()
    real, fake, sentence = (torch.rand(3, *shape).double() for shape in ((3, 16, 16), (3, 16, 16), (N_W,)))

    @torch.no_grad()
    def D(image, sentence=None) -> float:
        features = discriminator.features(image[None])
        if sentence is None:
            return float(torch.sigmoid(discriminator.unconditional(features)))
        return float(torch.sigmoid(discriminator.conditional(features, sentence[None])))

    return discriminator, real, fake, sentence, D


@pytest.fixture(scope="module")
def case():
    return discriminator_case(unconditional=True)


@pytest.fixture(scope="module")
def conditional_case():
    """The same for a discriminator without the unconditional head."""
    return discriminator_case(unconditional=False)


@pytest.mark.parametrize("half", [True, False])
def test_generator_loss_dmgan_eq_11(case, half):
    discriminator, _, fake, sentence, D = case
    unconditional = np.mean([math.log(D(x)) for x in fake])
    pair = np.mean([math.log(D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    loss = adversarial_loss(discriminator, fake, sentence, LossOptions(half_adversarial=half))
    assert float(loss) == pytest.approx(-(unconditional + pair) / 2 if half else -(unconditional + pair), rel=1e-10)


@pytest.mark.parametrize("mismatched", [True, False])
def test_discriminator_loss_dmgan_eq_12(case, mismatched):
    discriminator, real, fake, sentence, D = case
    real_unconditional = np.mean([-math.log(D(x)) for x in real])
    fake_unconditional = np.mean([-math.log(1 - D(x)) for x in fake])
    real_pair = np.mean([-math.log(D(x, s)) for x, s in zip(real, sentence, strict=True)])
    fake_pair = np.mean([-math.log(1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    wrong_pair = np.mean([-math.log(1 - D(real[k], sentence[k + 1])) for k in range(2)])
    paper = (real_unconditional + fake_unconditional + real_pair + fake_pair) / 2
    release = (real_unconditional + real_pair) / 2 + (fake_unconditional + fake_pair + wrong_pair) / 3
    loss = discriminator_loss(discriminator, real, fake, sentence, LossOptions(mismatched_captions=mismatched))
    assert float(loss) == pytest.approx(release if mismatched else paper, rel=1e-10)


@pytest.mark.parametrize("half", [True, False])
def test_generator_loss_without_the_unconditional_term(conditional_case, half):
    discriminator, _, fake, sentence, D = conditional_case
    pair = -np.mean([math.log(D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    loss = adversarial_loss(discriminator, fake, sentence, LossOptions(half_adversarial=half))
    assert float(loss) == pytest.approx(pair / 2 if half else pair, rel=1e-10)


@pytest.mark.parametrize("mismatched", [True, False])
def test_discriminator_loss_without_the_unconditional_term(conditional_case, mismatched):
    discriminator, real, fake, sentence, D = conditional_case
    real_pair = np.mean([-math.log(D(x, s)) for x, s in zip(real, sentence, strict=True)])
    fake_pair = np.mean([-math.log(1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    wrong_pair = np.mean([-math.log(1 - D(real[k], sentence[k + 1])) for k in range(2)])
    expected = real_pair + (fake_pair + wrong_pair) / 2 if mismatched else (real_pair + fake_pair) / 2
    loss = discriminator_loss(discriminator, real, fake, sentence, LossOptions(mismatched_captions=mismatched))
    assert float(loss) == pytest.approx(expected, rel=1e-10)


def test_discriminator_loss_of_stackgan_pp(case):
    """Its wrong images are drawn for themselves: fake with the sentences, real alone."""
    discriminator, real, fake, sentence, D = case
    wrong = torch.rand(3, 3, 16, 16).double()
    unconditional = [-math.log(D(x)) for x in real], [-math.log(1 - D(x)) for x in fake]
    conditional = [-math.log(D(x, s)) for x, s in zip(real, sentence, strict=True)]
    fake_pairs = [-math.log(1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)]
    wrong_pairs = [-math.log(1 - D(x, s)) for x, s in zip(wrong, sentence, strict=True)]
    wrong_images = [-math.log(D(x)) for x in wrong]
    terms = (*unconditional, conditional, fake_pairs, wrong_pairs, wrong_images)
    losses = MODELS["stackganpp"].losses
    loss = discriminator_loss(discriminator, real, fake, sentence, losses, wrong=wrong)
    assert float(loss) == pytest.approx(sum(np.mean(term) for term in terms), rel=1e-10)
    with pytest.raises(ValueError, match="redrawn needs wrong images"):
        discriminator_loss(discriminator, real, fake, sentence, losses)


@pytest.mark.parametrize("name", ["gan-int-cls", "gan-cls"])
def test_discriminator_loss_of_gan_int_cls(name, conditional_case):
    """A pass of its own for wrong images with the right captions; weight 1/2 for wrong and for generated images."""
    discriminator, real, fake, sentence, D = conditional_case
    wrong = torch.rand(3, 3, 16, 16).double()
    real_pair = np.mean([-math.log(D(x, s)) for x, s in zip(real, sentence, strict=True)])
    fake_pair = np.mean([-math.log(1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    wrong_pair = np.mean([-math.log(1 - D(x, s)) for x, s in zip(wrong, sentence, strict=True)])
    loss = discriminator_loss(discriminator, real, fake, sentence, MODELS[name].losses, wrong=wrong)
    assert float(loss) == pytest.approx(real_pair + (fake_pair + wrong_pair) / 2, rel=1e-10)


def test_hinge_losses_of_df_gan_eq_1(conditional_case):
    """B mismatched pairs: image k + 1 with sentence k, and the first image with the last sentence."""
    discriminator, real, fake, sentence, _ = conditional_case

    def D(image, sentence) -> float:
        with torch.no_grad():
            return float(discriminator.conditional(discriminator.features(image[None]), sentence[None]))

    real_pair = np.mean([-min(0, -1 + D(x, s)) for x, s in zip(real, sentence, strict=True)])
    fake_pair = np.mean([-min(0, -1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    wrong_pair = np.mean([-min(0, -1 - D(real[(k + 1) % 3], sentence[k])) for k in range(3)])
    options = replace(MODELS["dfgan"].losses, matching_aware_penalty=0.0)
    loss = discriminator_loss(discriminator, real, fake, sentence, options)
    assert float(loss) == pytest.approx(real_pair + (fake_pair + wrong_pair) / 2, rel=1e-10)
    generator = np.mean([-D(x, s) for x, s in zip(fake, sentence, strict=True)])
    assert float(adversarial_loss(discriminator, fake, sentence, options)) == pytest.approx(generator, rel=1e-10)


def test_matching_aware_penalty_of_df_gan_equals_numeric_gradients_of_every_pair():
    torch.manual_seed(0)
    discriminator = OneWayDiscriminator(8, 2, N_W).double()
    torch.nn.init.constant_(discriminator.blocks[0].gamma, 0.5)  # it starts at 0
    real, fake, sentence = torch.rand(3, 3, 8, 8).double(), torch.rand(3, 3, 8, 8).double(), torch.rand(3, N_W).double()

    @torch.no_grad()
    def D(x, e) -> float:
        return float(discriminator.conditional(discriminator.features(x[None]), e[None]))

    def squared_norm(function, at) -> float:
        total, step = 0.0, 1e-6
        for i in range(at.numel()):
            moved = torch.zeros_like(at)
            moved.view(-1)[i] = step
            total += ((function(at + moved) - function(at - moved)) / (2 * step)) ** 2
        return total

    norms = [
        math.sqrt(squared_norm(lambda at, e=e: D(at, e), x) + squared_norm(lambda at, x=x: D(x, at), e))
        for x, e in zip(real, sentence, strict=True)
    ]
    without, with_penalty = (
        discriminator_loss(discriminator, real, fake, sentence, LossOptions(matching_aware_penalty=k))
        for k in (0.0, 2e3)
    )
    assert float(with_penalty - without) == pytest.approx(2e3 * np.mean([n**6 for n in norms]), rel=1e-5)


def test_an_unknown_adversarial_loss_is_refused():
    with pytest.raises(UserError, match="adversarial 'lsgan': must be bce or hinge"):
        LossOptions(adversarial="lsgan")


@pytest.mark.parametrize("kl", ["mean", "sum"])
def test_kl_loss_equals_torch_and_is_zero_for_a_standard_normal_eq_13(kl):
    options = LossOptions(kl=kl)
    assert float(kl_loss(torch.zeros(2, 3), torch.zeros(2, 3), options)) == 0
    mean, logvar = torch.tensor([[0.5, -1.0], [0.1, 2.0]]), torch.tensor([[0.2, -0.3], [0.0, -1.0]])
    distribution = torch.distributions.Normal(mean, torch.exp(0.5 * logvar))
    divergence = torch.distributions.kl_divergence(distribution, torch.distributions.Normal(0.0, 1.0))
    expected = np.mean([float(divergence[b, 0] + divergence[b, 1]) for b in range(2)])
    assert float(kl_loss(mean, logvar, options)) == pytest.approx(expected if kl == "sum" else expected / 2, rel=1e-6)


def test_an_unknown_kl_reduction_is_refused():
    with pytest.raises(UserError, match="kl 'total': must be mean or sum"):
        LossOptions(kl="total")
