"""Import released weights."""

import argparse
from pathlib import Path

from dmgan.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    from dmgan.models.registry import MODELS

    released = [name for name, entry in MODELS.items() if entry.released]
    parser.add_argument("--model", choices=released, required=True, help="model that the weights belong to")
    parser.add_argument("--generator", type=Path, required=True, help="released weights of the generator (.pth)")
    parser.add_argument("--text-encoder", type=Path, required=True, help="released text_encoder*.pth")
    parser.add_argument("--image-encoder", type=Path, required=True, help="released image_encoder*.pth")
    parser.add_argument(
        "--captions-pickle", type=Path, required=True, help="captions.pickle that was released with the encoders"
    )
    parser.add_argument("--out", type=Path, required=True, help="run folder to write, for sample and generate")
    parser.add_argument("--damsm-out", type=Path, help="folder of the encoders (default: damsm/ in the run folder)")
    parser.add_argument(
        "--word-mask", choices=["corrected", "released"], default="corrected",
        help="mask of padded words; released: as in the released code, where images depend on the other images of the "
        "batch (default corrected)",
    )  # fmt: skip
    parser.add_argument(
        "--max-words", type=flags.COUNT, default=25,
        help="largest number of words read; the released evaluation has 25 for birds, 20 for COCO (default 25)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from dmgan.training.import_released import ReleasedFiles, import_released

    released = ReleasedFiles(
        arguments.generator, arguments.text_encoder, arguments.image_encoder, arguments.captions_pickle
    )
    import_released(
        arguments.model, released, arguments.out, arguments.damsm_out, arguments.word_mask, arguments.max_words
    )
