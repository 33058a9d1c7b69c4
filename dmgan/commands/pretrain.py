"""Pretrain the DAMSM."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import DamsmOptions, EngineOptions, MatchingOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the encoders")
    flags.add_training_seed(parser)
    parser.add_argument(
        "--inception-weights", type=Path, help="torchvision's inception_v3 state dict (for --image-encoder inception)"
    )
    parser.add_argument(
        "--deterministic", action=argparse.BooleanOptionalAction, default=False,
        help=EngineOptions.__dataclass_fields__["deterministic"].metadata["help"],
    )  # fmt: skip
    flags.add_run_flags(parser)
    flags.add_options(parser, DamsmOptions)
    flags.add_options(parser, MatchingOptions)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.runtime.device import set_deterministic
    from dmgan.training.pretrain_damsm import pretrain

    set_deterministic(device, arguments.deterministic)
    options, matching = flags.options_from(arguments, DamsmOptions), flags.options_from(arguments, MatchingOptions)
    pretrain(
        arguments.data, arguments.out, options, matching, arguments.seed, device, arguments.mlflow,
        arguments.inception_weights,
    )  # fmt: skip
