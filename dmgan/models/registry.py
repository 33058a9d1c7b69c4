"""Table of the models: class, variant, losses, and facts that the workflow reads.

This module does not import torch, so that the command line and the workflow start fast.
"""

import dataclasses
import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dmgan.errors import UserError
from dmgan.options import ArchitectureOptions, LossOptions, TrainingOptions

if TYPE_CHECKING:
    from dmgan.models.interface import TextToImageGAN


@dataclass(frozen=True)
class Entry:
    """A registry entry: the facts about a model that are read without building it."""

    target: str  # "module:Class"
    title: str  # name in tables and figures
    variant: dict[str, object] = field(default_factory=dict)  # keyword arguments of the class
    losses: LossOptions = LossOptions()  # default: those of the released DM-GAN and AttnGAN
    training: dict[str, object] = field(default_factory=dict)  # fixed TrainingOptions, which define the model
    defaults: dict[str, object] = field(default_factory=dict)  # default options of the paper or release
    needs: frozenset[str] = frozenset()  # frozen networks read in training: "perceptual", "captioner", "features"
    reads_words: bool = True  # false: the model reads only the sentence
    has_augmentation: bool = True  # whether the model has conditioning augmentation
    noise_bound: float | None = None  # noise of sampled images is redrawn beyond +-noise_bound; None: not bounded
    noise_scale: float = 1.0  # factor of the noise of sampled images
    stagewise: bool = False  # stages are trained one after another, which needs a single process
    released: bool = False  # released weights exist, which `import` reads
    citation: str = ""  # key of the model's paper in dmgan/runtime/bibliography.bib; "": none
    ablation_of: str | None = None  # model whose ablation grid (workflow/config/{model}-grid.yaml) contains this model

    @property
    def retrieves(self) -> bool:
        """Whether the model generates from the features of a retrieved training image."""
        return "features" in self.needs


# For every need that can use VGG-16: the option that chooses the network, and its value without VGG-16.
VGG16_OPTIONS = {"perceptual": ("perceptual", "damsm"), "features": ("feature_network", "small")}

_BASELINE = {"key_value": False, "write_gate": "none", "response": "concatenate"}
_M = {"key_value": True, "write_gate": "none", "response": "concatenate"}
_M_WG = {"key_value": True, "write_gate": "sigmoid", "response": "concatenate"}
_PAPER = {"relu": False, "detach_mean": False, "duplicate_response": False}
_PAPER_LOSSES = LossOptions(half_adversarial=True, mismatched_captions=False, kl="sum")
_KVM = {**_PAPER, "write_gate": "linear", "gate_width": "vector"}
_KVM_LITERAL = {**_KVM, "share_write": True, "address_axis": "pixel"}
_DFGAN = LossOptions(adversarial="hinge", matching_aware_penalty=2.0, matching=False, mismatched_pairs="wrapped")
_MIRRORGAN = LossOptions(matching=False)
_CONTROLGAN = LossOptions(wrong_captions=True)
_GAN_INT_CLS = LossOptions(interpolation=True, matching=False, mismatched_pairs="other_class")
_GAN_CLS = LossOptions(matching=False, mismatched_pairs="other_image")
_STACKGAN = LossOptions(matching=False, condition="detached_mean")
_STACKGANPP = LossOptions(mismatched_images_real=True, matching=False, mismatched_pairs="redrawn", condition="mean")
_EQ_1_TO_4 = LossOptions(half_adversarial=True, mismatched_captions=False, r1=True)
_NO_R1 = LossOptions(half_adversarial=True, mismatched_captions=False)
# Options of the released configurations (of CUB; StackGAN and GAN-CLS: of COCO) that differ from the general defaults.
# ema_decay 0: the release samples with the last weights, not with averaged ones.
_ATTNDCGAN_RELEASED = {
    "generator_width": 32, "discriminator_width": 64, "residual_blocks": 0, "epochs": 400, "batch_size": 30,
    "damsm_weight": 1.0,
}  # fmt: skip
_DFGAN_RELEASED = {
    "generator_width": 32, "discriminator_width": 32, "epochs": 1300, "batch_size": 32, "generator_lr": 1e-4,
    "discriminator_lr": 4e-4, "adam_beta1": 0.0, "adam_beta2": 0.9, "ema_decay": 0.0,
}  # fmt: skip
_STACKGANPP_RELEASED = {
    "generator_width": 64, "discriminator_width": 64, "condition_dim": 128, "epochs": 600, "batch_size": 24,
    "kl_weight": 2.0,
}  # fmt: skip
_CONTROLGAN_RELEASED = {"generator_width": 32, "discriminator_width": 64, "epochs": 600, "batch_size": 8}
_MIRRORGAN_RELEASED = {"generator_width": 32, "discriminator_width": 64, "epochs": 650, "batch_size": 12}
_STACKGAN_RELEASED = {
    "generator_width": 192, "discriminator_width": 96, "condition_dim": 128, "epochs": 240, "batch_size": 40,
    "kl_weight": 2.0, "ema_decay": 0.0, "lr_halving_epochs": 20,
}  # fmt: skip
_GAN_INT_CLS_RELEASED = {
    "base_size": 64, "stages": 1, "generator_width": 128, "discriminator_width": 64, "condition_dim": 128,
    "epochs": 600, "batch_size": 64, "captions_per_image": 4, "ema_decay": 0.0, "lr_halving_epochs": 100,
}  # fmt: skip
_GAN_CLS_RELEASED = {
    **_GAN_INT_CLS_RELEASED, "generator_width": 196, "discriminator_width": 196, "epochs": 200,
    "captions_per_image": 3, "lr_halving_epochs": 40,
}  # fmt: skip
_A0 = {"first_stage": "none", "later_stages": "none", "content": "none"}
_A1 = {"first_stage": "mean", "later_stages": "none", "content": "none"}
_A2 = {"first_stage": "none", "later_stages": "acm", "content": "none"}
_A3 = {"first_stage": "mean", "later_stages": "acm", "content": "none"}
_A5, _A7, _A8 = {"content": "max"}, {"first_stage": "map"}, {"later_stages": "concatenate"}

_ATTNGAN, _DMGAN, _MDSP_CLASS = "baselines.attngan:AttnGAN", "dmgan.models.dmgan:DMGAN", "baselines.mdsp:MDSP"
_SENTENCE_ONLY = {"reads_words": False}
_ZHU, _XU = {"citation": "zhu2019dmgan"}, {"citation": "xu2018attngan"}
_LI = {"citation": "li2022memory"}
_MDSP = {"losses": _EQ_1_TO_4, "needs": frozenset({"features"}), "reads_words": False, **_LI}
_GRID = {**_MDSP, "ablation_of": "mdsp"}
_PARAMETRIC = {"losses": _EQ_1_TO_4, "reads_words": False, "ablation_of": "mdsp", **_LI}

MODELS = {
    "attngan":        Entry(_ATTNGAN, "AttnGAN", released=True, **_XU),
    "attngan-dcgan":  Entry("baselines.attngan:AttnDCGAN", "AttnDCGAN", released=True,
                            defaults=_ATTNDCGAN_RELEASED, **_XU),
    "dmgan":          Entry(_DMGAN, "DM-GAN", released=True, **_ZHU),
    "dmgan-baseline": Entry(_DMGAN, "DM-GAN baseline", _BASELINE, **_ZHU),
    "dmgan-m":        Entry(_DMGAN, "DM-GAN +M", _M, **_ZHU),
    "dmgan-m-wg":     Entry(_DMGAN, "DM-GAN +M+WG", _M_WG, **_ZHU),
    "dmgan-paper":    Entry(_DMGAN, "DM-GAN as in the paper", _PAPER, _PAPER_LOSSES, **_ZHU),
    "kvmgan":         Entry(_DMGAN, "KVM-GAN", _KVM, _PAPER_LOSSES, **_ZHU),
    "kvmgan-literal": Entry(_DMGAN, "KVM-GAN as printed", _KVM_LITERAL, _PAPER_LOSSES, **_ZHU),
    "dmgan-004":      Entry(_DMGAN, "DM-GAN, batch 2", training={"batch_size": 2}, **_ZHU),
    "dmgan-004-two-words": Entry(_DMGAN, "DM-GAN, batch 2, two words", training={"batch_size": 2, "max_words": 2},
                            **_ZHU),
    "dfgan":          Entry("baselines.dfgan:DFGAN", "DF-GAN", losses=_DFGAN, defaults=_DFGAN_RELEASED,
                            has_augmentation=False, noise_bound=2.0, noise_scale=0.88,
                            citation="tao2022dfgan", **_SENTENCE_ONLY),
    "stackganpp":     Entry("baselines.stackganpp:StackGANpp", "StackGAN++", losses=_STACKGANPP,
                            defaults=_STACKGANPP_RELEASED, citation="zhang2018stackganpp", **_SENTENCE_ONLY),
    "controlgan":     Entry("baselines.controlgan:ControlGAN", "ControlGAN", losses=_CONTROLGAN,
                            defaults=_CONTROLGAN_RELEASED, needs=frozenset({"perceptual"}),
                            citation="li2019controlgan"),
    "mirrorgan":      Entry("baselines.mirrorgan:MirrorGAN", "MirrorGAN", losses=_MIRRORGAN,
                            defaults=_MIRRORGAN_RELEASED, needs=frozenset({"captioner"}), citation="qiao2019mirrorgan"),
    "stackgan":       Entry("baselines.stackgan:StackGAN", "StackGAN", losses=_STACKGAN, stagewise=True,
                            defaults=_STACKGAN_RELEASED, citation="zhang2017stackgan", **_SENTENCE_ONLY),
    "gan-int-cls":    Entry("baselines.gan_int_cls:GANIntCls", "GAN-INT-CLS", losses=_GAN_INT_CLS,
                            defaults=_GAN_INT_CLS_RELEASED, has_augmentation=False, citation="reed2016generative",
                            **_SENTENCE_ONLY),
    "gan-cls":        Entry("baselines.gan_int_cls:GANIntCls", "GAN-CLS", {"script": "coco"}, _GAN_CLS,
                            defaults=_GAN_CLS_RELEASED, has_augmentation=False, citation="reed2016generative",
                            **_SENTENCE_ONLY),
    "mdsp":           Entry(_MDSP_CLASS, "MDSP", **_MDSP),
    "mdsp-a0":        Entry(_MDSP_CLASS, "MDSP A0: parametric", _A0, **_PARAMETRIC),
    "mdsp-a1":        Entry(_MDSP_CLASS, "MDSP A1: mean features", _A1, **_GRID),
    "mdsp-a2":        Entry(_MDSP_CLASS, "MDSP A2: ACM", _A2, **_GRID),
    "mdsp-a3":        Entry(_MDSP_CLASS, "MDSP A3: mean features, ACM", _A3, **_GRID),
    "mdsp-a5":        Entry(_MDSP_CLASS, "MDSP A5: max pooling", _A5, **_GRID),
    "mdsp-a6":        Entry(_MDSP_CLASS, "MDSP A6: no R1", **{**_GRID, "losses": _NO_R1}),
    "mdsp-a7":        Entry(_MDSP_CLASS, "MDSP A7: map first", _A7, **_GRID),
    "mdsp-a8":        Entry(_MDSP_CLASS, "MDSP A8: concatenation", _A8, **_GRID),
}  # fmt: skip


def find(name: str) -> Entry:
    """Return the entry called `name`; UserError naming the known models otherwise."""
    if name not in MODELS:
        raise UserError(f"model {name!r}: unknown; known models are {', '.join(MODELS)}")
    return MODELS[name]


def options_of(kind: type, name: str, given: dict[str, object]):
    """Return ArchitectureOptions or TrainingOptions (`kind`) of the model called `name`.

    The values are the given values, else the entry's defaults, else the general defaults; given: values by field name,
    in which fields of other classes are ignored.
    """
    fields = {each.name for each in dataclasses.fields(kind)}
    values = {**find(name).defaults, **given}
    return kind(**{option: value for option, value in values.items() if option in fields})


def check_training(name: str, options: TrainingOptions) -> None:
    """Raise UserError if `options` contradict a value that defines the model."""
    for option, value in find(name).training.items():
        if getattr(options, option) != value:
            flag = option.replace("_", "-")
            raise UserError(
                f"{name}: is trained with {option} {value}, not {getattr(options, option)}; give --{flag} {value}, "
                "or another model"
            )


def model_class(name: str) -> "type[TextToImageGAN]":
    """Return the class of the entry called `name`."""
    module, class_name = find(name).target.split(":")
    return getattr(importlib.import_module(_installed(module)), class_name)


def _installed(module: str) -> str:
    """Return the import name of a module; an installed wheel holds baselines/ as dmgan.baselines."""
    inside = module.startswith("baselines.") and importlib.util.find_spec("dmgan.baselines") is not None
    return f"dmgan.{module}" if inside else module


def build_model(name: str, architecture: ArchitectureOptions, embedding_dim: int, **variant) -> "TextToImageGAN":
    """Return a new generator with random weights; `variant` overrides values of the entry's variant."""
    return model_class(name)(architecture, embedding_dim, **{**find(name).variant, **variant})
