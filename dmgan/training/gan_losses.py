"""Losses that all models share: adversarial, conditioning augmentation and DAMSM."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.options import LossOptions


def _bce(logits: Tensor, real: bool) -> Tensor:
    """Mean binary cross entropy of logits against all-real or all-fake."""
    return F.softplus(-logits if real else logits).mean()


def _judged(logits: Tensor, real: bool, switches: LossOptions) -> Tensor:
    """How far a discriminator's logits are from all-real or all-fake; hinge: DF-GAN, Eq. 1."""
    if switches.adversarial == "hinge":
        return F.relu(1 - logits if real else 1 + logits).mean()
    return _bce(logits, real)


# DF-GAN Eq. 1, its penalty: ||(grad_x D(x, e), grad_e D(x, e))||^6, p = 6, before its weight k
def matching_aware_penalty(logits: Tensor, real: Tensor, sentence: Tensor) -> Tensor:
    """Mean over matching pairs of the discriminator's gradient norm to the sixth power.

    logits (B,) of real (B, 3, s, s) with sentence (B, E), both of which require a gradient. It is of each pair alone
    only where the discriminator has no batch normalisation.
    """
    gradients = torch.autograd.grad(logits.sum(), (real, sentence), create_graph=True)
    return sum(each.flatten(1).square().sum(dim=1) for each in gradients).pow(3).mean()


# MDSP Eq. 4, its R1 (Mescheder et al. 2018): gamma / 2 E ||grad_x D(x)||^2 at real images, D before its sigmoid
def r1_penalty(logits: Tensor, real: Tensor, gamma: float) -> Tensor:
    """Half of gamma times the mean squared gradient norm of logits (B,), a sum over heads, at real (B, 3, s, s).

    It is of each image alone only where the discriminator has no batch normalisation.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gamma / 2 * gradient.flatten(1).square().sum(dim=1).mean()


# DM-GAN Eq. 12, MDSP Eq. 3 and 4; with mismatched captions the released DM-GAN and AttnGAN
def discriminator_loss(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    sentence: Tensor,
    switches: LossOptions,
    batch_size: int | None = None,
    r1_gamma: float = 10.0,
) -> Tensor:
    """Loss of one discriminator on real and detached fake images (B, 3, s, s) and sentences (B, E).

    With mismatched captions the mean of the terms that should be real plus the mean of those that should be fake,
    without them half the sum of all. The terms of images alone are left out where the discriminator does not judge
    them: real pair + (fake pair + mismatched pair) / 2, as released AttnDCGAN has it, or (real pair + fake pair) / 2,
    Eq. 12 without its unconditional terms. A mismatched pair is image k with sentence k + 1 of the batch,
    k = 0 ... B - 2; where its image alone counts as real too, the loss is the sum of all six terms (StackGAN++).

    Where the images are consecutive rows of a batch of `batch_size`, `sentence` has the next row's as well unless they
    end the batch; the losses of the parts, each times its share of the batch's images, then add up to the batch's.

    With `r1` the loss has R1 of the sum of the logits that a real image gets, its own sentence given.
    """
    following, sentence = sentence[1:], sentence[: len(real)]
    if switches.matching_aware_penalty:
        real, sentence = real.detach().requires_grad_(), sentence.detach().requires_grad_()
    if switches.r1:
        real = real.detach().requires_grad_()
    real_features = discriminator.features(real)
    fake_features = discriminator.features(fake.detach())
    shifted_features = real_features[: len(following)]
    # The mean over mismatched pairs is over one image less than the other means, in the batch though not in its parts.
    shifted_share = 1 if batch_size is None else len(following) / (batch_size - 1) * batch_size / len(real)

    def shifted(logits: Tensor, real: bool) -> Tensor:
        return _judged(logits, real, switches) * shifted_share

    real_pair = discriminator.conditional(real_features, sentence)
    real_logits, real_terms = real_pair, [_judged(real_pair, True, switches)]
    fake_terms = [_judged(discriminator.conditional(fake_features, sentence), False, switches)]
    if switches.mismatched_captions:
        fake_terms.append(shifted(discriminator.conditional(shifted_features, following), False))
    if discriminator.judges_alone:
        real_alone = discriminator.unconditional(real_features)
        real_logits = real_logits + real_alone
        real_terms.insert(0, _judged(real_alone, True, switches))
        fake_terms.insert(0, _judged(discriminator.unconditional(fake_features), False, switches))
    if switches.mismatched_images_real:
        real_terms.append(shifted(discriminator.unconditional(shifted_features), True))
        loss = sum(real_terms + fake_terms)
    elif switches.mismatched_captions:
        loss = sum(real_terms) / len(real_terms) + sum(fake_terms) / len(fake_terms)
    else:
        loss = sum(real_terms + fake_terms) / 2
    if switches.matching_aware_penalty:
        loss = loss + switches.matching_aware_penalty * matching_aware_penalty(real_pair, real, sentence)
    if switches.r1:
        loss = loss + r1_penalty(real_logits, real, r1_gamma)
    return loss


def _persuaded(logits: Tensor, switches: LossOptions) -> Tensor:
    """How far a discriminator is from taking the generator's images for real; hinge: -E D (DF-GAN, Eq. 1)."""
    return -logits.mean() if switches.adversarial == "hinge" else _bce(logits, real=True)


# DM-GAN Eq. 11; without its factor 1/2 the released DM-GAN and AttnGAN
def adversarial_loss(discriminator: nn.Module, fake: Tensor, sentence: Tensor, switches: LossOptions) -> Tensor:
    """What one discriminator tells the generator about its images (B, 3, s, s), alone where it judges them so."""
    features = discriminator.features(fake)
    loss = _persuaded(discriminator.conditional(features, sentence), switches)
    if discriminator.judges_alone:
        loss = _persuaded(discriminator.unconditional(features), switches) + loss
    return loss / 2 if switches.half_adversarial else loss


# DM-GAN Eq. 13: KL(N(mean, variance) || N(0, I)), a sum over dimensions; the release takes their mean
def kl_loss(mean: Tensor, logvar: Tensor, switches: LossOptions) -> Tensor:
    """KL divergence of the condition (B, C) from the standard normal, mean over the batch."""
    divergence = -0.5 * (1 + logvar - mean.square() - logvar.exp())  # (B, C)
    return divergence.sum(dim=1).mean() if switches.kl == "sum" else divergence.mean()
