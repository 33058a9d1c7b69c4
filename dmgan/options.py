"""Options of all stages; the defaults are the papers' bird configuration.

This module does not import torch, so that the command line and the workflow start fast. The command line has one flag
per field, the schema of configurations one key; a field's metadata holds the help text, the choices and the bounds.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path

from dmgan.errors import UserError


def option(default, help, choices=None, bounds=None, reason=""):
    """Return a dataclass field with metadata for its command-line flag and the schema of configurations.

    choices: allowed strings. bounds: limits of a number in keywords of JSON schema; reason: the reason of the bounds,
    for the error message.
    """
    bounds = with_maximum(bounds or {}, type(default)) if type(default) in (int, float) else bounds or {}
    return field(default=default, metadata={"help": help, "choices": choices, "bounds": bounds, "reason": reason})


LARGEST = 2**31 - 1  # of a whole number without another upper bound, which torch and NumPy can count to
_LARGEST = {int: LARGEST, float: 1e30}  # float32, in which networks compute, ends at 3.4e38


def with_maximum(bounds: dict[str, object], kind: type) -> dict[str, object]:
    """Return the bounds of an int or float, with the general maximum if they have none."""
    return bounds if {"maximum", "exclusiveMaximum", "enum"} & bounds.keys() else {**bounds, "maximum": _LARGEST[kind]}


_TYPE_WORDS = {
    int: "a whole number", float: "a finite number", str: "text", bool: "true or false",
    bool | None: "true, false or null",
}  # fmt: skip


AUTOMATIC = -1  # a number that is chosen: workers by the device, validation images by the training images
MOST_VALIDATION_IMAGES = 500  # if their number is automatic
_FROM_AUTOMATIC = {"minimum": AUTOMATIC}
_FROM_0, _FROM_1, _FROM_2 = {"minimum": 0}, {"minimum": 1}, {"minimum": 2}
_ABOVE_0 = {"exclusiveMinimum": 0}
_BELOW_1 = {"minimum": 0, "exclusiveMaximum": 1}
_BASE_SIZES = tuple(8 << doublings for doublings in range(7))  # px
# Larger networks, images and pools of processes fit into no machine.
_SIDE, _WIDTH, _STAGES = (
    {"minimum": 8, "maximum": 4096},
    {"minimum": 1, "maximum": 16_384},
    {"minimum": 1, "maximum": 8},
)
_BLOCKS, _WORDS = {"minimum": 0, "maximum": 1000}, {"minimum": 1, "maximum": 10_000}
_PROCESSES = {"minimum": AUTOMATIC, "maximum": 1024}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _held_out(validation_images: int, training_images: int) -> int:
    """Return how many of `training_images` the option validation_images holds out."""
    if validation_images != AUTOMATIC:
        return validation_images
    return min(training_images // 10, MOST_VALIDATION_IMAGES)


def _check(options) -> None:
    """Raise UserError if the value of an option is not among its choices or outside its bounds."""
    for each in dataclasses.fields(options):
        value, choices, bounds = getattr(options, each.name), each.metadata["choices"], each.metadata["bounds"]
        if not _has_type(value, each.type):
            raise UserError(f"{each.name} {str(value)[:60]}: must be {_TYPE_WORDS[each.type]}")
        if choices and value not in choices:
            known = " or ".join(choices) if len(choices) == 2 else ", ".join(choices)
            raise UserError(f"{each.name} {value!r}: must be {known}")
        if rule := broken_bound(value, bounds):
            reason = each.metadata["reason"]
            raise UserError(f"{each.name} {value}: must be {rule}{f' ({reason})' if reason else ''}")


def _has_type(value: object, kind: type) -> bool:
    """Return whether a value has the type of an option; a whole number is a number, and neither is a boolean."""
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return isinstance(value, kind) and (kind is not int or type(value) is int)


def broken_bound(value, bounds: dict[str, object]) -> str:
    """Return the bound that `value` violates, in words; "" if `value` is within the bounds."""
    factor, low, high = bounds.get("multipleOf"), bounds.get("minimum"), bounds.get("maximum")
    above, below = bounds.get("exclusiveMinimum"), bounds.get("exclusiveMaximum")
    if factor and value % factor:
        return "even" if factor == 2 else f"a multiple of {factor}"
    fits = (low is None or value >= low) and (above is None or value > above)
    fits = fits and (high is None or value <= high) and (below is None or value < below)
    if fits:
        return ""
    if high in _LARGEST.values():
        if value > high:
            return f"at most {high:,}"
        high = None
    if high is not None or below is not None:
        left = f"({above}" if low is None else f"[{low}"
        return f"in {left}, {below})" if high is None else f"in {left}, {high}]"
    return f"above {above}" if low is None else f"{low} or more"


@dataclass(frozen=True)
class ArchitectureOptions:
    """Sizes of a generator and its discriminators; defaults are DM-GAN's for CUB."""

    base_size: int = option(64, "side of the first stage's images, px", bounds={"enum": list(_BASE_SIZES)})
    stages: int = option(3, "number of stages; each doubles the side", bounds=_STAGES)
    generator_width: int = option(64, "channels of the image features, N_r (GF_DIM)", bounds=_WIDTH)
    discriminator_width: int = option(32, "channels of a discriminator's first layer (DF_DIM)", bounds=_WIDTH)
    noise_dim: int = option(100, "dimensions of the noise vector z (Z_DIM)", bounds=_WIDTH)
    condition_dim: int = option(100, "dimensions of the augmented condition (CONDITION_DIM)", bounds=_WIDTH)
    residual_blocks: int = option(2, "residual blocks of a refinement stage (R_NUM)", bounds=_BLOCKS)
    feature_network: str = option(
        "vgg16", "frozen network of image features, for MDSP (small: a stand-in)", ("vgg16", "small")
    )

    def __post_init__(self):
        _check(self)
        _require(self.base_size in _BASE_SIZES, f"base_size {self.base_size}: must be a power of two from 8 to 512")

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

    gamma1: float = option(4.0, "sharpness of a word's attention over regions (AttnGAN Eq. 9)", bounds=_ABOVE_0)
    gamma2: float = option(5.0, "sharpness of the sum over words (AttnGAN Eq. 10)", bounds=_ABOVE_0)
    gamma3: float = option(10.0, "sharpness of the choice among captions (AttnGAN Eq. 11)", bounds=_ABOVE_0)

    def __post_init__(self):
        _check(self)


SEARCHES = ("S-S", "S-I", "S-R", "W-W", "W-I", "S-SI", "W-WI")  # retrieval methods (dmgan/models/retrieval.py)
RETRIEVALS = (*SEARCHES, "random", "oracle")  # random: lower bound; oracle, the described image: upper bound
DEFAULT_METHOD = "S-S"
SHEETS = ("png", "jpg")  # formats of the contact sheets of `generate`


# Rules by which training batches draw the image of a mismatched pair (dmgan/data/batches.py).
WRONG_IMAGES = ("redrawn", "other_class", "other_image")


@dataclass(frozen=True)
class LossOptions:
    """Options in which the models' losses differ; the defaults are those of the released DM-GAN.

    These options belong to a model (dmgan/models/registry.py), not to a run, and have no flag.
    """

    half_adversarial: bool = option(
        False, "factor 1/2 of Eq. 11 on the generator's two adversarial terms; false: their sum, as released"
    )
    mismatched_captions: bool = option(
        True,
        "discriminator loss with mismatched captions, as released: real terms / 2 + (fake terms + real images with "
        "captions of other images) / 3; false: Eq. 12, four terms with factor 1/2",
    )
    kl: str = option(
        "mean", "reduction of Eq. 13 over dimensions: mean, as released, or sum, the KL divergence", ("mean", "sum")
    )

    mismatched_pairs: str = option(
        "next",
        "mismatched pairs of a batch of B: next, image k with sentence k + 1, B - 1 pairs; wrapped (DF-GAN), image "
        "k + 1 with sentence k, the first image with the last sentence, B pairs; or every sentence with an image drawn "
        "for it: redrawn (StackGAN++), drawn once more if its class is the sentence's; other_class (GAN-INT-CLS); "
        "other_image (GAN-CLS on COCO)",
        ("next", "wrapped", *WRONG_IMAGES),
    )
    wrong_captions: bool = option(
        False, "ControlGAN: draw a caption of a random training image for every image, for the word-level loss"
    )
    condition: str = option(
        "sentence",
        "what the discriminators read beside an image: the sentence, or the mean of the conditioning augmentation, "
        "with its gradient in the generator's loss (mean: StackGAN++) or without (detached_mean: StackGAN)",
        ("sentence", "mean", "detached_mean"),
    )

    matching: bool = option(True, "whether the generator's loss includes the DAMSM loss")
    adversarial: str = option("bce", "adversarial loss: bce or hinge (DF-GAN)", ("bce", "hinge"))
    matching_aware_penalty: float = option(0.0, "weight k of DF-GAN's gradient penalty on real, matching pairs")

    mismatched_images_real: bool = option(
        False,
        "StackGAN++: the image of a mismatched pair counts as real in the unconditional loss; all six terms are summed",
    )

    interpolation: bool = option(
        False,
        "GAN-INT: for every two captions, the generator's loss has one more image, of the mean of their sentence "
        "features; all its images have new noise; for models that read only the sentence feature",
    )
    r1: bool = option(False, "R1 penalty: squared gradient norm of a discriminator's logits at real images")

    def __post_init__(self):
        _require(
            self.mismatched_captions or not self.mismatched_images_real,
            "mismatched_images_real: needs mismatched_captions",
        )
        _require(not (self.interpolation and self.matching), "interpolation: cannot be combined with matching")
        _check(self)


# Policies of DiffAugment (dmgan/training/augmentation.py), written as in the authors' release.
DIFF_AUGMENT = (
    "none", "color", "translation", "cutout", "color,translation", "color,cutout", "translation,cutout",
    "color,translation,cutout",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the training loop of all generators; defaults are DM-GAN's released bird configuration."""

    epochs: int = option(800, "passes over the training images", bounds=_FROM_1)
    batch_size: int = option(10, "images per step", bounds=_FROM_2, reason="mismatched pairs need two images")
    generator_lr: float = option(2e-4, "Adam's learning rate of the generator", bounds=_ABOVE_0)
    discriminator_lr: float = option(2e-4, "Adam's learning rate of each discriminator", bounds=_ABOVE_0)
    lr_halving_epochs: int = option(
        0,
        "both learning rates are halved every so many epochs (of a stage, if stages are trained in turn); 0: never",
        bounds=_FROM_0,
    )
    adam_beta1: float = option(0.5, "Adam's decay of the mean of gradients, for every network", bounds=_BELOW_1)
    adam_beta2: float = option(
        0.999, "Adam's decay of the mean of squared gradients, for every network", bounds=_BELOW_1
    )
    damsm_weight: float = option(5.0, "weight of the DAMSM loss, lambda (5 on CUB, 50 on COCO)", bounds=_FROM_0)
    kl_weight: float = option(1.0, "weight of the conditioning augmentation's KL term", bounds=_FROM_0)
    perceptual: str = option(
        "vgg16",
        "network of the perceptual loss (ControlGAN): relu2_2 of VGG-16, or, without its weights, the first layers "
        "of the DAMSM's small image encoder",
        ("vgg16", "damsm"),
    )
    perceptual_weight: float = option(1.0, "weight of the perceptual loss (ControlGAN)", bounds=_FROM_0)
    caption_weight: float = option(10.0, "weight of the captioner's cross entropy (MirrorGAN)", bounds=_FROM_0)
    r1_gamma: float = option(
        10.0, "weight gamma of the R1 penalty (less for images smaller than 256 px)", bounds=_FROM_0
    )
    ema_decay: float = option(
        0.999, "decay of the generator's averaged weights; 0: no average, the last weights are kept", bounds=_BELOW_1
    )
    max_words: int = option(
        18, "words of the longest caption; longer captions are cut to a random ordered subset", bounds=_WORDS
    )
    captions_per_image: int = option(
        1,
        "captions, drawn with replacement, whose mean sentence feature an image has; words are the first caption's",
        bounds=_FROM_1,
    )
    diff_augment: str = option(
        "none",
        "DiffAugment (Zhao et al. 2020): random, differentiable augmentation of every image, real or generated, that a "
        "discriminator reads; for small data sets of photographs. none, or the operations, in this order",
        DIFF_AUGMENT,
    )
    sort_by_length: bool = option(
        False,
        "order every batch by caption length, longest first, as AttnGAN's and DM-GAN's released code: the mismatched "
        "caption of an image then has nearly the length of its own",
    )
    checkpoint_every: int = option(500, "steps between checkpoints", bounds=_FROM_1)
    evaluate_every: int = option(
        0,
        "steps between measurements of the averaged weights on validation images, which are held out of training; the "
        "last step is measured too. 0: never, and no image is held out",
        bounds=_FROM_0,
    )
    validation_images: int = option(
        AUTOMATIC,
        "training images that evaluate_every holds out. -1: a tenth of the training images, at most 500",
        bounds=_FROM_AUTOMATIC,
    )
    select: str = option(
        "last",
        "weights that the run keeps as its generator: of the last step, or those with the lowest FID on validation "
        "images (never on test images)",
        ("last", "best"),
    )

    def __post_init__(self):
        _check(self)
        _require(self.select == "last" or self.evaluate_every, "select best: needs evaluate_every above 0")

    def held_out(self, training_images: int) -> int:
        """Return how many of `training_images` are held out for validation; 0 without evaluate_every."""
        return _held_out(self.validation_images, training_images) if self.evaluate_every else 0


def _cuda_graphs():
    return option(None, "run the whole training step as one CUDA graph (default: on a GPU, if the step allows it)")


def _deterministic():
    return option(False, "use only deterministic algorithms (on a GPU; the CPU is always deterministic)")


@dataclass(frozen=True)
class EngineOptions:
    """How the training loop runs: speed, memory and rounding. Recorded separately, since not part of the experiment.

    The defaults are plain float32 on one device, the reference for all other settings.
    """

    precision: str = option(
        "float32",
        "number format of forward and backward passes; weights, optimisers and losses stay float32",
        ("float32", "bfloat16", "float16"),
    )
    channels_last: bool = option(False, "use the channels_last memory format for images and features")
    fused: bool = option(
        False, "compute generator, discriminators and losses with fewer operations; values are equal up to rounding"
    )
    compile: bool = option(
        False,
        "compile the generator's stages and the image encoder in the first step, for minutes (needs a C++ compiler)",
    )
    cuda_graphs: bool | None = _cuda_graphs()
    fused_adam: bool = option(False, "one kernel per optimiser step")
    accumulate: int = option(
        1,
        "micro-batches per batch, for batches larger than memory; batch norm then uses the statistics of a micro-batch",
        bounds=_FROM_1,
    )
    gradient_checkpointing: bool = option(
        False, "recompute the features of each stage in the backward pass, to save memory"
    )
    deterministic: bool = _deterministic()
    cache_captions: bool = option(False, "encode every caption once, into a file in the encoders' folder")

    def __post_init__(self):
        _check(self)
        _require(
            not (self.compile and self.gradient_checkpointing),
            "gradient_checkpointing: cannot be combined with compile, which chooses what to recompute; drop one",
        )


PLAIN_ENGINE = EngineOptions()


@dataclass(frozen=True)
class TrainingSettings:
    """All options of one generator's training."""

    architecture: ArchitectureOptions
    training: TrainingOptions
    matching: MatchingOptions = MatchingOptions()
    engine: EngineOptions = PLAIN_ENGINE


@dataclass(frozen=True)
class DamsmOptions:
    """Options of DAMSM pretraining; defaults are AttnGAN's released bird configuration, but for validation images."""

    image_encoder: str = option(
        "inception",
        "trunk of the image encoder: inception (the papers'; needs its file of weights) or efficientnet-lite0 (weights "
        "are installed), both frozen with ImageNet weights; small is trained from scratch",
        ("inception", "efficientnet-lite0", "small"),
    )
    image_size: int = option(299, "side of the images the encoder is trained on, px", bounds=_SIDE)
    width: int = option(32, "channels of the first layer of image_encoder small", bounds=_WIDTH)
    trunk_size: int = option(
        224,
        "side to which the trunk efficientnet-lite0 resizes images, px: its regions are a map of a 32nd of this side. "
        "A smaller side is faster, in every step of a generator too",
        bounds={"minimum": 32, "maximum": 4096, "multipleOf": 32},
    )
    trunk_crops: int = option(
        0,
        "random crops of every training image whose feature maps the frozen trunk efficientnet-lite0 computes once, "
        "into --trunk-cache, so that no epoch runs the trunk. 0: a new crop of every image in every epoch, through the "
        "trunk",
        bounds=_FROM_0,
    )
    embedding_dim: int = option(
        256,
        "dimensions of a word, region or sentence feature",
        bounds={"minimum": 2, "maximum": 16_384, "multipleOf": 2},
        reason="two LSTM directions",
    )
    epochs: int = option(600, "passes over the training images", bounds=_FROM_1)
    batch_size: int = option(48, "image-caption pairs per step", bounds=_FROM_2, reason="matching needs two captions")
    lr: float = option(2e-3, "Adam's learning rate in the first epoch", bounds=_ABOVE_0)
    text_lr_factor: float = option(1.0, "text encoder's learning rate over the image encoder's", bounds=_ABOVE_0)
    lr_decay: float = option(
        0.98, "factor of the learning rate per epoch", bounds={"exclusiveMinimum": 0, "maximum": 1}
    )
    min_lr: float = option(2e-4, "smallest learning rate", bounds=_FROM_0)
    gradient_clip: float = option(0.25, "largest norm of the text encoder's gradient", bounds=_ABOVE_0)
    new_adam_each_epoch: bool = option(True, "reset Adam's moments every epoch, as the released code does")
    dropout: float = option(0.5, "dropout on word embeddings", bounds=_BELOW_1)
    max_words: int = option(
        18, "words of the longest caption; longer captions are cut to a random ordered subset", bounds=_WORDS
    )
    checkpoint_every: int = option(500, "steps between checkpoints", bounds=_FROM_1)
    validation_images: int = option(
        AUTOMATIC,
        "training images that pretraining holds out, to end with their R-precision. -1: a tenth of the training "
        "images, at most 500, if the others fill a batch. 0: none, as in the papers; the R-precision is then of images "
        "that it was trained on",
        bounds=_FROM_AUTOMATIC,
    )

    def __post_init__(self):
        _check(self)

    def held_out(self, training_images: int) -> int:
        """Return how many of `training_images` are held out for validation."""
        count = _held_out(self.validation_images, training_images)
        if self.validation_images == AUTOMATIC:  # the others fill a batch, and mismatched captions need a second image
            count = min(count, training_images - self.batch_size)
            return count if count >= 2 else 0
        return count


@dataclass(frozen=True)
class DamsmEngineOptions:
    """How DAMSM pretraining runs on a GPU; not part of the experiment."""

    cuda_graphs: bool | None = _cuda_graphs()
    deterministic: bool = _deterministic()


@dataclass(frozen=True)
class DamsmSettings:
    """All options of DAMSM pretraining."""

    options: DamsmOptions
    matching: MatchingOptions = MatchingOptions()
    engine: DamsmEngineOptions = DamsmEngineOptions()
    trunk_cache: Path | None = None  # folder of the feature maps of trunk_crops

    def __post_init__(self):
        crops, size = self.options.trunk_crops, self.options.trunk_size
        if self.options.image_encoder != "efficientnet-lite0":
            _require(not crops, f"trunk_crops {crops}: needs image_encoder efficientnet-lite0; leave it out")
            _require(size == 224, f"trunk_size {size}: needs image_encoder efficientnet-lite0; leave it out")
        _require(not crops or self.trunk_cache is not None, f"trunk_crops {crops}: needs --trunk-cache FOLDER")
        _require(crops or self.trunk_cache is None, "--trunk-cache: is only read with --trunk-crops; leave it out")


@dataclass(frozen=True)
class CaptionerOptions:
    """Options of pretraining the captioner of MirrorGAN's STREAM module."""

    embedding_dim: int = option(256, "dimensions of the LSTM's input, an image or word embedding", bounds=_WIDTH)
    hidden_dim: int = option(512, "dimensions of the LSTM's state", bounds=_WIDTH)
    epochs: int = option(100, "passes over the training images", bounds=_FROM_1)
    batch_size: int = option(48, "image-caption pairs per step", bounds=_FROM_2)
    lr: float = option(1e-3, "Adam's learning rate", bounds=_ABOVE_0)
    max_words: int = option(
        18, "words of the longest caption; longer captions are cut to a random ordered subset", bounds=_WORDS
    )
    checkpoint_every: int = option(500, "steps between checkpoints", bounds=_FROM_1)

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True)
class ClassifierOptions:
    """Options of training the species and attribute classifiers, which evaluations read."""

    image_size: int = option(64, "side of the images, px", bounds=_SIDE)
    width: int = option(32, "channels of the first layer", bounds=_WIDTH)
    features: int = option(128, "dimensions of the feature vector that FID reads", bounds=_WIDTH)
    epochs: int = option(30, "passes over the training images", bounds=_FROM_1)
    batch_size: int = option(64, "images per step", bounds=_FROM_2)
    lr: float = option(2e-3, "AdamW's largest learning rate (one cycle)", bounds=_ABOVE_0)
    validation_share: float = option(
        0.1, "share of the training images held out to measure the accuracy", bounds=_BELOW_1
    )
    checkpoint_every: int = option(500, "steps between checkpoints", bounds=_FROM_1)

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True)
class ProbeOptions:
    """Options of the linear probe, which gives `efficientnet-lite0` an Inception Score."""

    l2: float = option(0.01, "weight of half the sum of squared weights in the loss", bounds=_ABOVE_0)
    validation_share: float = option(
        0.1, "share of the training images held out to measure the accuracy", bounds=_BELOW_1
    )

    def __post_init__(self):
        _check(self)


# Image sets whose rank is known beforehand, one row of every table per control: dmgan/evaluation/controls.py.
CONTROLS = ("real", "shuffled", "nearest", "noise", "adversarial")


@dataclass(frozen=True)
class EvaluationOptions:
    """How an image set is measured; batch_size and workers do not change the results."""

    seed: int = option(100, "seed of mismatched captions and folds", bounds=_FROM_0)
    fold_rule: str = option(
        "corrected",
        "folds of R-precision; released: every fold omits its last image, as in the released code",
        ("corrected", "released"),
    )
    caption_words: int = option(
        0,
        "largest number of words that the DAMSMs of R-precision read of a caption; of longer captions a random subset "
        "of words, in order (released: 25 on CUB, 20 on COCO). 0: whole captions",
        bounds=_FROM_0,
    )
    neighbours: int = option(
        5, "k of the k-th nearest neighbour in precision, recall, density and coverage", bounds=_FROM_1
    )
    adversarial_images: int = option(
        1000,
        "largest number of images of the control row adversarial, each of which takes 40 gradient steps through the "
        "DAMSM's image encoder",
        bounds={"minimum": 20},
    )
    batch_size: int = option(
        64, "images read at a time, at least a forward pass of 32; affects only speed and memory", bounds=_FROM_1
    )
    workers: int = option(
        AUTOMATIC,
        "processes that read and resize images; 0: only the main process. -1: 0 on the CPU; on a GPU all CPU threads "
        "but one, at most 16",
        bounds=_PROCESSES,
    )

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True)
class SamplingOptions:
    """How sampled images are computed and written; only `precision` changes them by more than rounding."""

    precision: str = option(
        "float32",
        "number format of the generator's convolutions and matrix products; bfloat16 is about twice as fast and alters "
        "pixels by about one grey level",
        ("float32", "bfloat16"),
    )
    fused: bool = option(True, "fold batch norms and skip repeated operations; values are equal up to rounding")
    channels_last: bool = option(True, "use the channels_last memory format")
    compile: bool = option(False, "compile the generator first (needs a C++ compiler on the CPU)")
    cuda_graphs: bool = option(
        True,
        "on a GPU, replay the generator as a CUDA graph per batch shape; images are bit-exact. No effect on the CPU",
    )
    batch_size: int = option(64, "images at a time; affects only speed", bounds=_FROM_1)
    workers: int = option(
        AUTOMATIC,
        "processes that encode PNG files in parallel; 0: the generator waits for the files. -1: 1 on the CPU; on a GPU "
        "all CPU threads but one, at most 16",
        bounds=_PROCESSES,
    )
    png_level: int = option(
        1,
        "zlib's compression level of PNG files; pixels are the same. 1 takes a third of the time of 6 for photographs, "
        "with 2 to 7 % larger files",
        bounds={"minimum": 0, "maximum": 9},
    )
    packed: bool = option(False, "also write all images into one file, images.npy (uint8, for memory mapping)")

    def __post_init__(self):
        _check(self)


def as_dict(options) -> dict[str, object]:
    """Return the options as plain values, for JSON."""
    return dataclasses.asdict(options)


def from_dict(kind: type, values: dict[str, object], source: str):
    """Return options of `kind` from plain values; raise UserError naming `source` for unknown or missing names."""
    names = {each.name for each in dataclasses.fields(kind)}
    if not isinstance(values, dict):
        raise UserError(f"{source}: is damaged (the {kind.__name__} are not an object); make the run again")
    unknown, missing = set(values) - names, names - set(values)
    if unknown or missing:
        raise UserError(
            f"{source}: is of another version ({kind.__name__}: unknown {sorted(unknown)}, missing {sorted(missing)}); "
            "make the run again"
        )
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
