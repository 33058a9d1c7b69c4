"""Create the MLflow database."""

import argparse
from pathlib import Path

from dmgan.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    default = flags.DEFAULT_TRACKING
    parser.add_argument("--mlflow", metavar="URI", default=default, help=f"database to create (default {default})")
    parser.add_argument("--artifacts", type=Path, default=Path("results/mlflow"), help="folder of the runs' files")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.training.mlflow_database import create_database

    create_database(arguments.mlflow, arguments.artifacts)
