"""The MLflow database: its experiments, its artefacts, and the server that shows it."""

import json
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from dmgan.errors import UserError
from dmgan.runtime.telemetry import LOOPBACK, disable_telemetry
from dmgan.storage.reading import first_line

GENERATORS = "dmgan"  # a run for every model and seed: its training and its evaluation
CONTROLS = "dmgan-controls"  # control rows, whose FID would flatten a chart of the models' FID
NETWORKS = "dmgan-networks"  # encoders, classifiers and captioners
EXPERIMENTS = (GENERATORS, NETWORKS, CONTROLS)
_SQLITE = "sqlite:///"
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # opens as curves and runs, not as traces of chats
_ANSWER_SECONDS = "10"  # within which a server must answer


def import_mlflow() -> ModuleType:
    """Return the package mlflow, without telemetry and with short time limits; UserError if it is not installed."""
    disable_telemetry()
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", _ANSWER_SECONDS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # MLflow's own retries block for minutes
    try:
        import mlflow
    except ImportError as error:
        raise UserError(
            "--mlflow: mlflow is not installed; run without --mlflow, or install requirements.lock"
        ) from error
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints the traceback of what it raises too
    return mlflow


def outages() -> tuple[type[Exception], ...]:
    """Return the exceptions of MLflow, its database, its server and the disk; others are faults of this program."""
    from alembic.util.exc import CommandError
    from google.protobuf.json_format import ParseError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    of_another_server = json.JSONDecodeError, ParseError  # that answers something else, such as a login page
    return MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError, UserError, *of_another_server


def create_database(uri: str, artifacts: Path) -> None:
    """Create the database and its experiments; call this once before jobs start, which would race to create them.

    Artefacts are found in the folder `artifacts`, even if it was moved together with the database. UserError if the
    database is damaged, locked, of a newer MLflow or not within reach.
    """
    mlflow = import_mlflow()
    with _user_error_for_outages(uri):
        client = mlflow.MlflowClient(uri)  # the first client creates the tables
        location = artifacts.resolve().as_uri()
        moved = False
        for name in EXPERIMENTS:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                client.create_experiment(name, artifact_location=location, tags=_KIND)
            else:
                moved = moved or experiment.artifact_location != location
        if moved and uri.startswith(_SQLITE):
            _repoint(uri, location, artifacts)


@contextmanager
def _user_error_for_outages(uri: str) -> Iterator[None]:
    """Raise UserError instead of an exception that a database causes."""
    try:
        yield
    except outages() as error:
        raise UserError(
            f"--mlflow {uri}: {first_line(error)}; give another database, or move this one away to begin a new one"
        ) from error


def _repoint(uri: str, location: str, artifacts: Path) -> None:
    """Make the experiments write to `artifacts`, and the runs whose files are there read from it.

    MLflow stores absolute paths, and has no call that changes them.
    """
    from sqlalchemy import create_engine, text

    engine = create_engine(uri)
    with engine.begin() as connection:
        for name in EXPERIMENTS:
            connection.execute(
                text("UPDATE experiments SET artifact_location = :location WHERE name = :name"),
                {"location": location, "name": name},
            )
        for (run,) in connection.execute(text("SELECT run_uuid FROM runs")).all():
            if (artifacts / run).is_dir():
                place = {"place": f"{location}/{run}/artifacts", "run": run}
                connection.execute(text("UPDATE runs SET artifact_uri = :place WHERE run_uuid = :run"), place)
    engine.dispose()


def comparison_address(uri: str, port: int) -> str:
    """Return the address of the page that compares the models' runs."""
    mlflow = import_mlflow()
    with _user_error_for_outages(uri):
        experiment = mlflow.MlflowClient(uri).get_experiment_by_name(GENERATORS)
    view = "compareRunsMode=CHART&workflowType=machine_learning"
    return f"http://{LOOPBACK}:{port}/#/experiments/{experiment.experiment_id}/runs?{view}"


def server_command(uri: str, port: int) -> list[str]:
    """Return the command of MLflow's server for a local database; it answers programs of this machine only.

    UserError if `uri` is a server, or names a database that does not exist.
    """
    if not uri.startswith(_SQLITE):
        raise UserError(f"--mlflow {uri}: is not a local database; open a server's address in a browser")
    path = Path(uri.removeprefix(_SQLITE))
    if not path.is_file():
        raise UserError(f"{path}: is not there; run `make demo` first, or give --mlflow {_SQLITE}FILE")
    words = ["--backend-store-uri", uri, "--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "ui", *words]


def serve(uri: str, port: int) -> None:
    """Replace this process by MLflow's server."""
    command = server_command(uri, port)
    import_mlflow()  # its settings in the environment
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # no background jobs: the database is only read
    os.execv(command[0], command)
