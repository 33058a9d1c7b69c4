"""Differences between the DM-GAN paper and its released code, and the option that selects either side.

`python -m docs.paper_vs_release` writes the table as docs/paper-and-release.md.
"""

from pathlib import Path
from typing import NamedTuple

from dmgan.models.dmgan import MemoryOptions
from dmgan.options import LossOptions

PAGE = Path("docs/paper-and-release.md")


class Option(NamedTuple):
    """A field of an options class, and its value on either side."""

    options: type
    name: str
    release: object
    paper: object


class Difference(NamedTuple):
    """One topic on which paper and release differ, or on which one of them is silent."""

    topic: str
    paper: str
    release: str
    here: Option | str  # the reason, if there is no option
    note: str = ""
    fixed: bool = False  # every model here takes the paper's side by default, not the release's


DIFFERENCES = (
    # The generator's equations.
    Difference(
        "memory, key and value (Eq. 3-5, 8)",
        "M, M_w, M_r, phi_K and phi_V are 1x1 convolutions",
        "these are 1x1 convolutions with bias, followed by ReLU",
        Option(MemoryOptions, "relu", release=True, paper=False),
        "Both variants keep the bias; without ReLU the bias of phi_K cancels in the softmax of Eq. 4.",
    ),
    Difference(
        "mean of the image features (Eq. 7, 8)",
        "plain",
        "detached from the graph: no gradient passes through it",
        Option(MemoryOptions, "detach_mean", release=True, paper=False),
    ),
    Difference(
        "gated response (Eq. 9)",
        "r_new as it is; the dimension of W is not given",
        "one scalar gate per pixel; r_new is concatenated with itself to 2 N_r channels",
        Option(MemoryOptions, "duplicate_response", release=True, paper=False),
        "The gate is scalar on both sides. It reads [r, o] where the paper has [o, r], which only renames its weights.",
    ),
    Difference(
        "concatenated response (Eq. 6)",
        "the naive response, kept as a variant",
        "absent; the duplicate of Eq. 9 keeps its number of channels",
        "`MemoryOptions.response` is `concatenate` in the ablations, `gate` in `dmgan` and `dmgan-paper`",
    ),
    Difference(
        "ablations (Table 3)",
        "baseline, +M, +M+WG, +M+WG+RG",
        "no options",
        "`MemoryOptions.key_value`, `MemoryOptions.write_gate` and `MemoryOptions.response`: `dmgan-baseline`, "
        "`dmgan-m`, `dmgan-m-wg`, `dmgan`; what each keeps is in baselines/README.md",
    ),
    Difference(
        "attention over padded words (Eq. 4)",
        "the sum runs over the caption's T words; no mask is mentioned",
        "padded words are masked, but with misaligned rows: row r of the B N rows has the mask of sample r mod B",
        Option(MemoryOptions, "word_mask", release="released", paper="corrected"),
        "A defect: an image depends on the other images of its batch.",
        fixed=True,
    ),
    # The losses' equations.
    Difference(
        "generator's adversarial loss (Eq. 11)",
        "1/2 of the unconditional and the conditional term",
        "their sum, so that lambda_2 weighs half of what Eq. 10 suggests",
        Option(LossOptions, "half_adversarial", release=False, paper=True),
    ),
    Difference(
        "discriminator's loss (Eq. 12)",
        "1/2 of four terms, no mismatched captions",
        "(real + real pair) / 2 + (fake + fake pair + mismatched pair) / 3",
        Option(LossOptions, "mismatched_captions", release=True, paper=False),
    ),
    Difference(
        "conditioning augmentation's loss (Eq. 13)",
        "the KL divergence, a sum over dimensions",
        "the mean over dimensions too: 1/100 of it on CUB and COCO",
        Option(LossOptions, "kl", release="mean", paper="sum"),
    ),
    Difference(
        "weights of the losses (Eq. 10)",
        "lambda_1 = 1; lambda_2 = 5 on CUB, 50 on COCO",
        "the same",
        "no difference: `TrainingOptions.kl_weight` and `TrainingOptions.damsm_weight`",
    ),
    Difference(
        "cross entropy",
        "log D",
        "of the sigmoid's output, which loses its gradient where the sigmoid saturates",
        "no option: computed from logits, the same function elsewhere",
    ),
    # Networks.
    Difference(
        "spectral normalisation",
        "after every convolution of the discriminators",
        "on all convolutions but those of the logits; batch normalisation is removed",
        "no option: not an equation; all models named `dmgan` have the released discriminators",
        "The gradient takes u and v of the same call as constants, as the release did under torch 0.4.",
    ),
    Difference(
        "residual blocks",
        "several",
        "2 on CUB, 3 on COCO",
        "no option: a size, `ArchitectureOptions.residual_blocks`",
    ),
    Difference(
        "sizes N_w, N_r, N_m",
        "256, 64, 128",
        "the same: E = 256, GF_DIM = 64, twice GF_DIM",
        "no difference: `DamsmOptions.embedding_dim`, `ArchitectureOptions.generator_width`",
    ),
    Difference(
        "GLU and batch normalisation in the generator, orthogonal initialisation, averaged generator weights "
        "(decay 0.999), crop to the bounding box, new z and condition noise in evaluation",
        "not stated",
        "as named",
        "no option: the release's, where the paper is silent; the decay is `TrainingOptions.ema_decay`",
        "Condition noise is part of an image's own noise here.",
    ),
    # Configuration.
    Difference(
        "epochs",
        "600 on CUB, 120 on COCO",
        "800 and 200",
        "no option: configuration, `TrainingOptions.epochs`",
    ),
    Difference(
        "batch size",
        "10 for all",
        "10 on CUB, 16 on COCO",
        "no option: configuration, `TrainingOptions.batch_size`",
    ),
    Difference(
        "number of words T",
        "\"number of words\"",
        "at most 18 on CUB and 12 on COCO in training, 25 and 20 in evaluation; of a longer caption a random "
        "ordered subset",
        "no option: configuration, `TrainingOptions.max_words`; evaluation: `sample --max-words`, `sampling.max_words`"
        "; R-precision reads whole captions by default, `EvaluationOptions.caption_words` cuts them: 25 and 20 in "
        "paper.yaml",
    ),
    Difference(
        "text encoder",
        "pre-trained, fixed",
        "the DAMSM of the epochs numbered 200 on CUB and 100 on COCO, counted from 0: 201 and 101 passes",
        "no option: configuration, `DamsmOptions.epochs`",
    ),
    Difference(
        "order of a batch",
        "not stated",
        "by caption length, longest first, so that the mismatched caption of an image has nearly the length of its own",
        "no option of the model: configuration, `TrainingOptions.sort_by_length`",
    ),
    Difference(
        "test images of COCO",
        "40k",
        "the 40,470 of AttnGAN's metadata",
        "no option: `val2014` has 40,504 images, all of which are test images here",
    ),
    # Evaluation.
    Difference(
        "test images",
        "30,000 images of test captions",
        "a shuffled data loader that drops the last images of a pass: on CUB eleven passes, on COCO a part of one",
        "no option: every pass has a random order of its own and is whole, but for the last",
    ),
    Difference(
        "FID",
        "a pre-trained Inception v3",
        "torchvision's weights, fed another range of values than they were trained on",
        "no option of a model: the feature extractor `torchvision-released` is the release's computation, "
        "`torchvision` the same network fed as it was trained, `inception-tf` and `clean` other networks and resizes",
    ),
    Difference(
        "R-precision",
        "ten folds; mismatched captions at random",
        "folds of 2999, the last image of each 3000 is dropped; on CUB mismatched captions are of other classes",
        "`EvaluationOptions.fold_rule`: ten whole folds by default, `released` drops the last image of each fold "
        "(paper.yaml); mismatched captions of other classes, on COCO of other images",
    ),
)  # fmt: skip

_HEAD = """# DM-GAN: paper vs. release

Written by `python -m docs.paper_vs_release` from the table in `docs/paper_vs_release.py`; a test compares it with
the options. The paper is Zhu et al., CVPR 2019; the release is MinfengZhu/DM-GAN, commit d515995.

`dmgan` is the released architecture and loss, and loads the released weights. `dmgan-paper` follows the paper's
equations where the release departs. Both are one line of `dmgan/models/registry.py`; a run's `options.json` records
the options of its losses.

| topic | paper | release | here |
|---|---|---|---|
"""


def page() -> str:
    """Return the whole page, Markdown."""
    return _HEAD + "".join(
        f"| {each.topic} | {each.paper} | {each.release} | {_here(each)} |\n" for each in DIFFERENCES
    )


def _here(difference: Difference) -> str:
    if isinstance(difference.here, str):
        text = difference.here
    else:
        options, name, release, paper = difference.here
        text = f"`{options.__name__}.{name}`: "
        if difference.fixed:
            text += f"`{paper}` in every model by default, `{release}` for comparison with the release"
        else:
            text += f"`{release}` in `dmgan`, `{paper}` in `dmgan-paper`"
    return f"{text}. {difference.note}".strip() if difference.note else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
