"""Render charts of trainings: losses, validation metrics, and FID against cost."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders of all seeds of all models")
    parser.add_argument(
        "--metrics", type=Path, nargs="+", default=[], help="metrics.json of the runs, for FID against cost"
    )
    parser.add_argument(
        "--benchmarks", type=Path, nargs="+", default=[],
        help="Snakemake's benchmark of every training, in the order of --runs, for the seconds of training",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.figures.render import write_curves
    from dmgan.report.made_from import recorded

    inputs = [*(run / "options.json" for run in arguments.runs), *arguments.metrics]
    with recorded(arguments.out, "curves", inputs):
        write_curves(arguments.runs, arguments.metrics, arguments.benchmarks, arguments.out)
