"""Every model by name: its class, variant, losses, and what the workflow must know of it.

No torch here, so that the command line and the workflow can read the table at once.
"""

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dmgan.errors import UserError
from dmgan.options import ArchitectureOptions, LossOptions, TrainingOptions

if TYPE_CHECKING:
    from dmgan.models.interface import TextToImageGAN


@dataclass(frozen=True)
class Entry:
    """A model of the registry: everything that must be known of it before it is built."""

    target: str  # "module:Class"
    title: str  # as tables and figures print it
    variant: dict[str, object] = field(default_factory=dict)  # keyword arguments of the class
    losses: LossOptions = LossOptions()  # the release's
    training: dict[str, object] = field(default_factory=dict)  # TrainingOptions without which a run is another model
    defaults: dict[str, object] = field(default_factory=dict)  # TrainingOptions that its paper or release has otherwise
    needs: frozenset[str] = frozenset()  # frozen networks it reads in training: "perceptual", "captioner", "features"
    reads_words: bool = True  # false: it reads the sentence alone
    has_augmentation: bool = True  # conditioning augmentation
    stagewise: bool = False  # its stages are trained one after another: a single process
    released: bool = False  # there are released weights, which `import` reads
    ablation_of: str | None = None  # a model whose grid (workflow/config/{model}-grid.yaml) this is a part of

    @property
    def retrieves(self) -> bool:
        """Whether it generates from the features of a retrieved training image."""
        return "features" in self.needs


# The option by which a need reads VGG-16's weights, and its other value, which reads none.
VGG16_OPTIONS = {"perceptual": ("perceptual", "damsm"), "features": ("feature_network", "small")}

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

_ATTNGAN, _DMGAN, _MDSP_CLASS = "baselines.attngan:AttnGAN", "dmgan.models.dmgan:DMGAN", "baselines.mdsp:MDSP"
_SENTENCE_ALONE = {"reads_words": False}
_MDSP = {"losses": _EQ_1_TO_4, "needs": frozenset({"features"}), "reads_words": False}
_GRID = {**_MDSP, "ablation_of": "mdsp"}
_PARAMETRIC = {"losses": _EQ_1_TO_4, "reads_words": False, "ablation_of": "mdsp"}

MODELS = {
    "attngan":        Entry(_ATTNGAN, "AttnGAN", released=True),
    "attngan-dcgan":  Entry("baselines.attngan:AttnDCGAN", "AttnDCGAN", released=True),
    "dmgan":          Entry(_DMGAN, "DM-GAN", released=True),
    "dmgan-baseline": Entry(_DMGAN, "DM-GAN baseline", _BASELINE),
    "dmgan-m":        Entry(_DMGAN, "DM-GAN +M", _M),
    "dmgan-m-wg":     Entry(_DMGAN, "DM-GAN +M+WG", _M_WG),
    "dmgan-paper":    Entry(_DMGAN, "DM-GAN as in the paper", _PAPER, _PAPER_LOSSES),
    "kvmgan":         Entry(_DMGAN, "KVM-GAN", _KVM, _PAPER_LOSSES),
    "kvmgan-literal": Entry(_DMGAN, "KVM-GAN as printed", _KVM_LITERAL, _PAPER_LOSSES),
    "dmgan-004":      Entry(_DMGAN, "DM-GAN, batch 2", training={"batch_size": 2}),
    "dmgan-004-two-words": Entry(_DMGAN, "DM-GAN, batch 2, two words", training={"batch_size": 2, "max_words": 2}),
    "dfgan":          Entry("baselines.dfgan:DFGAN", "DF-GAN", losses=_DFGAN, defaults=_DFGAN_RATES,
                            has_augmentation=False, **_SENTENCE_ALONE),
    "stackganpp":     Entry("baselines.stackganpp:StackGANpp", "StackGAN++", losses=_STACKGANPP,
                            defaults={"kl_weight": 2.0}, **_SENTENCE_ALONE),
    "controlgan":     Entry("baselines.controlgan:ControlGAN", "ControlGAN", needs=frozenset({"perceptual"})),
    "mirrorgan":      Entry("baselines.mirrorgan:MirrorGAN", "MirrorGAN", losses=_WITHOUT_DAMSM,
                            needs=frozenset({"captioner"})),
    "stackgan":       Entry("baselines.stackgan:StackGAN", "StackGAN", losses=_WITHOUT_DAMSM, stagewise=True,
                            **_SENTENCE_ALONE),
    "gan-int-cls":    Entry("baselines.gan_int_cls:GANIntCls", "GAN-INT-CLS", losses=_GAN_INT_CLS,
                            has_augmentation=False, **_SENTENCE_ALONE),
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


def training_options(name: str, given: dict[str, object]) -> TrainingOptions:
    """Return the training options of a model: those given, else the entry's defaults, else the general defaults."""
    return TrainingOptions(**{**find(name).defaults, **given})


def check_training(name: str, options: TrainingOptions) -> None:
    """Raise UserError if `options` contradict a value that defines the model."""
    for option, value in find(name).training.items():
        if getattr(options, option) != value:
            flag = option.replace("_", "-")
            raise UserError(
                f"{name}: is trained with {option} {value}, not {getattr(options, option)}; give --{flag} {value}, "
                "or another name"
            )


def model_class(name: str) -> "type[TextToImageGAN]":
    """Return the class of the entry called `name`."""
    module, class_name = find(name).target.split(":")
    return getattr(importlib.import_module(module), class_name)


def build_model(name: str, architecture: ArchitectureOptions, embedding_dim: int, **variant) -> "TextToImageGAN":
    """Return a new generator with random weights; `variant` overrides the entry's."""
    return model_class(name)(architecture, embedding_dim, **{**find(name).variant, **variant})
