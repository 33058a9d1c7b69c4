"""Measure memorisation."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import LARGEST


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder of a model that retrieves")
    parser.add_argument("--images", type=Path, required=True, help="folder of images that `sample` wrote for this run")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set that the run was trained on")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--num-images", type=flags.whole_number(2, LARGEST), default=1000,
        help="images whose distances are measured (default 1000)",
    )  # fmt: skip
    flags.add_run_flags(parser, tracking=False)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.evaluation.memorisation import memorisation

    memorisation(arguments.run, arguments.images, arguments.data, arguments.out, arguments.num_images, device)
