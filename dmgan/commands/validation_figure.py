"""Render the curves of validation metrics over training steps."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", type=Path, nargs="+", required=True, help="run folders of trainings with --evaluate-every"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of validation.png and validation.pdf")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.figures.validation_curves import write_validation_figure
    from dmgan.report.made_from import recorded

    with recorded(arguments.out, "validation", [run / "options.json" for run in arguments.runs]):
        write_validation_figure(arguments.runs, arguments.out)
