"""Every option of every stage, with its default: the papers' bird configuration.

No torch here, so that the command line and the workflow can read the options at once. Each field's
`help` metadata is the text that `--help` shows; the command line makes one flag per field.
"""

import dataclasses
from dataclasses import dataclass, field

from dmgan.errors import UserError


def option(default, help, choices=None):
    """A dataclass field with the help text and the choices of its command-line flag."""
    return field(default=default, metadata={"help": help, "choices": choices})


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@dataclass(frozen=True)
class ArchitectureOptions:
    """Sizes of a generator and its discriminators; defaults are DM-GAN's for CUB."""

    base_size: int = option(64, "side of the first stage's images, px")
    stages: int = option(3, "number of stages; each doubles the side")
    generator_width: int = option(64, "channels of the image features, N_r (GF_DIM)")
    discriminator_width: int = option(32, "channels of a discriminator's first layer (DF_DIM)")
    noise_dim: int = option(100, "numbers of the noise vector z (Z_DIM)")
    condition_dim: int = option(100, "numbers of the augmented condition (CONDITION_DIM)")
    residual_blocks: int = option(2, "residual blocks of a refinement stage (R_NUM)")
    feature_network: str = option(
        "vgg16", "frozen network that models with image features read (small: a stand-in)", ("vgg16", "small")
    )

    def __post_init__(self):
        power_of_two = self.base_size >= 8 and self.base_size & (self.base_size - 1) == 0
        _require(power_of_two, f"base_size {self.base_size}: must be a power of two, 8 or more")
        for name in ("stages", "generator_width", "discriminator_width", "noise_dim", "condition_dim"):
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)}: must be 1 or more")
        _require(self.residual_blocks >= 0, f"residual_blocks {self.residual_blocks}: must be 0 or more")
        known = self.feature_network in ("vgg16", "small")
        _require(known, f"feature_network {self.feature_network!r}: must be vgg16 or small")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the stages' images, in pixels."""
        return tuple(self.base_size << stage for stage in range(self.stages))

    @property
    def image_size(self) -> int:
        """Side of the last stage's images, in pixels."""
        return self.sizes[-1]


@dataclass(frozen=True)
class MatchingOptions:
    """The DAMSM's smoothing factors (AttnGAN, Eq. 7-11)."""

    gamma1: float = option(4.0, "sharpness of a word's attention over regions (AttnGAN Eq. 9)")
    gamma2: float = option(5.0, "sharpness of the sum over words (AttnGAN Eq. 10)")
    gamma3: float = option(10.0, "sharpness of the choice among captions (AttnGAN Eq. 11)")


SEARCHES = ("S-S", "S-I", "W-W", "W-I", "S-SI", "W-WI")  # how a caption retrieves (dmgan/retrieval.py)
RETRIEVALS = (*SEARCHES, "random", "oracle")  # a lower and an upper bound: any image, the described one itself
DEFAULT_METHOD = "S-S"


@dataclass(frozen=True)
class LossOptions:
    """Where the models' losses differ; the defaults are the released DM-GAN's.

    They belong to a model (dmgan/models/registry.py), not to a run, and have no flag.
    """

    half_adversarial: bool = option(False, "Eq. 11's factor 1/2 on a generator's two terms; the release sums them")
    mismatched_captions: bool = option(
        True,
        "the release: real terms / 2 + (fake terms + real images with another's caption) / 3; "
        "false is Eq. 12, four terms at 1/2 each",
    )
    kl: str = option(
        "mean", "over the dimensions of Eq. 13: the release's mean, or the divergence's sum", ("mean", "sum")
    )

    matching: bool = option(True, "whether the DAMSM loss is part of the generator's")
    r1: bool = option(False, "R1: the squared gradient of a discriminator's logits at real images")

    def __post_init__(self):
        _require(self.kl in ("mean", "sum"), f"kl {self.kl!r}: must be mean or sum")


@dataclass(frozen=True)
class TrainingOptions:
    """The loop that every generator shares; defaults are DM-GAN's released bird configuration."""

    epochs: int = option(800, "passes over the training images")
    batch_size: int = option(10, "images per step")
    generator_lr: float = option(2e-4, "Adam's learning rate of the generator")
    discriminator_lr: float = option(2e-4, "Adam's learning rate of each discriminator")
    damsm_weight: float = option(5.0, "weight of the DAMSM loss, lambda (5 on CUB, 50 on COCO)")
    kl_weight: float = option(1.0, "weight of the conditioning augmentation's KL term")
    r1_gamma: float = option(10.0, "weight gamma of R1, where a model has it (less for images smaller than 256 px)")
    ema_decay: float = option(0.999, "decay of the generator's averaged weights")
    max_words: int = option(18, "longest caption; of a longer one a random ordered subset is read")
    checkpoint_every: int = option(500, "steps between checkpoints")

    def __post_init__(self):
        for name in ("epochs", "max_words", "checkpoint_every"):
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)}: must be 1 or more")
        _require(
            self.batch_size >= 2, f"batch_size {self.batch_size}: must be 2 or more (the mismatched pairs need two)"
        )
        for name in ("generator_lr", "discriminator_lr"):
            _require(getattr(self, name) > 0, f"{name} {getattr(self, name)}: must be above 0")
        _require(self.r1_gamma >= 0, f"r1_gamma {self.r1_gamma}: must be 0 or more")
        _require(0 <= self.ema_decay < 1, f"ema_decay {self.ema_decay}: must be in [0, 1)")


@dataclass(frozen=True)
class DamsmOptions:
    """DAMSM pretraining; defaults are AttnGAN's released bird configuration."""

    image_encoder: str = option("inception", "trunk of the image encoder", ("inception", "small"))
    image_size: int = option(299, "side of the images the encoder is trained on, px")
    width: int = option(32, "channels of the small trunk's first layer (unused by inception)")
    embedding_dim: int = option(256, "numbers of a word, region or sentence feature")
    epochs: int = option(600, "passes over the training images")
    batch_size: int = option(48, "image-caption pairs per step")
    lr: float = option(2e-3, "Adam's learning rate in the first epoch")
    text_lr_factor: float = option(1.0, "the text encoder's learning rate over the image encoder's")
    lr_decay: float = option(0.98, "factor of the learning rate per epoch")
    min_lr: float = option(2e-4, "the learning rate stops falling below this")
    gradient_clip: float = option(0.25, "largest norm of the text encoder's gradient")
    new_adam_each_epoch: bool = option(True, "forget Adam's moments every epoch, as the released code does")
    dropout: float = option(0.5, "dropout on word embeddings")
    max_words: int = option(18, "longest caption; of a longer one a random ordered subset is read")
    checkpoint_every: int = option(500, "steps between checkpoints")

    def __post_init__(self):
        _require(self.embedding_dim % 2 == 0, f"embedding_dim {self.embedding_dim}: must be even (two LSTM directions)")
        _require(self.batch_size >= 2, f"batch_size {self.batch_size}: must be 2 or more (matching needs a choice)")
        _require(0 <= self.dropout < 1, f"dropout {self.dropout}: must be in [0, 1)")


@dataclass(frozen=True)
class ClassifierOptions:
    """Training of the species classifier, whose features are the `species` rung of FID and IS."""

    image_size: int = option(64, "side of the images, px")
    width: int = option(32, "channels of the first layer")
    features: int = option(128, "numbers of the feature vector that FID reads")
    epochs: int = option(30, "passes over the training images")
    batch_size: int = option(64, "images per step")
    lr: float = option(2e-3, "AdamW's largest learning rate (one cycle)")
    validation_share: float = option(0.1, "share of the training images kept aside to state the accuracy")
    checkpoint_every: int = option(500, "steps between checkpoints")


def as_dict(options) -> dict[str, object]:
    """The options as plain values, for JSON."""
    return dataclasses.asdict(options)


def from_dict(kind: type, values: dict[str, object], source: str):
    """Options of `kind` from plain values; an unknown or missing name is a UserError naming `source`."""
    names = {each.name for each in dataclasses.fields(kind)}
    unknown, missing = set(values) - names, names - set(values)
    if unknown or missing:
        raise UserError(
            f"{source}: is of another version ({kind.__name__}: unknown {sorted(unknown)}, missing {sorted(missing)}); "
            "make the run again"
        )
    return kind(**values)
