"""What the released code computes from formula-filled weights, reproduced entry by entry."""

import pytest
import torch
from torch import Tensor

from dmgan.encoders import InceptionImageEncoder
from dmgan.losses import MatchingLosses, kl_loss, matching_losses
from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions, LossOptions, MatchingOptions, TrainingOptions
from dmgan.training import Trainer
from tests.golden_recipe import Small, deviation, load, uniform

REPOSITORIES = ("dmgan", "attngan")
FORWARD, GRADIENT = 1e-9, 1e-7  # relative, in float64 (RECIPE.md, section 9)


def check(values: dict[str, Tensor], golden: dict, tolerance: float) -> None:
    """Every value agrees with the golden entry of its name."""
    assert values
    far = {name: deviation(value, golden[name]) for name, value in values.items()}
    far = {name: by for name, by in far.items() if not by <= tolerance}
    assert not far, far


def test_number_source():
    golden = load("metrics.json")
    assert uniform("netG/ca_net.fc.weight", (5,)).tolist() == golden['U("netG/ca_net.fc.weight",0..4)']
    assert uniform("input/z", (5,)).tolist() == golden['U("input/z",0..4)']


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_text_encoder(repository):
    small = Small(repository, torch.float64)
    words, sentence = small.text_encoder.eval()(small.tokens, small.lengths)
    check({"rnn/words": words, "rnn/sent": sentence}, small.outputs, FORWARD)


def _generated(small: Small, prefix: str, mask: Tensor) -> dict[str, Tensor]:
    out = small.generator.generate(small.noise, small.sentence, small.words, mask)
    values = {f"img{image.shape[-1]}": image for image in out.images}
    values |= {f"att{i + 1}": attention for i, attention in enumerate(out.attention)}
    return {f"{prefix}/{name}": value for name, value in (values | {"mu": out.mean, "logvar": out.logvar}).items()}


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize(
    ("prefix", "word_mask"), [("g_eval", "released"), ("g_eval_fixedmask", "corrected"), ("g_eval_nomask", "corrected")]
)
@torch.no_grad()
def test_generator_in_evaluation_mode(repository, prefix, word_mask):
    small = Small(repository, torch.float64, word_mask=word_mask)
    small.generator.eval()
    mask = small.mask & (prefix != "g_eval_nomask")
    check(_generated(small, prefix, mask), small.outputs, FORWARD)


@pytest.mark.parametrize("repository", REPOSITORIES)
@torch.no_grad()
def test_generator_in_training_mode(repository):
    small = Small(repository, torch.float64, word_mask="released")
    small.generator.train()
    check(_generated(small, "g_train", small.mask), small.outputs, FORWARD)
    statistics = {f"g_train_stats/{k}": v for k, v in small.generator.state_dict().items() if "running" in k}
    check(statistics, small.outputs, FORWARD)


@pytest.mark.parametrize("repository", REPOSITORIES)
@torch.no_grad()
def test_discriminators(repository):
    small = Small(repository, torch.float64)
    for size, discriminator, real in zip((64, 128, 256), small.discriminators.train(), small.real, strict=True):
        features = discriminator.features(real)
        values = {"features": features, "cond": discriminator.conditional(features, small.sentence).sigmoid()}
        values["uncond"] = discriminator.unconditional(features).sigmoid()
        check({f"d{size}/{name}": value for name, value in values.items()}, small.outputs, FORWARD)
        vectors = {k: v for k, v in discriminator.state_dict().items() if k.endswith(("weight_u", "weight_v"))}
        if repository == "dmgan":
            check({f"d{size}_uv/{k}": v for k, v in vectors.items()}, small.outputs, FORWARD)


@pytest.mark.parametrize("with_classes", [True, False])
def test_matching_losses(with_classes):
    small = Small("dmgan", torch.float64)
    region = small.input("region", (3, small.words_dim, 17, 17), 0.7)
    code = small.input("code", (3, small.words_dim), 0.7)
    class_ids = small.class_ids if with_classes else None
    losses = matching_losses(region, code, small.words, small.sentence, small.lengths, class_ids, MatchingOptions())
    prefix = "losses_cls" if with_classes else "losses_nocls"
    check(
        {f"{prefix}/{name}": loss for name, loss in zip(("w0", "w1", "s0", "s1"), losses, strict=True)},
        small.outputs,
        FORWARD,
    )


def test_kl_loss():
    small = Small("dmgan", torch.float64)
    check(
        {"losses/kl": kl_loss(small.input("mu", (3, 10), 1.0), small.input("logvar", (3, 10), 1.0), LossOptions())},
        small.outputs,
        FORWARD,
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("repository", REPOSITORIES)
def test_training_steps(repository, dtype):
    """Two whole updates: losses, first gradients, and everything the updates changed."""
    forward, after = (1e-7, 1e-6) if dtype == torch.float64 else (2e-4, None)
    small = Small(repository, dtype, word_mask="released")
    rate = small.meta["lr"]
    options = TrainingOptions(batch_size=3, generator_lr=rate, discriminator_lr=rate)
    trainer = Trainer(small.generator, small.stub, options, MatchingOptions(), LossOptions(), torch.device("cpu"))
    trainer.discriminators.to(dtype)
    for ours, filled in zip(trainer.discriminators, small.discriminators, strict=True):
        ours.load_state_dict(filled.state_dict())
    captions = small.captions()
    for step in (1, 2):
        losses = trainer.step(small.real, captions, small.class_ids, small.noise)
        golden = {name.removeprefix(f"step{step}/"): entry for name, entry in small.outputs.items()}
        values = {f"errD{i}": losses[f"discriminator{i}"] for i in range(3)}
        values |= {"g_adv_sum": losses["adversarial"], "kl": losses["kl"]}
        check(values, golden, forward)
        total = losses["adversarial"] + 5 * sum(losses[name] for name in MatchingLosses._fields) + losses["kl"]
        check({"errG_total": total}, golden, forward)
        if step == 1 and dtype == torch.float64:
            gradients = {f"grad_G/{k}": p.grad for k, p in small.generator.named_parameters()}
            for i, discriminator in enumerate(trainer.discriminators):
                named = discriminator.named_parameters()
                gradients |= {f"grad_D{i}/{k}": p.grad for k, p in named if p.requires_grad}
            check(gradients, small.outputs, GRADIENT)
    if after is None:
        return
    changed = {f"after_G/{k}": v for k, v in small.generator.state_dict().items()}
    changed |= {f"after_EMA/{k}": v for k, v in trainer.average.parameters.items()}
    for i, discriminator in enumerate(trainer.discriminators):
        changed |= {f"after_D{i}/{k}": v for k, v in discriminator.state_dict().items()}
    check({k: v for k, v in changed.items() if not k.endswith("num_batches_tracked")}, small.outputs, after)


def _entries(network) -> dict[str, tuple[list[int], str]]:
    trainable = {name: p.requires_grad for name, p in network.named_parameters()}
    kinds = {True: "trainable", False: "frozen"}
    return {k: (list(v.shape), kinds.get(trainable.get(k), "buffer")) for k, v in network.state_dict().items()}


@pytest.mark.parametrize(
    "name", ["dmgan_bird", "dmgan_coco", "dmgan_small", "attngan_bird", "attngan_coco", "attngan_small"]
)
def test_names_and_shapes_of_the_released_state_dicts(name):
    from dmgan.encoders import TextEncoder

    golden = load(f"keys_{name}.json")
    gan = golden["cfg"]["GAN"]
    embedding_dim = golden["cfg"]["TEXT"]["EMBEDDING_DIM"]
    architecture = ArchitectureOptions(
        generator_width=gan["GF_DIM"], discriminator_width=gan["DF_DIM"], noise_dim=gan["Z_DIM"],
        condition_dim=gan["CONDITION_DIM"], residual_blocks=gan["R_NUM"],
    )  # fmt: skip
    with torch.device("meta"):
        generator = build_model(golden["repo"], architecture, embedding_dim)
        networks = {
            "netG": generator,
            "rnn": TextEncoder(golden["n_words"], embedding_dim),
            "cnn": InceptionImageEncoder(embedding_dim),
        }
        for size, discriminator in zip((64, 128, 256), generator.discriminators(), strict=True):
            networks[f"netD{size}"] = discriminator
    for label, released in golden["nets"].items():
        expected = {entry: (shape, kind) for entry, shape, kind in released["entries"]}
        assert _entries(networks[label]) == expected, label


def test_parameter_totals_of_the_paper():
    with torch.device("meta"):
        generator = build_model("dmgan", ArchitectureOptions(), 256)
        largest = generator.discriminators()[2]
    assert sum(p.numel() for p in generator.parameters() if p.requires_grad) == 21_449_042
    assert sum(p.numel() for p in largest.parameters() if p.requires_grad) == 18_264_546
