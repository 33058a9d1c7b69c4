"""Losses that all models share: adversarial losses and the KL loss of conditioning augmentation."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.models.fused_discriminator import FusedDiscriminator
from dmgan.options import WRONG_IMAGES, LossOptions


def _bce(logits: Tensor, real: bool) -> Tensor:
    """Return the mean binary cross entropy of logits with target 1 (real) or 0."""
    return F.softplus(-logits if real else logits).mean()


def _target_loss(logits: Tensor, real: bool, losses: LossOptions) -> Tensor:
    """Return a discriminator's loss for logits with target real or fake: BCE, or the hinge loss of DF-GAN Eq. 1."""
    if losses.adversarial == "hinge":
        return F.relu(1 - logits if real else 1 + logits).mean()
    return _bce(logits, real)


# DF-GAN Eq. 1, its penalty: ||(grad_x D(x, e), grad_e D(x, e))||^6, p = 6, before its weight k
def matching_aware_penalty(logits: Tensor, real: Tensor, sentence: Tensor) -> Tensor:
    """Return the sixth power of the discriminator's gradient norm, as a mean over matching pairs.

    logits (B,) of real (B, 3, s, s) with sentence (B, E); `real` and `sentence` must require a gradient. The
    discriminator must not have batch normalisation, which would mix the gradients of different pairs.
    """
    gradients = torch.autograd.grad(logits.sum(), (real, sentence), create_graph=True)
    return sum(each.flatten(1).square().sum(dim=1) for each in gradients).pow(3).mean()


# MDSP Eq. 4, its R1 (Mescheder et al. 2018): gamma / 2 E ||grad_x D(x)||^2 at real images, D before its sigmoid
def r1_penalty(logits: Tensor, real: Tensor, gamma: float) -> Tensor:
    """Return gamma / 2 times the mean squared gradient norm of logits (B,), summed over heads, at real (B, 3, s, s).

    The discriminator must not have batch normalisation, which would mix the gradients of different images.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return gamma / 2 * gradient.flatten(1).square().sum(dim=1).mean()


class DiscriminatorLogits(NamedTuple):
    """Logits of one discriminator for n real and n generated images."""

    real_pair: Tensor  # (n,) real images with their sentences
    fake_pair: Tensor  # (n,) generated images with their sentences
    mismatched_pair: Tensor | None  # (n or n - 1,) images with sentences of others, by LossOptions.mismatched_pairs
    real: Tensor | None  # (n,) real images without sentences; None: no unconditional head
    fake: Tensor | None  # (n,) generated images without sentences
    mismatched: Tensor | None  # (n or n - 1,) images of the mismatched pairs without sentences


def discriminator_logits(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    own: Tensor,
    other: Tensor,
    losses: LossOptions,
    wrong: Tensor | None = None,
) -> DiscriminatorLogits:
    """Return a discriminator's logits for real and detached generated images (n, 3, s, s).

    own (n, E): the images' sentences; other (n or n - 1, E): the sentence of every mismatched pair. wrong (n, 3, s, s):
    the images of the mismatched pairs; None: the real images.
    """
    real_features = discriminator.features(real)
    fake_features = discriminator.features(fake.detach())
    mismatched_features = real_features[: len(other)] if wrong is None else discriminator.features(wrong)
    real_pair = discriminator.conditional(real_features, own)
    fake_pair = discriminator.conditional(fake_features, own)
    mismatched_pair = None
    if losses.mismatched_captions:
        mismatched_pair = discriminator.conditional(mismatched_features, other)
    if not discriminator.has_unconditional_head:
        return DiscriminatorLogits(real_pair, fake_pair, mismatched_pair, None, None, None)
    real_alone, fake_alone = discriminator.unconditional(real_features), discriminator.unconditional(fake_features)
    mismatched = discriminator.unconditional(mismatched_features) if losses.mismatched_images_real else None
    return DiscriminatorLogits(real_pair, fake_pair, mismatched_pair, real_alone, fake_alone, mismatched)


def pair_sentences(sentences: Tensor, rows: slice, losses: LossOptions) -> Tensor:
    """Return the sentences that `discriminator_loss` reads for consecutive rows of a batch's sentences (B, E)."""
    if losses.mismatched_pairs == "next":
        return sentences[rows.start : rows.stop + 1]
    if losses.mismatched_pairs == "wrapped":
        return torch.cat([sentences[rows], sentences[rows.start - 1].unsqueeze(0)])
    return sentences[rows]


def mismatched_sentences(sentences: Tensor, images: int, losses: LossOptions, wrong: Tensor | None) -> Tensor:
    """Return the sentence of every mismatched pair (n or n - 1, E), from the sentences of `pair_sentences`."""
    if losses.mismatched_pairs in WRONG_IMAGES:
        if wrong is None:
            raise ValueError(f"mismatched_pairs {losses.mismatched_pairs} needs wrong images, but they are None")
        return sentences
    if losses.mismatched_pairs == "wrapped":
        return sentences.roll(1, dims=0)[:images]
    return sentences[1:]


def mismatched_weight(pairs: int, images: int, batch_size: int | None) -> float:
    """Return the weight of the mean over mismatched pairs of a micro-batch, relative to its other loss terms.

    A batch of B images has B - 1 mismatched pairs. The loss of a micro-batch of n images is multiplied by n / B, but
    its mean over pairs must be multiplied by pairs / (B - 1). batch_size None: the images are the whole batch.
    """
    return 1 if batch_size is None else pairs / (batch_size - 1) * batch_size / images


def _terms(logits: DiscriminatorLogits, losses: LossOptions, mismatched: float) -> tuple[list[Tensor], list[Tensor]]:
    """Return the loss terms with target real and with target fake; mismatched: weight of mismatched pairs."""
    real = [_target_loss(each, True, losses) for each in (logits.real, logits.real_pair) if each is not None]
    fake = [_target_loss(each, False, losses) for each in (logits.fake, logits.fake_pair) if each is not None]
    if logits.mismatched_pair is not None:
        fake.append(_target_loss(logits.mismatched_pair, False, losses) * mismatched)
    if logits.mismatched is not None:
        real.append(_target_loss(logits.mismatched, True, losses) * mismatched)
    return real, fake


def _combined(real: list[Tensor], fake: list[Tensor], losses: LossOptions) -> Tensor:
    """Combine the terms: sum (StackGAN++), mean of real plus mean of fake terms (release), or half the sum (Eq. 12)."""
    if losses.mismatched_images_real:
        return sum(real + fake)
    if losses.mismatched_captions:
        return sum(real) / len(real) + sum(fake) / len(fake)
    return sum(real + fake) / 2


@cache
def _by_row(values: tuple[tuple[int, float], ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a constant vector of numbers of rows and their value; made once, so that no step copies from the host."""
    return torch.cat([torch.full((rows,), value, device=device, dtype=dtype) for rows, value in values])


def _weighted_sum(logits: list[Tensor], targets: list[tuple[int, bool, float]], losses: LossOptions) -> Tensor:
    """Return the sum of the rows' losses times their weights; targets: rows, whether real, weight of each row."""
    flat = torch.cat(logits) if len(logits) > 1 else logits[0]
    signs = _by_row(tuple((rows, -1.0 if real else 1.0) for rows, real, _ in targets), flat.device, flat.dtype)
    weights = _by_row(tuple((rows, weight) for rows, _, weight in targets), flat.device, flat.dtype)
    with torch.autocast(flat.device.type, enabled=False):
        signed = signs * flat
        return torch.dot(F.relu(1 + signed) if losses.adversarial == "hinge" else F.softplus(signed), weights)


def _fused_discriminator_loss(
    discriminator: FusedDiscriminator, real: Tensor, fake: Tensor, own: Tensor, following: Tensor, losses: LossOptions,
    mismatched: float,
) -> Tensor:  # fmt: skip
    """Return the loss of `_combined` terms; every layer makes as many power iterations as in the plain passes."""
    sentences = [own, own, following] if losses.mismatched_captions else [own, own]
    pairs, alone = discriminator.logits([real, fake.detach()], sentences)
    heads, rows, shorter = 1 if alone is None else 2, len(real), len(following)
    of_real, of_fake = 0.5, 0.5  # weights of a term with target real or fake
    if losses.mismatched_images_real:
        of_real = of_fake = 1.0
    elif losses.mismatched_captions:
        of_real, of_fake = 1 / heads, 1 / (heads + 1)
    targets = [(rows, True, of_real / rows), (rows, False, of_fake / rows)]
    if losses.mismatched_captions:
        targets.append((shorter, False, of_fake * mismatched / shorter))
    if alone is None:
        return _weighted_sum([pairs], targets, losses)
    # The unconditional head has no power iteration: a mismatched pair's image has the logit of the real image.
    again = of_real * mismatched / shorter if losses.mismatched_images_real else 0.0
    targets += [(shorter, True, of_real / rows + again), (rows - shorter, True, of_real / rows)]
    return _weighted_sum([pairs, alone], [*targets, (rows, False, of_fake / rows)], losses)


# DM-GAN Eq. 12, MDSP Eq. 3 and 4; with mismatched captions the released DM-GAN and AttnGAN
def discriminator_loss(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    sentences: Tensor,
    losses: LossOptions,
    batch_size: int | None = None,
    r1_gamma: float = 10.0,
    wrong: Tensor | None = None,
) -> Tensor:
    """Return the loss of one discriminator on real and detached generated images (n, 3, s, s).

    sentences: (n, E) of a whole batch. For a micro-batch of a batch of `batch_size` images, `pair_sentences` returns
    them, with one row more if a mismatched pair needs the sentence of the next or previous row. wrong (n, 3, s, s):
    images drawn for the mismatched pairs, if losses.mismatched_pairs draws them. The losses of all micro-batches,
    multiplied by their shares of the images, sum to the batch's loss. Without an unconditional head, the loss has only
    terms of pairs, as in the released AttnDCGAN. With `losses.r1`, the R1 penalty reads the sum of a real image's
    logits.
    """
    own, other = sentences[: len(real)], mismatched_sentences(sentences, len(real), losses, wrong)
    weight = mismatched_weight(len(other), len(real), batch_size) if losses.mismatched_pairs == "next" else 1
    if isinstance(discriminator, FusedDiscriminator) and wrong is None:
        return _fused_discriminator_loss(discriminator, real, fake, own, other, losses, weight)
    if losses.matching_aware_penalty:
        real, own = real.detach().requires_grad_(), own.detach().requires_grad_()
    if losses.r1:
        real = real.detach().requires_grad_()
    logits = discriminator_logits(discriminator, real, fake, own, other, losses, wrong)
    loss = _combined(*_terms(logits, losses, weight), losses)
    if losses.matching_aware_penalty:
        loss = loss + losses.matching_aware_penalty * matching_aware_penalty(logits.real_pair, real, own)
    if losses.r1:
        real_logits = logits.real_pair if logits.real is None else logits.real_pair + logits.real
        loss = loss + r1_penalty(real_logits, real, r1_gamma)
    return loss


def _generator_term(logits: Tensor, losses: LossOptions) -> Tensor:
    """Return the generator's adversarial term: BCE with target 1, or -mean(logits) for hinge (DF-GAN Eq. 1)."""
    return -logits.mean() if losses.adversarial == "hinge" else _bce(logits, real=True)


def _fused_adversarial_loss(
    discriminator: FusedDiscriminator, fake: Tensor, sentence: Tensor, losses: LossOptions
) -> Tensor:
    """Return the sum of the generator's terms of both heads."""
    pairs, alone = discriminator.logits([fake], [sentence])
    logits = [pairs] if alone is None else [pairs, alone]
    if losses.adversarial == "hinge":
        return sum(_generator_term(each, losses) for each in logits)
    rows = len(logits) * len(fake)
    return _weighted_sum(logits, [(rows, True, 1 / len(fake))], losses)


# DM-GAN Eq. 11; without its factor 1/2 the released DM-GAN and AttnGAN
def adversarial_loss(discriminator: nn.Module, fake: Tensor, sentence: Tensor, losses: LossOptions) -> Tensor:
    """Return the generator's adversarial loss from one discriminator, for images (B, 3, s, s), sentences (B, E)."""
    if isinstance(discriminator, FusedDiscriminator):
        loss = _fused_adversarial_loss(discriminator, fake, sentence, losses)
    else:
        features = discriminator.features(fake)
        loss = _generator_term(discriminator.conditional(features, sentence), losses)
        if discriminator.has_unconditional_head:
            loss = _generator_term(discriminator.unconditional(features), losses) + loss
    return loss / 2 if losses.half_adversarial else loss


# DM-GAN Eq. 13: KL(N(mean, variance) || N(0, I)), a sum over dimensions; the release takes their mean
def kl_loss(mean: Tensor, logvar: Tensor, losses: LossOptions) -> Tensor:
    """Return the KL divergence of the condition (B, C) from the standard normal, as a mean over the batch."""
    divergence = -0.5 * (1 + logvar - mean.square() - logvar.exp())  # (B, C)
    return divergence.sum(dim=1).mean() if losses.kl == "sum" else divergence.mean()
