"""Evaluate a set of images."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import EvaluationOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of images that sample wrote")
    parser.add_argument(
        "--out", type=Path, required=True, help="metrics.json to write; features/ is written to its folder"
    )
    flags.add_evaluation_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.evaluation.evaluate import evaluate

    evaluate(
        images=arguments.images,
        data=arguments.data,
        network_files=flags.network_files_from(arguments),
        reference=arguments.reference,
        out=arguments.out,
        options=flags.options_from(arguments, EvaluationOptions),
        device=device,
        mlflow=arguments.mlflow,
    )
