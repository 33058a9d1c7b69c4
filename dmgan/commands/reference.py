"""Compute the features of the real test images."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import EvaluationOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    flags.add_extractors(parser)
    flags.add_probe(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the features to")
    flags.add_run_flags(parser, tracking=False)
    flags.add_options(parser, EvaluationOptions)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.evaluation.evaluate import measure_reference
    from dmgan.evaluation.networks.base import ExtractorInputs

    measure_reference(
        data=arguments.data,
        extractors=flags.extractors_from(arguments),
        networks=ExtractorInputs(arguments.classifier, arguments.weights, device, arguments.probe),
        out=arguments.out,
        options=flags.options_from(arguments, EvaluationOptions),
    )
