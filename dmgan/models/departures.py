"""Where DM-GAN's released code departs from its paper, and what stands for each side here.

`python -m dmgan.models.departures` writes the table as docs/paper-and-release.md.
"""

from pathlib import Path
from typing import NamedTuple

from dmgan.models.dmgan import MemoryOptions
from dmgan.options import LossOptions

PAGE = Path("docs/paper-and-release.md")


class Switch(NamedTuple):
    """A field of an options class, and its value on either side."""

    options: type
    name: str
    release: object
    paper: object


class Departure(NamedTuple):
    """One topic on which paper and release differ, or on which one of them is silent."""

    topic: str
    paper: str
    release: str
    here: Switch | str  # without a switch: why
    note: str = ""
    fixed: bool = False  # every model here takes the paper's side by default, not the release's


DEPARTURES = (
    # The generator's equations.
    Departure(
        "memory, key and value (Eq. 3-5, 8)",
        "M, M_w, M_r, phi_K and phi_V are 1x1 convolutions",
        "each is a 1x1 convolution with bias, followed by ReLU",
        Switch(MemoryOptions, "relu", release=True, paper=False),
        "The bias stays on both sides; without ReLU that of phi_K cancels in the softmax of Eq. 4.",
    ),
    Departure(
        "mean of the image features (Eq. 7, 8)",
        "plain",
        "detached from the graph: no gradient passes through it",
        Switch(MemoryOptions, "detach_mean", release=True, paper=False),
    ),
    Departure(
        "gated response (Eq. 9)",
        "r_new as it is; the dimension of W is not given",
        "one scalar gate per pixel; r_new is concatenated with itself to 2 N_r channels",
        Switch(MemoryOptions, "duplicate_response", release=True, paper=False),
        "The gate is scalar on both sides. It reads [r, o] where the paper has [o, r], which only renames its weights.",
    ),
    Departure(
        "concatenated response (Eq. 6)",
        "the naive response, kept as a variant",
        "absent; the duplicate of Eq. 9 keeps its number of channels",
        "`MemoryOptions.response` is `concatenate` in the ablations, `gate` in `dmgan` and `dmgan-paper`",
    ),
    Departure(
        "ablations (Table 3)",
        "baseline, +M, +M+WG, +M+WG+RG",
        "no switches",
        "`MemoryOptions.key_value`, `MemoryOptions.write_gate` and `MemoryOptions.response`: `dmgan-baseline`, "
        "`dmgan-m`, `dmgan-m-wg`, `dmgan`; what each keeps is in baselines/README.md",
    ),
    Departure(
        "attention over padded words (Eq. 4)",
        "the sum runs over the caption's T words; no mask is mentioned",
        "padded words are masked, but with misaligned rows: row r of the B N rows has the mask of sample r mod B",
        Switch(MemoryOptions, "word_mask", release="released", paper="corrected"),
        "A defect: an image then depends on its batch mates.",
        fixed=True,
    ),
    # The losses' equations.
    Departure(
        "generator's adversarial loss (Eq. 11)",
        "1/2 of the unconditional and the conditional term",
        "their sum, so that lambda_2 weighs half of what Eq. 10 suggests",
        Switch(LossOptions, "half_adversarial", release=False, paper=True),
    ),
    Departure(
        "discriminator's loss (Eq. 12)",
        "1/2 of four terms, no mismatched captions",
        "(real + real pair) / 2 + (fake + fake pair + mismatched pair) / 3",
        Switch(LossOptions, "mismatched_captions", release=True, paper=False),
    ),
    Departure(
        "conditioning augmentation's loss (Eq. 13)",
        "the KL divergence, a sum over dimensions",
        "the mean over dimensions too: 1/100 of it on CUB and COCO",
        Switch(LossOptions, "kl", release="mean", paper="sum"),
    ),
    Departure(
        "weights of the losses (Eq. 10)",
        "lambda_1 = 1; lambda_2 = 5 on CUB, 50 on COCO",
        "the same",
        "no departure: `TrainingOptions.kl_weight` and `TrainingOptions.damsm_weight`",
    ),
    Departure(
        "cross entropy",
        "log D",
        "of the sigmoid's output, which loses its gradient where the sigmoid saturates",
        "no switch: computed from logits, the same function elsewhere",
    ),
    # Networks.
    Departure(
        "spectral normalisation",
        "after every convolution of the discriminators",
        "on all convolutions but those of the logits; batch normalisation is removed",
        "no switch: not an equation; all models named `dmgan` have the released discriminators",
        "The gradient takes u and v of the same call as constants, as the release did under torch 0.4.",
    ),
    Departure(
        "residual blocks",
        "several",
        "2 on CUB, 3 on COCO",
        "no switch: a size, `ArchitectureOptions.residual_blocks`",
    ),
    Departure(
        "sizes N_w, N_r, N_m",
        "256, 64, 128",
        "the same: E = 256, GF_DIM = 64, twice GF_DIM",
        "no departure: `DamsmOptions.embedding_dim`, `ArchitectureOptions.generator_width`",
    ),
    Departure(
        "GLU and batch normalisation in the generator, orthogonal initialisation, averaged generator weights "
        "(decay 0.999), crop to the bounding box, new z and condition noise in evaluation",
        "not stated",
        "as named",
        "no switch: the release's, where the paper is silent; the decay is `TrainingOptions.ema_decay`",
        "Condition noise is part of an image's own noise here.",
    ),
    # Configuration.
    Departure(
        "epochs",
        "600 on CUB, 120 on COCO",
        "800 and 200",
        "no switch: configuration, `TrainingOptions.epochs`",
    ),
    Departure(
        "batch size",
        "10 for all",
        "10 on CUB, 16 on COCO",
        "no switch: configuration, `TrainingOptions.batch_size`",
    ),
    Departure(
        "number of words T",
        "\"number of words\"",
        "at most 18 on CUB and 12 on COCO in training, 25 and 20 in evaluation; of a longer caption a random "
        "ordered subset",
        "no switch: configuration, `TrainingOptions.max_words`; evaluation: `sample --max-words`, `sampling.max_words`"
        "; R-precision reads whole captions, `EvaluationOptions.caption_words` cuts them",
    ),
    Departure(
        "text encoder",
        "pre-trained, fixed",
        "the DAMSM after 200 epochs on CUB, 100 on COCO",
        "no switch: configuration, `DamsmOptions.epochs`",
    ),
    # Evaluation.
    Departure(
        "FID",
        "a pre-trained Inception v3",
        "torchvision's weights, fed another range of values than they were trained on",
        "no switch: metrics.json names the feature network with the hash of its weights",
    ),
    Departure(
        "R-precision",
        "ten folds; mismatched captions at random",
        "folds of 2999, the last image of each 3000 is dropped; on CUB mismatched captions are of other classes",
        "no switch: ten whole folds, mismatched captions of other classes",
    ),
)  # fmt: skip

_HEAD = """# DM-GAN: the paper and its released code

Written by `python -m dmgan.models.departures` from the table in `dmgan/models/departures.py`; a test holds it against
the switches. The paper is Zhu et al., CVPR 2019; the release is MinfengZhu/DM-GAN, commit d515995.

`dmgan` is the released architecture and loss, and loads the released weights. `dmgan-paper` follows the paper's
equations where the release departs. Both are one line of `dmgan/models/registry.py`; a run's `options.json` records
the switches of its losses.

| topic | paper | release | here |
|---|---|---|---|
"""


def page() -> str:
    """The whole page, Markdown."""
    return _HEAD + "".join(f"| {each.topic} | {each.paper} | {each.release} | {_here(each)} |\n" for each in DEPARTURES)


def _here(departure: Departure) -> str:
    if isinstance(departure.here, str):
        text = departure.here
    else:
        options, name, release, paper = departure.here
        text = f"`{options.__name__}.{name}`: "
        if departure.fixed:
            text += f"`{paper}` in every model by default, `{release}` for comparison with the release"
        else:
            text += f"`{release}` in `dmgan`, `{paper}` in `dmgan-paper`"
    return f"{text}. {departure.note}".strip() if departure.note else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
