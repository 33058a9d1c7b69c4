"""Render the papers' tables."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True, help="metrics.json of every run, method and control row"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the tables: NAME.csv, .md and .tex, and parts of each: -published, -controls and -notes",
    )


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.made_from import recorded
    from dmgan.report.tables.render import write_tables

    with recorded(arguments.out, "tables", arguments.metrics):
        write_tables(arguments.metrics, arguments.out)
