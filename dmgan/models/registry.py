"""Every model by name: where its class stands, and which switches it and its losses set."""

import importlib
from typing import TYPE_CHECKING, NamedTuple

from dmgan.errors import UserError
from dmgan.options import ArchitectureOptions, LossOptions, TrainingOptions

if TYPE_CHECKING:  # the table is read without torch: a wrong name is told at once
    from dmgan.models.interface import TextToImageGAN


class Entry(NamedTuple):
    """A model of the registry."""

    target: str  # "module:Class"
    title: str  # as tables and figures print it
    switches: dict[str, object] = {}  # keyword arguments of the class
    losses: LossOptions = LossOptions()  # the release's
    training: dict[str, object] = {}  # fields of TrainingOptions without which a run is not of this model
    defaults: dict[str, object] = {}  # fields of TrainingOptions that this model's paper or release has otherwise
    ablation_of: str | None = None  # a model whose grid (workflow/config/{model}-grid.yaml) this is a part of


_BASELINE = {"key_value": False, "write_gate": "none", "response": "concatenate"}
_M = {"key_value": True, "write_gate": "none", "response": "concatenate"}
_M_WG = {"key_value": True, "write_gate": "sigmoid", "response": "concatenate"}
_PAPER = {"relu": False, "detach_mean": False, "duplicate_response": False}
_PAPER_LOSSES = LossOptions(half_adversarial=True, mismatched_captions=False, kl="sum")
_KVM = {**_PAPER, "write_gate": "linear", "gate_width": "vector"}
_KVM_LITERAL = {**_KVM, "share_write": True, "address_axis": "pixel"}
_DFGAN = LossOptions(adversarial="hinge", matching_aware_penalty=2.0, matching=False)
_WITHOUT_DAMSM = LossOptions(matching=False)
_GAN_INT_CLS = LossOptions(interpolation=True, matching=False)
_STACKGANPP = LossOptions(mismatched_images_real=True, matching=False)
_EQ_1_TO_4 = LossOptions(half_adversarial=True, mismatched_captions=False, r1=True)
_NO_R1 = LossOptions(half_adversarial=True, mismatched_captions=False)
_DFGAN_RATES = {"generator_lr": 1e-4, "discriminator_lr": 4e-4, "adam_beta1": 0.0, "adam_beta2": 0.9}
_A0 = {"first_stage": "none", "later_stages": "none", "content": "none"}
_A1 = {"first_stage": "mean", "later_stages": "none", "content": "none"}
_A2 = {"first_stage": "none", "later_stages": "acm", "content": "none"}
_A3 = {"first_stage": "mean", "later_stages": "acm", "content": "none"}
_A5, _A7, _A8 = {"content": "max"}, {"first_stage": "map"}, {"later_stages": "concatenate"}

MODELS = {
    "attngan":        Entry("baselines.attngan:AttnGAN", "AttnGAN"),
    "attngan-dcgan":  Entry("baselines.attngan:AttnDCGAN", "AttnDCGAN"),
    "dmgan":          Entry("dmgan.models.dmgan:DMGAN", "DM-GAN"),
    "dmgan-baseline": Entry("dmgan.models.dmgan:DMGAN", "DM-GAN baseline", _BASELINE),
    "dmgan-m":        Entry("dmgan.models.dmgan:DMGAN", "DM-GAN +M", _M),
    "dmgan-m-wg":     Entry("dmgan.models.dmgan:DMGAN", "DM-GAN +M+WG", _M_WG),
    "dmgan-paper":    Entry("dmgan.models.dmgan:DMGAN", "DM-GAN as in the paper", _PAPER, _PAPER_LOSSES),
    "kvmgan":         Entry("dmgan.models.dmgan:DMGAN", "KVM-GAN", _KVM, _PAPER_LOSSES),
    "kvmgan-literal": Entry("dmgan.models.dmgan:DMGAN", "KVM-GAN as printed", _KVM_LITERAL, _PAPER_LOSSES),
    "dmgan-004":      Entry("dmgan.models.dmgan:DMGAN", "DM-GAN, batch 2", training={"batch_size": 2}),
    "dmgan-004-two-words": Entry(
        "dmgan.models.dmgan:DMGAN", "DM-GAN, batch 2, two words", training={"batch_size": 2, "max_words": 2}
    ),
    "dfgan":          Entry("baselines.dfgan:DFGAN", "DF-GAN", losses=_DFGAN, defaults=_DFGAN_RATES),
    "stackganpp":     Entry(
        "baselines.stackganpp:StackGANpp", "StackGAN++", losses=_STACKGANPP, defaults={"kl_weight": 2.0}
    ),
    "controlgan":     Entry("baselines.controlgan:ControlGAN", "ControlGAN"),
    "mirrorgan":      Entry("baselines.mirrorgan:MirrorGAN", "MirrorGAN", losses=_WITHOUT_DAMSM),
    "stackgan":       Entry("baselines.stackgan:StackGAN", "StackGAN", losses=_WITHOUT_DAMSM),
    "gan-int-cls":    Entry("baselines.gan_int_cls:GANIntCls", "GAN-INT-CLS", losses=_GAN_INT_CLS),
    "mdsp":           Entry("baselines.mdsp:MDSP", "MDSP", {}, _EQ_1_TO_4),
    "mdsp-a0":        Entry("baselines.mdsp:MDSP", "MDSP A0: parametric", _A0, _EQ_1_TO_4, ablation_of="mdsp"),
    "mdsp-a1":        Entry("baselines.mdsp:MDSP", "MDSP A1: mean features", _A1, _EQ_1_TO_4, ablation_of="mdsp"),
    "mdsp-a2":        Entry("baselines.mdsp:MDSP", "MDSP A2: ACM", _A2, _EQ_1_TO_4, ablation_of="mdsp"),
    "mdsp-a3":        Entry("baselines.mdsp:MDSP", "MDSP A3: mean features, ACM", _A3, _EQ_1_TO_4, ablation_of="mdsp"),
    "mdsp-a5":        Entry("baselines.mdsp:MDSP", "MDSP A5: max pooling", _A5, _EQ_1_TO_4, ablation_of="mdsp"),
    "mdsp-a6":        Entry("baselines.mdsp:MDSP", "MDSP A6: no R1", {}, _NO_R1, ablation_of="mdsp"),
    "mdsp-a7":        Entry("baselines.mdsp:MDSP", "MDSP A7: map first", _A7, _EQ_1_TO_4, ablation_of="mdsp"),
    "mdsp-a8":        Entry("baselines.mdsp:MDSP", "MDSP A8: concatenation", _A8, _EQ_1_TO_4, ablation_of="mdsp"),
}  # fmt: skip


def find(name: str) -> Entry:
    """The entry called `name`; UserError naming the known ones otherwise."""
    if name not in MODELS:
        raise UserError(f"model {name!r}: unknown; known models are {', '.join(MODELS)}")
    return MODELS[name]


def training_options(name: str, given: dict[str, object]) -> TrainingOptions:
    """The options of a training of the entry called `name`: those given, else the entry's own, else the general."""
    return TrainingOptions(**{**find(name).defaults, **given})


def check_training(name: str, options: TrainingOptions) -> None:
    """UserError where a run of the entry called `name` would not be what the entry says it is."""
    for field, value in find(name).training.items():
        if getattr(options, field) != value:
            flag = field.replace("_", "-")
            raise UserError(
                f"{name}: is trained with {field} {value}, not {getattr(options, field)}; give --{flag} {value}, "
                "or another name"
            )


def model_class(name: str) -> "type[TextToImageGAN]":
    """The class of the entry called `name`."""
    module, class_name = find(name).target.split(":")
    return getattr(importlib.import_module(module), class_name)


def build_model(name: str, architecture: ArchitectureOptions, embedding_dim: int, **switches) -> "TextToImageGAN":
    """A new generator with random weights; `switches` override those of the entry."""
    return model_class(name)(architecture, embedding_dim, **{**find(name).switches, **switches})
