"""The model contract, generated from the registry."""

import ast
import importlib
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.models.loss_networks import LossContext, LossNetworks, perceptual_features
from dmgan.models.registry import MODELS, Entry, build_model
from dmgan.options import (
    CaptionerOptions,
    DamsmOptions,
    TrainingOptions,
)
from dmgan.storage.weights import load_weights, save_weights
from dmgan.text.captioner import Captioner, TrainedCaptioner
from dmgan.text.damsm import Damsm
from dmgan.text.encoders import build_image_encoder
from dmgan.training.gan_losses import adversarial_loss, discriminator_loss
from tests.conftest import ARCHITECTURE
from tests.models.small_models import EMBEDDING_DIM, WIDE, build, captions_of, inputs, retrieves, wrong_images
from tests.paths import ROOT

every_model = pytest.mark.parametrize("name", MODELS)


def loss_context(model: TextToImageGAN) -> LossContext:
    """Return tiny loss networks with random weights."""
    damsm_options = DamsmOptions(image_encoder="small", image_size=32, width=2, embedding_dim=EMBEDDING_DIM)
    options = CaptionerOptions(embedding_dim=5, hidden_dim=6)
    encoder = build_image_encoder("small", EMBEDDING_DIM, 2).eval().requires_grad_(False)
    captioner = Captioner(11, EMBEDDING_DIM, options).eval().requires_grad_(False)
    damsm = Damsm(None, encoder, None, damsm_options, {})
    networks = LossNetworks(damsm, perceptual_features("damsm", damsm, None), TrainedCaptioner(captioner, ""))
    return LossContext(TrainingOptions(perceptual="damsm"), networks, model.discriminators())


@every_model
@pytest.mark.parametrize("architecture", [ARCHITECTURE, WIDE], ids=["8-16-32", "16-32"])
def test_generated_images_and_attention_have_the_sizes_of_the_entry(name, architecture):
    model = build(name, architecture)
    out = model.generate(*inputs(model))
    assert isinstance(out, Generated)
    assert [tuple(image.shape) for image in out.images] == [(3, 3, size, size) for size in model.image_sizes]
    assert model.image_sizes[-1] == architecture.image_size and set(model.image_sizes) <= set(architecture.sizes)
    assert len(model.discriminators()) == len(model.image_sizes)
    maps = [] if not MODELS[name].reads_words else [(3, 7, size, size) for size in architecture.sizes[:-1]]
    assert [tuple(a.shape) for a in out.attention] == maps
    if not MODELS[name].has_augmentation:
        assert out.mean is None and out.logvar is None
    else:
        assert out.mean.shape == out.logvar.shape == (3, architecture.condition_dim)
    assert all(image.abs().max() <= 1 for image in out.images)
    assert all(gate.shape[::2] == (3, 7) for gate in out.gates)
    assert not model.gates_bounded or all(((gate > 0) & (gate < 1)).all() for gate in out.gates)
    assert bool(model.diagnostics(out)) == (not model.gates_bounded)


@every_model
def test_attention_sums_to_one_and_is_zero_on_padding(name):
    model = build(name)
    noise, sentence, words, mask, retrieved = inputs(model)
    for attention in model.generate(noise, sentence, words, mask, retrieved).attention:
        if model.attention_axis == "word":
            torch.testing.assert_close(attention.sum(dim=1), torch.ones_like(attention[:, 0]))
        else:
            assert model.attention_axis == "pixel"
            torch.testing.assert_close(attention.sum(dim=(2, 3)), (~mask).float())
        assert (
            attention.permute(0, 2, 3, 1)[mask[:, None, None, :].expand(attention.permute(0, 2, 3, 1).shape)] == 0
        ).all()


@every_model
def test_padding_words_do_not_change_the_images(name):
    model = build(name).eval()
    noise, sentence, words, mask, retrieved = inputs(model)
    other = torch.where(mask[:, None, :], torch.full_like(words, 9.0), words)
    padded = model(noise, sentence, other, mask, retrieved).images
    for ours, theirs in zip(model(noise, sentence, words, mask, retrieved).images, padded, strict=True):
        assert torch.equal(ours, theirs)


@every_model
def test_an_image_does_not_depend_on_its_batch(name):
    model = build(name).double().eval()
    *given, retrieved = inputs(model)
    noise, sentence, words, mask = (x.double() if x.is_floating_point() else x for x in given)
    retrieved = None if retrieved is None else retrieved.double()
    together = model(noise, sentence, words, mask, retrieved).images
    for i, length in enumerate((7, 4, 1)):
        own = None if retrieved is None else retrieved[i : i + 1]
        alone = model(
            noise[i : i + 1], sentence[i : i + 1], words[i : i + 1, :, :length], mask[i : i + 1, :length], own
        ).images
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[i : i + 1], theirs, rtol=1e-10, atol=1e-10)


def test_attndcgan_has_only_a_final_image_and_a_conditional_discriminator():
    model = build("attngan-dcgan")
    assert model.image_sizes == (32,) and build("attngan").image_sizes == build("dmgan").image_sizes == (8, 16, 32)
    heads = {key.split(".")[0] for key in model.state_dict() if key.startswith("img_net")}
    assert heads == {"img_net"}
    (discriminator,) = model.discriminators()
    assert not discriminator.has_unconditional_head and not hasattr(discriminator, "UNCOND_DNET")


@pytest.mark.parametrize("name", ["dmgan", "attngan", "attngan-dcgan"])
def test_every_refinement_stage_has_attention(name):
    assert len(build(name).generate(*inputs(build(name))).attention) == len(ARCHITECTURE.sizes) - 1


@pytest.mark.parametrize("name", ["dmgan", "attngan", "attngan-dcgan"])
def test_the_released_word_mask_depends_on_the_batch(name):
    """`released` reproduces the defect that `corrected` fixes."""
    model = build(name, word_mask="released").eval()
    noise, sentence, words, mask, retrieved = inputs(model)
    alone = model(noise[:1], sentence[:1], words[:1], mask[:1]).images[-1]
    assert (model(noise, sentence, words, mask, retrieved).images[-1][:1] - alone).abs().max() > 1e-3


def read_by_discriminators(name: str, sentence: torch.Tensor, generated: Generated) -> torch.Tensor:
    """Return what the model's discriminators read beside the images."""
    return sentence if MODELS[name].losses.condition == "sentence" else generated.mean


@torch.no_grad()
def perturb(network: torch.nn.Module) -> None:
    """Move every trained parameter, since a parameter that starts at zero stops gradients."""
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn_like(parameter))


@every_model
def test_the_generator_loss_has_a_gradient_in_every_parameter(name):
    model = build(name)
    noise, sentence, words, mask, retrieved = inputs(model)
    out = model.generate(noise, sentence, words, mask, retrieved)
    discriminators = model.discriminators()
    pairs = zip(discriminators, out.images, strict=True)
    condition = read_by_discriminators(name, sentence, out)
    loss = sum(adversarial_loss(d, image, condition, MODELS[name].losses) for d, image in pairs)
    loss.backward()
    without = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_model
def test_extra_losses_have_gradients_in_the_images_but_not_in_frozen_networks(name):
    model = build(name)
    noise, sentence, words, mask, retrieved = inputs(model)
    images = [torch.rand(3, 3, size, size) for size in model.image_sizes]
    out = model.generate(noise, sentence, words, mask, retrieved)
    context = loss_context(model)
    extra = model.extra_losses(out, images, captions_of(sentence, words, mask), context)
    assert bool(extra) == bool(MODELS[name].needs - {"features"})
    for loss in extra.values():
        gradients = torch.autograd.grad(loss, out.images, retain_graph=True, allow_unused=True)
        assert gradients[-1] is not None and all(g is None or g.isfinite().all() for g in gradients)
        assert gradients[-1].abs().sum() > 0
    networks = context.networks
    frozen = [networks.damsm.image_encoder, networks.perceptual.layers, networks.captioner.network]
    assert not any(p.requires_grad for network in frozen for p in network.parameters())


@every_model
def test_the_discriminator_loss_has_a_gradient_in_every_parameter(name):
    model = build(name)
    noise, sentence, words, mask, retrieved = inputs(model)
    generated = model.generate(noise, sentence, words, mask, retrieved)
    condition = read_by_discriminators(name, sentence, generated).detach()
    sides = zip(model.discriminators(), generated.images, wrong_images(model, MODELS[name].losses), strict=True)
    for discriminator, image, wrong in sides:
        perturb(discriminator)
        real, captions = torch.rand_like(image), captions_of(sentence, words, mask)
        losses = MODELS[name].losses
        loss = discriminator_loss(discriminator, real, image, condition, losses, wrong=wrong)
        extra = model.extra_discriminator_losses(discriminator, real, captions, captions, loss_context(model))
        sum(extra.values(), loss).backward()
        without = [k for k, p in discriminator.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0]
        assert without == []
    assert all(p.grad is None for p in model.parameters()), "the fakes must be detached"


@every_model
def test_saved_weights_load_into_a_new_model(name, tmp_path):
    model = build(name).eval()
    save_weights(model, tmp_path / "generator.safetensors")
    torch.manual_seed(5)
    other = build_model(name, ARCHITECTURE, EMBEDDING_DIM).eval()
    load_weights(other, tmp_path / "generator.safetensors", "")
    given = inputs(model)
    assert torch.equal(model(*given).images[-1], other(*given).images[-1])


@every_model
def test_the_registry_entry_agrees_with_the_model(name):
    model, entry = build(name), MODELS[name]
    assert entry.retrieves == retrieves(model)
    assert entry.stagewise == (type(model).begin_step is not TextToImageGAN.begin_step)
    assert entry.needs <= {"perceptual", "captioner", "features"}
    assert entry.ablation_of is None or entry.ablation_of in MODELS


@every_model
def test_no_model_imports_another(name):
    """The difference between two models is the difference between two files."""
    module = importlib.import_module(MODELS[name].target.split(":")[0])
    others = {entry.target.split(":")[0] for entry in MODELS.values()} - {module.__name__}
    tree = ast.parse(Path(module.__file__).read_text())
    assert not imported_modules(tree) & others


@every_model
def test_a_model_file_imports_only_what_it_may(name):
    """As baselines/README.md lists it."""
    module = importlib.import_module(MODELS[name].target.split(":")[0])
    tree = ast.parse(Path(module.__file__).read_text())
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    project = {f"dmgan.{part}" for part in ("errors", "options")}
    project |= {f"dmgan.models.{part}" for part in ("blocks", "discriminators", "interface", "vgg")}
    assert {each for each in found if each.split(".")[0] not in {"torch"} | sys.stdlib_module_names} <= project


def imported_modules(tree: ast.AST) -> set[str]:
    """Return every module that a source may import: `from a import b` names a and a.b."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("line", ["import a.b", "import a.b as c", "from a import b", "from a.b import c"])
def test_every_form_of_import_is_found(line):
    assert "a.b" in imported_modules(ast.parse(line))


def test_the_page_of_the_models_names_every_field_of_an_entry():
    text = (ROOT / "baselines" / "README.md").read_text(encoding="utf-8")
    table = text.split("## What a model file may import")[1].split("\n## ")[0]
    rows = {name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    assert {field.name for field in fields(Entry)} <= rows
