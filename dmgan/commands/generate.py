"""Generate images from your own captions."""

import argparse
from pathlib import Path

from dmgan.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder of a trained or imported model")
    parser.add_argument("--caption", action="append", help="a caption; may be given several times")
    parser.add_argument("--captions", type=Path, help="a text file with one caption per line")
    parser.add_argument("--out", type=Path, default=Path("generated"), help="folder of the images (default generated/)")
    parser.add_argument(
        "--images-per-caption",
        type=flags.COUNT,
        default=1,
        help="images per caption, with different noises (default 1)",
    )
    parser.add_argument("--seed", type=flags.SEED, default=100, help="seed of the noises (default 100)")
    flags.add_run_flags(parser, tracking=False)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.sampling.generate import generate_from_captions

    captions = list(arguments.caption or [])
    if arguments.captions is not None:
        from dmgan.sampling.generate import read_captions

        captions += read_captions(arguments.captions)
    generate_from_captions(arguments.run, captions, arguments.out, arguments.images_per_caption, arguments.seed, device)
