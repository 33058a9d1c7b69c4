"""Discriminators whose spectral norms are computed together have the values and gradients of the plain ones."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from dmgan.models.discriminators import Discriminator, LogitHead
from dmgan.models.fused_discriminator import DotProductHead, FusedDiscriminator, fuse_discriminator
from dmgan.models.initialisation import initialise
from dmgan.options import LossOptions
from dmgan.training.gan_losses import adversarial_loss, discriminator_logits, discriminator_loss

EMBEDDING_DIM = 5
RELEASE = LossOptions()
LOSSES = {
    "release": RELEASE,
    "paper": dataclasses.replace(RELEASE, mismatched_captions=False),
    "all terms": dataclasses.replace(RELEASE, mismatched_images_real=True),
    "hinge": dataclasses.replace(RELEASE, adversarial="hinge"),
}


def discriminator_of(size: int, **options) -> Discriminator:
    """Return a float64 discriminator with biases and norms that matter."""
    torch.manual_seed(0)
    made = Discriminator(size, 3, EMBEDDING_DIM, **({"normalisation": "spectral"} | options))
    initialise(made)
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, 0, 0.3)
        if name.endswith("weight_bar"):
            parameter.data *= 1 + torch.rand(())
    return made.double().train()


def images_of(size: int, count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)).double() * 2 - 1


def sentences_of(count: int) -> torch.Tensor:
    return torch.randn(count, EMBEDDING_DIM, generator=torch.Generator().manual_seed(3)).double()


def assert_equal_updates(plain: nn.Module, fused: nn.Module, size: int, losses: LossOptions, layout, rows=4):
    """Compare the losses and gradients of two discriminator updates and of a generator update, and u and v."""
    assert list(fused.state_dict()) == list(plain.state_dict())
    real, fake, sentences = images_of(size, rows, 1), images_of(size, rows, 2), sentences_of(rows)
    found = []
    for network in (plain, fused):
        network.to(memory_format=layout)
        given = [each.to(memory_format=layout) for each in (real, fake)]
        values = []
        for _ in range(2):
            loss = discriminator_loss(network, *given, sentences, losses)
            trained = {name: each for name, each in network.named_parameters() if each.requires_grad}
            gradients = torch.autograd.grad(loss, list(trained.values()))
            values.append((loss, dict(zip(trained, gradients, strict=True))))
        for parameter in trained.values():
            parameter.requires_grad_(False)
        x = given[1].clone().requires_grad_()
        loss = adversarial_loss(network, x, sentences, losses)
        values.append((loss, torch.autograd.grad(loss, x)[0]))
        found.append(values)
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(dict(fused.state_dict()), dict(plain.state_dict()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("losses", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("size", [32, 128])
def test_updates_equal_those_of_the_plain_discriminator(size, losses, layout):
    plain = discriminator_of(size)
    fused = fuse_discriminator(copy.deepcopy(plain), second_derivatives=False)
    assert type(fused) is FusedDiscriminator
    assert_equal_updates(plain, fused, size, losses, layout)


@pytest.mark.parametrize("mode", ["evaluation", "no unconditional head"])
def test_other_modes_equal_the_plain_discriminator(mode):
    plain = discriminator_of(32, unconditional=mode == "evaluation").train(mode != "evaluation")
    fused = fuse_discriminator(copy.deepcopy(plain), second_derivatives=False)
    assert_equal_updates(plain, fused, 32, RELEASE, torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_about_as_close_to_float64_as_in_the_plain_discriminator(dtype):
    """A rounded activation can change its sign, so that only the mean over several batches is compared."""
    distances = torch.zeros(6, 2)
    for seed, row in enumerate(distances):
        exact = discriminator_of(32)
        plain = copy.deepcopy(exact).float()
        fused = fuse_discriminator(copy.deepcopy(plain), second_derivatives=False)
        given = images_of(32, 8, seed), images_of(32, 8, seed + 100), sentences_of(8)
        discriminator_loss(exact, *given, RELEASE).backward()
        for column, network in enumerate((plain, fused)):
            with torch.autocast("cpu", dtype):
                loss = discriminator_loss(network, *[each.float() for each in given], RELEASE)
            (loss * 1024).backward()  # float16 needs a scale
            expected, found = (
                torch.cat([each.grad.double().flatten() for each in part.parameters() if each.requires_grad])
                for part in (exact, network)
            )
            row[column] = (found / 1024 - expected).norm() / expected.norm()
    plain_distance, fused_distance = distances.mean(dim=0)
    assert fused_distance < 1.6 * plain_distance < 0.05


def test_every_pass_of_a_layer_is_one_power_iteration():
    """The release iterates in every call: twice for the trunk and three times for the conditional head."""
    plain = discriminator_of(32)
    fused = fuse_discriminator(copy.deepcopy(plain), second_derivatives=False)
    discriminator_loss(fused, images_of(32, 4, 1), images_of(32, 4, 2), sentences_of(4), RELEASE)
    for layer, passes in ((plain.img_code_s16[0], 2), (plain.COND_DNET.jointConv[0], 3)):
        for _ in range(passes):
            layer.normalised_weight()
    for name in ("img_code_s16.0.module.weight_u", "COND_DNET.jointConv.0.module.weight_v"):
        torch.testing.assert_close(fused.state_dict()[name], plain.state_dict()[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_separate_passes_equal_those_of_the_plain_discriminator(layout):
    plain = discriminator_of(64)
    fused = fuse_discriminator(copy.deepcopy(plain), second_derivatives=False)
    found = []
    for network in (plain, fused):
        network.to(memory_format=layout)
        images = [images_of(64, 3, seed).to(memory_format=layout).requires_grad_() for seed in (1, 2)]
        sentence = sentences_of(3).requires_grad_()
        logits = discriminator_logits(network, *images, sentence, sentence[1:], LOSSES["all terms"])
        logits = [each for each in logits if each is not None]
        trained = [each for each in network.parameters() if each.requires_grad]
        wanted = [images[0], sentence, *trained]
        found.append((logits, torch.autograd.grad(sum(each.square().sum() for each in logits), wanted)))
    assert len(found[0][0]) == 6
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(dict(fused.state_dict()), dict(plain.state_dict()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("normalisation", "second"), [("batch", False), ("spectral", True)])
def test_other_discriminators_keep_their_passes(normalisation, second):
    plain = discriminator_of(32, normalisation=normalisation)
    fused = fuse_discriminator(copy.deepcopy(plain), second_derivatives=second)
    assert type(fused) is Discriminator and type(fused.COND_DNET) is DotProductHead
    assert_equal_updates(plain, fused, 32, RELEASE, torch.channels_last)


def test_penalties_have_second_derivatives():
    losses = dataclasses.replace(RELEASE, r1=True)
    plain = discriminator_of(32)
    fused = fuse_discriminator(copy.deepcopy(plain), second_derivatives=True)
    assert_equal_updates(plain, fused, 32, losses, torch.contiguous_format)


@pytest.mark.parametrize("side", [4, 8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_logit_is_a_dot_product_with_the_whole_map(side, layout):
    torch.manual_seed(0)
    plain = LogitHead(6, 0, "batch").double()
    x = torch.randn(3, 6, side, side).double().to(memory_format=layout)
    fused = fuse_discriminator(nn.ModuleDict({"head": copy.deepcopy(plain)}), second_derivatives=False)
    torch.testing.assert_close(fused["head"](x), plain(x), rtol=1e-12, atol=1e-12)
