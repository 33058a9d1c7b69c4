"""Render the gallery of failures of every model."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True, help="metrics.json of sampled images, one for each model"
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, help="folders of these images, in the order of --metrics"
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared data set of the captions")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figure")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.figures.render import write_failures
    from dmgan.report.made_from import recorded

    with recorded(arguments.out, "failures", [*arguments.metrics, arguments.data / "dataset.json"]):
        write_failures(arguments.metrics, arguments.images, arguments.data, arguments.out)
