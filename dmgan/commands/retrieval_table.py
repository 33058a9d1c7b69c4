"""Render the table of retrieval methods."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics",
        type=Path,
        nargs="+",
        required=True,
        help="metrics.json of a model for every retrieval method and seed",
    )
    parser.add_argument("--memorisation", type=Path, nargs="+", required=True, help="memorisation.json of every seed")
    parser.add_argument("--out", type=Path, required=True, help="folder of retrieval.md and retrieval.csv")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.made_from import recorded
    from dmgan.report.tables.retrieval import write_retrieval

    with recorded(arguments.out, "retrieval", [*arguments.metrics, *arguments.memorisation]):
        write_retrieval(arguments.metrics, arguments.memorisation, arguments.out)
