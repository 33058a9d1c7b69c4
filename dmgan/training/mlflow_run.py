"""MLflow mirror of training and evaluation runs; the project writes to MLflow but never reads results from it.

MLflow never stops the work. A database that is missing, damaged, locked or silent costs one warning; what could not be
sent is sent later, or by the next run of the same command.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dmgan.errors import UserError
from dmgan.runtime.progress import log
from dmgan.storage.files import read_json, write_json

EXPERIMENT = "dmgan"
VALIDATION = "validation/"  # prefix of metrics of validation images, which have steps of their own
_RUN_FILE = "mlflow.json"
_SECONDS = 10.0  # minimum time between two transfers of history rows, because the database is slow
_POINTS = 1000  # MLflow's limit of metric values per call
_RETRY_SECONDS = 60.0  # time between attempts to reach a database that failed
_ANSWER_SECONDS = "10"  # within which a server must answer


def _mlflow():
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", _ANSWER_SECONDS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # MLflow's own retries block for minutes
    try:
        import mlflow
    except ImportError as error:
        raise UserError(
            "--mlflow: mlflow is not installed; run without --mlflow, or install requirements.lock"
        ) from error
    return mlflow


def create_database(uri: str, artifacts: Path) -> None:
    """Create the database and its experiment; call this once before jobs start, which would race to create them."""
    mlflow = _mlflow()
    client = mlflow.MlflowClient(uri)  # the first client creates the tables
    if client.get_experiment_by_name(EXPERIMENT) is None:
        client.create_experiment(EXPERIMENT, artifact_location=artifacts.resolve().as_uri())


class MlflowRun:
    """The MLflow run of one job; all methods do nothing if no URI is given, and none fails if MLflow does."""

    def __init__(
        self, uri: str | None, run_folder: Path, name: str, tags: dict[str, str], parameters: dict[str, object]
    ):
        """Continue the MLflow run recorded in `run_folder` if its tags are equal, else create a new MLflow run."""
        self._uri, self._folder = uri, run_folder
        self._name, self._tags, self._parameters = name, tags, parameters
        self._client, self._run_id = None, None
        self._sent_step, self._sent_validation, self._sent_at = 0, 0, 0.0
        self._rows: list[dict[str, float]] = []  # history rows to send
        self._calls: list[Callable[[], None]] = []  # what else is to be sent, in order
        self._failed, self._retry_at = False, 0.0
        if self.active:
            self._mlflow = _mlflow()
            self._send()

    @property
    def active(self) -> bool:
        """Whether a URI was given, so that values are logged."""
        return self._uri is not None

    def _send(self, now: bool = False) -> None:
        """Send all that waits; after a failure keep the rest, and try again only after a minute, or `now`."""
        if time.monotonic() < self._retry_at and not now:
            return
        try:
            if self._run_id is None:
                self._connect()
            self._send_rows()
            while self._calls:
                self._calls[0]()
                self._calls.pop(0)
        except Exception as error:  # MLflow, SQLAlchemy and HTTP raise many types, and none may end a training
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self._failed:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                log(f"MLflow, {self._uri}: {reason}; the job continues, and what is missing there is sent later")
            self._failed = True
            return
        if self._failed:
            log(f"MLflow, {self._uri}: answers again; what was missing is sent")
        self._failed, self._retry_at = False, 0.0

    def _connect(self) -> None:
        """Find or create the MLflow run."""
        self._client = self._mlflow.MlflowClient(self._uri)
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            raise LookupError(
                f"has no experiment {EXPERIMENT}; create it: python -m dmgan mlflow-db --mlflow {self._uri}"
            )
        if known := self._known_run():
            self._sent_step, self._sent_validation = self._logged_step(known, False), self._logged_step(known, True)
            self._client.set_terminated(known, status="RUNNING")
            self._run_id = known
            return
        run_id = self._client.create_run(experiment.experiment_id, run_name=self._name, tags=self._tags).info.run_id
        flat = [self._mlflow.entities.Param(key, str(value)) for key, value in self._parameters.items()]
        self._client.log_batch(run_id, params=flat)
        write_json(self._folder / _RUN_FILE, {"run_id": run_id, "uri": self._uri, "tags": self._tags})
        self._run_id = run_id

    def _known_run(self) -> str | None:
        """Return the id of this job's run from an earlier start; None if there is none, or the database lost it."""
        note = self._folder / _RUN_FILE
        known = read_json(note, "delete it") if note.exists() else {}
        same = isinstance(known, dict) and known.get("tags") == self._tags and known.get("uri") == self._uri
        if not same or not isinstance(known.get("run_id"), str):
            return None
        try:
            held = self._client.get_run(known["run_id"]).info.lifecycle_stage == "active"
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return known["run_id"] if held else None

    def _logged_step(self, run_id: str, of_validation: bool) -> int:
        """Return the last step of the history that was logged, or of the metrics of validation images."""
        logged = self._client.get_run(run_id).data.metrics
        keys = [key for key in logged if key.startswith(VALIDATION) == of_validation]
        histories = (self._client.get_metric_history(run_id, key) for key in keys[:1])
        return max((metric.step for history in histories for metric in history), default=0)

    def log_history(self, rows: list[dict[str, float]]) -> None:
        """Log history rows, at most every 10 s; rows that were logged already are left out.

        A killed job loses its unsent rows. The resumed job first logs the checkpoint's history and then computes the
        later rows again, so that no row is missing.
        """
        if not self.active:
            return
        last = self._rows[-1]["step"] if self._rows else self._sent_step
        self._rows += [row for row in rows if row["step"] > last]
        if time.monotonic() - self._sent_at >= _SECONDS:
            self._send()

    def flush(self) -> None:
        """Send the waiting rows."""
        if self.active:
            self._send()

    def _send_rows(self) -> None:
        """Send the waiting rows. A row is never split, so that the last step in MLflow identifies the last sent row."""
        self._rows = [row for row in self._rows if row["step"] > self._sent_step]
        while self._rows:
            rows = self._rows[: max(1, _POINTS // len(self._rows[0]))]
            points = [
                self._mlflow.entities.Metric(key, value, 0, int(row["step"]))
                for row in rows
                for key, value in row.items()
                if key != "step"
            ]
            self._client.log_batch(self._run_id, metrics=points)
            self._rows, self._sent_step = self._rows[len(rows) :], int(rows[-1]["step"])
            self._sent_at = time.monotonic()

    def _later(self, call: Callable[[], None]) -> None:
        """Send by `call` now, or later if MLflow fails."""
        if self.active:
            self._calls.append(call)
            self._send()

    def log_validation(self, step: int, values: dict[str, float]) -> None:
        """Log metrics of validation images at a step, unless a later or the same step was logged already."""

        def call() -> None:
            if step > self._sent_validation:
                self._send_metrics({VALIDATION + name: value for name, value in values.items()}, step)
                self._sent_validation = step

        self._later(call)

    def _send_metrics(self, values: dict[str, float], step: int) -> None:
        """Send metrics; MLflow does not allow brackets in names, so that FID(clean) is logged as FID/clean."""
        named = {re.sub(r"[^\w./ -]", "-", name.replace("(", "/").rstrip(")")): each for name, each in values.items()}
        points = [self._mlflow.entities.Metric(name, value, 0, step) for name, value in named.items()]
        self._client.log_batch(self._run_id, metrics=points)

    def log_scores(self, values: dict[str, float]) -> None:
        """Log final scores."""
        if values:
            self._later(lambda: self._send_metrics(values, 0))

    def log_image(self, pixels: np.ndarray, name: str) -> None:
        """Log an image (H, W, 3), uint8, as the PNG file `name`."""
        self._later(lambda: self._client.log_image(self._run_id, pixels, artifact_file=name))

    def log_file(self, path: Path) -> None:
        """Log a file, such as options.json."""
        self._later(lambda: self._client.log_artifact(self._run_id, str(path)))

    def close(self) -> None:
        """Mark the run as finished; log what could not be sent."""
        if not self.active:
            return
        self._calls.append(lambda: self._client.set_terminated(self._run_id, status="FINISHED"))
        self._send(now=True)
        if self._failed:
            log(f"MLflow, {self._uri}: still fails; run the same command again to send what is missing there")
