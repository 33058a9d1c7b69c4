"""List DM-GAN's parameters."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the listings")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.made_from import recorded
    from dmgan.report.tables.parameters import write_parameters

    with recorded(arguments.out, "parameters"):
        write_parameters(arguments.out)
