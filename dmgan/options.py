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


SEARCHES = ("S-S", "S-I", "S-R", "W-W", "W-I", "S-SI", "W-WI")  # how a caption retrieves (dmgan/models/retrieval.py)
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
    adversarial: str = option("bce", "what is made of a discriminator's logits (DF-GAN: hinge)", ("bce", "hinge"))
    matching_aware_penalty: float = option(0.0, "weight k of DF-GAN's gradient penalty on real, matching pairs")

    mismatched_images_real: bool = option(
        False, "StackGAN++: the image of a mismatched pair must be judged real alone, and all six terms are summed"
    )

    interpolation: bool = option(
        False,
        "GAN-INT: the generator also draws sentences halfway between two captions; for models that read the "
        "sentence alone",
    )
    r1: bool = option(False, "R1: the squared gradient of a discriminator's logits at real images")

    def __post_init__(self):
        _require(
            self.mismatched_captions or not self.mismatched_images_real,
            "mismatched_images_real: needs mismatched_captions",
        )
        _require(self.kl in ("mean", "sum"), f"kl {self.kl!r}: must be mean or sum")
        _require(self.adversarial in ("bce", "hinge"), f"adversarial {self.adversarial!r}: must be bce or hinge")


@dataclass(frozen=True)
class TrainingOptions:
    """The loop that every generator shares; defaults are DM-GAN's released bird configuration."""

    epochs: int = option(800, "passes over the training images")
    batch_size: int = option(10, "images per step")
    generator_lr: float = option(2e-4, "Adam's learning rate of the generator")
    discriminator_lr: float = option(2e-4, "Adam's learning rate of each discriminator")
    adam_beta1: float = option(0.5, "Adam's decay of the mean of gradients, of every network")
    adam_beta2: float = option(0.999, "Adam's decay of the mean of their squares")
    damsm_weight: float = option(5.0, "weight of the DAMSM loss, lambda (5 on CUB, 50 on COCO)")
    kl_weight: float = option(1.0, "weight of the conditioning augmentation's KL term")
    perceptual: str = option(
        "vgg16",
        "whose features a perceptual loss compares (ControlGAN): VGG-16's relu2_2, or, where its weights are not at "
        "hand, the first layers of the DAMSM's small image encoder",
        ("vgg16", "damsm"),
    )
    perceptual_weight: float = option(1.0, "weight of the perceptual loss (ControlGAN)")
    caption_weight: float = option(10.0, "weight of the captioner's cross entropy (MirrorGAN)")
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
        _require(self.perceptual in ("vgg16", "damsm"), f"perceptual {self.perceptual!r}: must be vgg16 or damsm")
        _require(self.r1_gamma >= 0, f"r1_gamma {self.r1_gamma}: must be 0 or more")
        for name in ("ema_decay", "adam_beta1", "adam_beta2"):
            _require(0 <= getattr(self, name) < 1, f"{name} {getattr(self, name)}: must be in [0, 1)")


@dataclass(frozen=True)
class EngineOptions:
    """How the training loop runs: its speed, memory and rounding. Not part of the experiment, and recorded apart.

    The defaults are plain float32 on one device, whose bits every other setting is compared with.
    """

    precision: str = option(
        "float32",
        "numbers of the networks' passes; weights, optimisers and losses stay float32",
        ("float32", "bfloat16", "float16"),
    )
    channels_last: bool = option(False, "keep images and features with their channels innermost")
    fused: bool = option(False, "compute the generator's blocks with fewer products: the same values to rounding")
    compile: bool = option(False, "compile the generator and the image encoder (needs a C++ compiler)")
    cuda_graphs: bool = option(False, "replay the compiled networks as CUDA graphs (a GPU, with --compile)")
    fused_adam: bool = option(False, "one kernel per optimiser step")
    accumulate: int = option(
        1, "parts that pass one after another, for a batch larger than the memory; batch norm then sees each part alone"
    )
    gradient_checkpointing: bool = option(False, "compute each stage's features again in the backward pass")
    deterministic: bool = option(False, "only algorithms that repeat their bits (a GPU; the CPU always repeats them)")
    cache_captions: bool = option(False, "encode every caption once, into a file beside the encoders")

    def __post_init__(self):
        known = ("float32", "bfloat16", "float16")
        _require(self.precision in known, f"precision {self.precision!r}: must be {', '.join(known)}")
        _require(self.accumulate >= 1, f"accumulate {self.accumulate}: must be 1 or more")
        _require(self.compile or not self.cuda_graphs, "cuda_graphs: replays compiled networks; add compile")
        _require(
            not (self.compile and self.gradient_checkpointing),
            "gradient_checkpointing: cannot be had with compile, which chooses itself what to compute again; drop one",
        )


PLAIN_ENGINE = EngineOptions()


@dataclass(frozen=True)
class TrainingSettings:
    """Every option of one generator's training."""

    architecture: ArchitectureOptions
    training: TrainingOptions
    matching: MatchingOptions = MatchingOptions()
    engine: EngineOptions = PLAIN_ENGINE


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
class CaptionerOptions:
    """Pretraining of the captioner that MirrorGAN's STREAM describes images with."""

    embedding_dim: int = option(256, "numbers of what its LSTM reads, of an image or of a word")
    hidden_dim: int = option(512, "numbers of the LSTM's state")
    epochs: int = option(100, "passes over the training images")
    batch_size: int = option(48, "image-caption pairs per step")
    lr: float = option(1e-3, "Adam's learning rate")
    max_words: int = option(18, "longest caption; of a longer one a random ordered subset is read")
    checkpoint_every: int = option(500, "steps between checkpoints")


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


# Feature networks of the evaluation, each with its own resize and input range: dmgan/evaluation/networks.py.
RUNGS = ("species", "tf", "clean", "torchvision", "torchvision-released", "openai-released")


@dataclass(frozen=True)
class EvaluationOptions:
    """How an image set is measured; batch_size and workers change no number."""

    seed: int = option(100, "seed of mismatched captions and folds")
    fold_rule: str = option(
        "corrected",
        "folds of R-precision; released: each loses its last image, as in the released code",
        ("corrected", "released"),
    )
    caption_words: int = option(
        0,
        "most words of a caption that the DAMSMs of R-precision read, the image's own or a mismatched one; of a longer "
        "one a random ordered subset (released: 25 on CUB, 20 on COCO). 0: whole captions",
    )
    neighbours: int = option(5, "neighbours that make an image's neighbourhood in precision, recall, density, coverage")
    batch_size: int = option(64, "images read at a time; changes nothing but speed and memory")
    workers: int = option(0, "processes that read and resize images; 0 is none but this one")

    def __post_init__(self):
        _require(
            self.fold_rule in ("corrected", "released"), f"fold_rule {self.fold_rule!r}: must be corrected or released"
        )
        for name in ("neighbours", "batch_size"):
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)}: must be 1 or more")
        for name in ("seed", "caption_words", "workers"):
            _require(getattr(self, name) >= 0, f"{name} {getattr(self, name)}: must be 0 or more")


@dataclass(frozen=True)
class SamplingOptions:
    """How many images are computed and written; only `precision` changes them by more than rounding."""

    precision: str = option(
        "float32",
        "of the generator's convolutions and matrix products; bfloat16 is about twice as fast and moves pixels by "
        "about a grey level",
        ("float32", "bfloat16"),
    )
    fused: bool = option(True, "fold batch norms and leave out products that repeat: the same values to rounding")
    channels_last: bool = option(True, "keep the channels of a pixel together in memory")
    compile: bool = option(False, "compile the generator first (needs a C++ compiler on the CPU)")
    workers: int = option(1, "processes that encode PNG files beside the generator; 0: it waits for them itself")
    packed: bool = option(False, "write all images into one file too, images.npy (uint8, a memory map)")

    def __post_init__(self):
        _require(
            self.precision in ("float32", "bfloat16"), f"precision {self.precision!r}: must be float32 or bfloat16"
        )
        _require(self.workers >= 0, f"workers {self.workers}: must be 0 or more")


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
