"""Open the MLflow database in a browser."""

import argparse
from pathlib import Path

from dmgan.commands import flags

_PORT = 5055


def add_flags(parser: argparse.ArgumentParser) -> None:
    default = flags.DEFAULT_TRACKING
    parser.add_argument("--mlflow", metavar="URI", default=default, help=f"database to show (default {default})")
    parser.add_argument("--artifacts", type=Path, default=Path("results/mlflow"), help="folder of the runs' files")
    parser.add_argument(
        "--port", type=flags.whole_number(1, 65535), default=_PORT, help=f"port of the page (default {_PORT})"
    )


def run(arguments: argparse.Namespace) -> None:
    from dmgan.training import mlflow_database

    mlflow_database.server_command(arguments.mlflow, arguments.port)  # before a missing database is created
    mlflow_database.create_database(arguments.mlflow, arguments.artifacts)
    address = mlflow_database.comparison_address(arguments.mlflow, arguments.port)
    print(f"Compare the runs: {address}  (Ctrl-C ends it)", flush=True)
    mlflow_database.serve(arguments.mlflow, arguments.port)
