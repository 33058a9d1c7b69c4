"""The model contract, generated from the registry."""

import ast
import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dmgan.models.initialisation import initialise
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.models.loss_networks import LossContext, LossNetworks, perceptual_features
from dmgan.models.registry import MODELS, build_model
from dmgan.models.vgg import small
from dmgan.options import (
    ArchitectureOptions,
    CaptionerOptions,
    DamsmOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.storage.weights import load_weights, save_weights
from dmgan.text.captioner import Captioner, TrainedCaptioner
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.text.encoders import build_image_encoder
from dmgan.training.gan_losses import adversarial_loss, discriminator_loss
from dmgan.training.train import TrainingInputs, train
from tests.conftest import ARCHITECTURE, CPU, TRAINING

EMBEDDING_DIM = 12
SMALL = ArchitectureOptions(
    base_size=8, stages=3, generator_width=4, discriminator_width=2, noise_dim=6, condition_dim=5, residual_blocks=1,
    feature_network="small",
)  # fmt: skip
WIDE = ArchitectureOptions(
    base_size=16, stages=2, generator_width=6, discriminator_width=3, noise_dim=4, condition_dim=3, residual_blocks=2,
    feature_network="small",
)  # fmt: skip
every_model = pytest.mark.parametrize("name", MODELS)


def build(name: str, architecture=SMALL, **switches) -> TextToImageGAN:
    torch.manual_seed(0)
    model = build_model(name, architecture, EMBEDDING_DIM, **switches)
    initialise(model)
    return model


def loss_context(model: TextToImageGAN) -> LossContext:
    """Tiny networks for the losses that read some, with random weights."""
    damsm_options = DamsmOptions(image_encoder="small", image_size=32, width=2, embedding_dim=EMBEDDING_DIM)
    options = CaptionerOptions(embedding_dim=5, hidden_dim=6)
    encoder = build_image_encoder("small", EMBEDDING_DIM, 2).eval().requires_grad_(False)
    captioner = Captioner(11, EMBEDDING_DIM, options).eval().requires_grad_(False)
    damsm = Damsm(None, encoder, None, damsm_options, {})
    networks = LossNetworks(damsm, perceptual_features("damsm", damsm, None), TrainedCaptioner(captioner, ""))
    return LossContext(TrainingOptions(perceptual="damsm"), networks, model.discriminators())


def retrieves(model: TextToImageGAN) -> bool:
    """Whether a built model reads retrieved features: it refuses to generate without them."""
    return getattr(model, "first_stage", "none") != "none" or getattr(model, "later_stages", "none") != "none"


def captions_of(sentence, words, mask) -> EncodedCaptions:
    """What the losses read of the same captions."""
    tokens = torch.arange(mask.numel()).view(mask.shape) % 11
    return EncodedCaptions(sentence, words, mask, (~mask).sum(dim=1), tokens)


def inputs(model: TextToImageGAN, lengths=(7, 4, 1)):
    generator = torch.Generator().manual_seed(1)
    batch, longest = len(lengths), max(lengths)
    mask = torch.arange(longest)[None, :] >= torch.tensor(lengths)[:, None]
    words = torch.randn(batch, EMBEDDING_DIM, longest, generator=generator) * ~mask[:, None, :]
    noise = torch.randn(batch, model.noise_dim, generator=generator)
    sentence = torch.randn(batch, EMBEDDING_DIM, generator=generator)
    images = torch.rand(batch, 3, model.image_sizes[-1], model.image_sizes[-1], generator=generator)
    memory = small()(images) if retrieves(model) else None
    return noise, sentence, words, mask, memory


@every_model
@pytest.mark.parametrize("architecture", [SMALL, WIDE], ids=["8-16-32", "16-32"])
def test_shapes(name, architecture):
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


def test_gan_int_cls_begins_with_dcgans_weights(data, damsm_folder, tmp_path):
    """N(0, 0.02) and no biases, in the generator and in its discriminator; the others begin orthogonal."""
    still = replace(TRAINING, epochs=1, generator_lr=1e-12, discriminator_lr=1e-12)
    train("gan-int-cls", TrainingInputs(data, damsm_folder), tmp_path, TrainingSettings(ARCHITECTURE, still), 0, CPU)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    for network in ("model", "discriminators"):
        tensors = [each for each in checkpoint[network].values() if each.dim() >= 2]
        values = torch.cat([each.flatten() for each in tensors])
        assert float(values.std()) == pytest.approx(0.02, rel=0.05) and abs(float(values.mean())) < 0.002, network
    assert float(checkpoint["model"]["to_image.bias"].abs().max()) < 1e-6
    head = build("attngan").img_net1.img[0].weight.flatten(1)
    torch.testing.assert_close(head @ head.t(), torch.eye(3))


@every_model
def test_attention_sums_to_one_and_leaves_padding_out(name):
    model = build(name)
    noise, sentence, words, mask, memory = inputs(model)
    for attention in model.generate(noise, sentence, words, mask, memory).attention:
        if model.attention_axis == "word":
            torch.testing.assert_close(attention.sum(dim=1), torch.ones_like(attention[:, 0]))
        else:
            assert model.attention_axis == "pixel"
            torch.testing.assert_close(attention.sum(dim=(2, 3)), (~mask).float())
        assert (
            attention.permute(0, 2, 3, 1)[mask[:, None, None, :].expand(attention.permute(0, 2, 3, 1).shape)] == 0
        ).all()


@every_model
def test_padding_words_change_nothing(name):
    model = build(name).eval()
    noise, sentence, words, mask, memory = inputs(model)
    other = torch.where(mask[:, None, :], torch.full_like(words, 9.0), words)
    padded = model(noise, sentence, other, mask, memory).images
    for ours, theirs in zip(model(noise, sentence, words, mask, memory).images, padded, strict=True):
        assert torch.equal(ours, theirs)


@every_model
def test_an_image_does_not_depend_on_its_batch_mates(name):
    model = build(name).double().eval()
    *given, memory = inputs(model)
    noise, sentence, words, mask = (each.double() if each.is_floating_point() else each for each in given)
    memory = None if memory is None else memory.double()
    together = model(noise, sentence, words, mask, memory).images
    for i, length in enumerate((7, 4, 1)):
        own = None if memory is None else memory[i : i + 1]
        alone = model(
            noise[i : i + 1], sentence[i : i + 1], words[i : i + 1, :, :length], mask[i : i + 1, :length], own
        ).images
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[i : i + 1], theirs, rtol=1e-10, atol=1e-10)


def test_attndcgan_makes_the_last_image_alone_and_judges_it_with_its_sentence():
    model = build("attngan-dcgan")
    assert model.image_sizes == (32,) and build("attngan").image_sizes == build("dmgan").image_sizes == (8, 16, 32)
    heads = {key.split(".")[0] for key in model.state_dict() if key.startswith("img_net")}
    assert heads == {"img_net"}
    (discriminator,) = model.discriminators()
    assert not discriminator.has_unconditional_head and not hasattr(discriminator, "UNCOND_DNET")


@pytest.mark.parametrize("name", ["dmgan", "attngan", "attngan-dcgan"])
def test_attention_is_there(name):
    assert len(build(name).generate(*inputs(build(name))).attention) == len(SMALL.sizes) - 1


@pytest.mark.parametrize("name", ["dmgan", "attngan", "attngan-dcgan"])
def test_the_released_mask_does_depend_on_them(name):
    """The defect that `corrected` fixes is really there under `released`."""
    model = build(name, word_mask="released").eval()
    noise, sentence, words, mask, memory = inputs(model)
    alone = model(noise[:1], sentence[:1], words[:1], mask[:1]).images[-1]
    assert (model(noise, sentence, words, mask, memory).images[-1][:1] - alone).abs().max() > 1e-3


@every_model
def test_the_generator_s_gradient_reaches_every_parameter(name):
    model = build(name)
    noise, sentence, words, mask, memory = inputs(model)
    out = model.generate(noise, sentence, words, mask, memory)
    discriminators = model.discriminators()
    pairs = zip(discriminators, out.images, strict=True)
    loss = sum(adversarial_loss(d, image, sentence, MODELS[name].losses) for d, image in pairs)
    loss.backward()
    without = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@every_model
def test_extra_losses_reach_the_generator_and_nothing_frozen(name):
    model = build(name)
    noise, sentence, words, mask, memory = inputs(model)
    images = [torch.rand(3, 3, size, size) for size in model.image_sizes]
    out = model.generate(noise, sentence, words, mask, memory)
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
def test_the_discriminators_gradient_reaches_every_parameter(name):
    model = build(name)
    noise, sentence, words, mask, memory = inputs(model)
    images = model.generate(noise, sentence, words, mask, memory).images
    for discriminator, image in zip(model.discriminators(), images, strict=True):
        real, captions = torch.rand_like(image), captions_of(sentence, words, mask)
        loss = discriminator_loss(discriminator, real, image, sentence, MODELS[name].losses)
        extra = model.extra_discriminator_losses(discriminator, real, captions, loss_context(model))
        sum(extra.values(), loss).backward()
        without = [k for k, p in discriminator.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0]
        assert without == []
    assert all(p.grad is None for p in model.parameters()), "the fakes must be detached"


@every_model
def test_weights_round_trip(name, tmp_path):
    model = build(name).eval()
    save_weights(model, tmp_path / "generator.safetensors")
    torch.manual_seed(5)
    other = build_model(name, SMALL, EMBEDDING_DIM).eval()
    load_weights(other, tmp_path / "generator.safetensors", "")
    given = inputs(model)
    assert torch.equal(model(*given).images[-1], other(*given).images[-1])


@every_model
def test_the_entry_says_what_the_model_does(name):
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


def imported_modules(tree: ast.AST) -> set[str]:
    """Every module that a source imports, or may: `from a import b` names a and a.b."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("line", ["import a.b", "import a.b as c", "from a import b", "from a.b import c"])
def test_every_manner_of_import_is_seen(line):
    assert "a.b" in imported_modules(ast.parse(line))
