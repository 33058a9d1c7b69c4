"""Train the species classifier."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import ClassifierOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the classifier")
    parser.add_argument(
        "--classes", choices=["train", "test"], default="train",
        help="classes to train on: those of the training images, or those of the test images, which evaluations score; "
        "then FID is measured in features that have seen the test images (default train)",
    )  # fmt: skip
    flags.add_training_seed(parser)
    flags.add_run_flags(parser)
    flags.add_options(parser, ClassifierOptions)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.evaluation.train_classifiers import train_classifier

    options = flags.options_from(arguments, ClassifierOptions)
    train_classifier(
        arguments.data, arguments.out, options, arguments.seed, device, arguments.mlflow, arguments.classes
    )
