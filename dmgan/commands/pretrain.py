"""Pretrain the DAMSM."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import DamsmEngineOptions, DamsmOptions, DamsmSettings, MatchingOptions

_OPTIONS = (DamsmOptions, MatchingOptions, DamsmEngineOptions)  # in the order of DamsmSettings


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the encoders")
    flags.add_training_seed(parser)
    parser.add_argument(
        "--inception-weights", type=Path, help="torchvision's inception_v3 state dict (for --image-encoder inception)"
    )
    parser.add_argument(
        "--trunk-cache", type=Path, help="folder of the trunk's feature maps, which encoders share (for --trunk-crops)"
    )
    flags.add_run_flags(parser)
    for kind in _OPTIONS:
        flags.add_options(parser, kind)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.evaluation.pretrained_retrieval import r_precision_of_training_images
    from dmgan.training.pretrain_damsm import pretrain

    settings = DamsmSettings(
        *(flags.options_from(arguments, kind) for kind in _OPTIONS), trunk_cache=arguments.trunk_cache
    )
    pretrain(
        arguments.data,
        arguments.out,
        settings,
        arguments.seed,
        device,
        arguments.mlflow,
        arguments.inception_weights,
        r_precision_of_training_images,
    )
