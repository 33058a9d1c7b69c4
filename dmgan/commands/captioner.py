"""Pretrain the captioner."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import CaptionerOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--damsm", type=Path, required=True, help="folder of the pretrained encoders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the captioner")
    flags.add_training_seed(parser)
    flags.add_run_flags(parser)
    flags.add_options(parser, CaptionerOptions)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.training.pretrain_captioner import train_captioner

    options = flags.options_from(arguments, CaptionerOptions)
    train_captioner(
        arguments.data, arguments.damsm, arguments.out, options, arguments.seed, device, arguments.mlflow
    )  # fmt: skip
