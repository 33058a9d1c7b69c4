"""Fit the linear probe of efficientnet-lite0."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import ProbeOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set with classes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the probe")
    flags.add_run_flags(parser, tracking=False)
    flags.add_options(parser, ProbeOptions)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.evaluation.fit_probe import fit_probe

    fit_probe(arguments.data, arguments.out, flags.options_from(arguments, ProbeOptions), device)
