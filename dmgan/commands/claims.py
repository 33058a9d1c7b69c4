"""Check the papers' claims against their printed numbers and your runs."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True, help="metrics.json of every run and control row of a data set"
    )
    parser.add_argument(
        "--comparisons",
        type=Path,
        help="comparisons.csv that `compare` wrote from these files; without it, intervals decide",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for claims and conflicts, each as .csv, .md and .tex"
    )


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.made_from import recorded
    from dmgan.report.tables.claims import write_claims

    compared = [] if arguments.comparisons is None else [arguments.comparisons]
    with recorded(arguments.out, "claims", [*arguments.metrics, *compared]):
        write_claims(arguments.metrics, arguments.comparisons, arguments.out)
