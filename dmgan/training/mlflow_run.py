"""MLflow mirror of training and evaluation runs; the project writes to MLflow but never reads results from it."""

import os
import re
import time
from pathlib import Path

import numpy as np

from dmgan.errors import UserError
from dmgan.storage.files import read_json, write_json

EXPERIMENT = "dmgan"
_RUN_FILE = "mlflow.json"
_SECONDS = 10.0  # minimum time between two transfers of history rows, because the database is slow
_POINTS = 1000  # MLflow's limit of metric values per call


def _mlflow():
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
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
    """The MLflow run of one job; all methods do nothing if no URI is given."""

    def __init__(
        self, uri: str | None, run_folder: Path, name: str, tags: dict[str, str], parameters: dict[str, object]
    ):
        """Continue the MLflow run recorded in `run_folder` if its tags are equal, else create a new MLflow run."""
        self._run_id = None
        self._last_step, self._sent_at = 0, 0.0
        self._waiting: list[dict[str, float]] = []  # rows to send
        if uri is None:
            return
        mlflow = _mlflow()
        self._client = mlflow.MlflowClient(uri)
        self._entities, self._missing = mlflow.entities, mlflow.exceptions.MlflowException
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            raise UserError(
                f"{uri}: has no experiment {EXPERIMENT}; create it first: python -m dmgan mlflow-db --mlflow {uri}"
            )
        note = run_folder / _RUN_FILE
        known = read_json(note, "delete it") if note.exists() else None
        if known is not None and known["tags"] == tags and known["uri"] == uri and self._holds(known["run_id"]):
            self._run_id, self._last_step = known["run_id"], self._logged_step(known["run_id"])
            self._client.set_terminated(self._run_id, status="RUNNING")
            return
        run = self._client.create_run(experiment.experiment_id, run_name=name, tags=tags)
        self._run_id = run.info.run_id
        flat = [mlflow.entities.Param(key, str(value)) for key, value in parameters.items()]
        self._client.log_batch(self._run_id, params=flat)
        write_json(note, {"run_id": self._run_id, "uri": uri, "tags": tags})

    @property
    def active(self) -> bool:
        """Whether a URI was given, so that values are logged."""
        return self._run_id is not None

    def _holds(self, run_id: str) -> bool:
        """Return whether the database holds the active run `run_id`; the database may have been created anew."""
        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except self._missing:
            return False

    def _logged_step(self, run_id: str) -> int:
        keys = self._client.get_run(run_id).data.metrics
        histories = (self._client.get_metric_history(run_id, key) for key in list(keys)[:1])
        return max((metric.step for history in histories for metric in history), default=0)

    def log_history(self, rows: list[dict[str, float]]) -> None:
        """Log history rows, at most every 10 s; rows that were logged already are left out.

        A killed job loses its unsent rows. The resumed job first logs the checkpoint's history and then computes the
        later rows again, so that no row is missing.
        """
        if not self.active:
            return
        self._waiting += [row for row in rows if row["step"] > self._last_step]
        self._last_step = max([self._last_step, *(int(row["step"]) for row in rows)])
        if time.monotonic() - self._sent_at >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the waiting rows. A row is never split, so that the last step in MLflow identifies the last sent row."""
        while self._waiting:
            count = max(1, _POINTS // len(self._waiting[0]))
            rows, self._waiting = self._waiting[:count], self._waiting[count:]
            points = [
                self._entities.Metric(key, value, 0, int(row["step"]))
                for row in rows
                for key, value in row.items()
                if key != "step"
            ]
            self._client.log_batch(self._run_id, metrics=points)
        self._sent_at = time.monotonic()

    def log_scores(self, values: dict[str, float]) -> None:
        """Log final scores; MLflow does not allow brackets in names, so that FID(clean) is logged as FID/clean."""
        if self.active and values:
            named = {
                re.sub(r"[^\w./ -]", "-", name.replace("(", "/").rstrip(")")): each for name, each in values.items()
            }
            self._client.log_batch(self._run_id, metrics=[self._entities.Metric(k, v, 0, 0) for k, v in named.items()])

    def log_image(self, pixels: np.ndarray, name: str) -> None:
        """Log an image (H, W, 3), uint8, as the PNG file `name`."""
        if self.active:
            self._client.log_image(self._run_id, pixels, artifact_file=name)

    def log_file(self, path: Path) -> None:
        """Log a file, such as options.json."""
        if self.active:
            self._client.log_artifact(self._run_id, str(path))

    def close(self) -> None:
        """Mark the run as finished."""
        if self.active:
            self.flush()
            self._client.set_terminated(self._run_id, status="FINISHED")
