"""Generate images from your own captions."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import SHEETS


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
    group = parser.add_argument_group("further files")
    group.add_argument("--sheet", choices=SHEETS, help="contact sheets: a row of images under each caption")
    group.add_argument("--gif", action="store_true", help="an animation of the stages of every image")
    group.add_argument("--attention", action="store_true", help="a sheet of word attention maps for every image")
    group.add_argument(
        "--scores", action="store_true", help="scores.csv and scores.json: similarity of image and caption"
    )
    group.add_argument(
        "--nearest",
        action="store_true",
        help="the nearest training image of every image; its distance in scores.csv and scores.json",
    )
    flags.add_comparison(parser)
    flags.add_run_flags(parser, tracking=False)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    compared = flags.compared_with(arguments)
    from dmgan.inspection.generated_folder import GenerateRequest, generate_from_captions
    from dmgan.inspection.inspector import Aspects
    from dmgan.sampling.generate import read_captions

    captions = list(arguments.caption or [])
    if arguments.captions is not None:
        captions += read_captions(arguments.captions)
    aspects = Aspects(arguments.attention, arguments.scores, arguments.nearest)
    request = GenerateRequest(
        captions, arguments.images_per_caption, arguments.seed, arguments.sheet, arguments.gif, aspects
    )
    generate_from_captions(arguments.run, request, arguments.out, device, compared)
