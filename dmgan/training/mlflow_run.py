"""MLflow mirror of training and evaluation runs; the project writes to MLflow but never reads results from it.

MLflow never stops the work. A database that is missing, damaged, locked or silent costs one warning; what could not be
sent is sent later, or by the next run of the same command. A fault of this program is raised.
"""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from dmgan.errors import UserError
from dmgan.models.colours import colour_of
from dmgan.runtime.progress import log
from dmgan.storage.files import json_sha256, read_json, write_json
from dmgan.training.mlflow_database import GENERATORS, import_mlflow, outages
from dmgan.training.system_metrics import SystemMetrics

RUN_FILE = "mlflow.json"
VALIDATION = "validation/"  # prefix of metrics of validation images, which have steps of their own
COLOUR = "mlflow.runColor"  # tag by which MLflow draws a run's curves
_SECONDS = 10.0  # minimum time between two transfers of history rows, because the database is slow
_POINTS = 1000  # MLflow's limit of metric values per call
_REFUSED = "INVALID_PARAMETER_VALUE"  # error code of MLflow for a value of ours that it does not accept
_RETRY_SECONDS = 60.0  # time between attempts to reach a database that failed
_NO_FACTS: Mapping[str, str] = {}


class SetOfImages(Protocol):
    """A data set's name, and the hashes of its files."""

    name_of_set: str
    sha256: Mapping[str, str]


class MlflowPlace(NamedTuple):
    """Where a run is shown in MLflow, and what it shows that may change from job to job."""

    experiment: str = GENERATORS
    curves: str = "generator"  # prefix of the history's keys
    facts: Mapping[str, str] = _NO_FACTS  # tags that do not identify the run, such as its commit


_GENERATOR = MlflowPlace()


class MlflowRun:
    """The MLflow run of a model and a seed; all methods do nothing if no URI is given, and none fails if MLflow does.

    The training and the evaluation in one run folder share one run, so that options and metrics share a row.
    """

    def __init__(
        self,
        uri: str | None,
        run_folder: Path,
        name: str,
        tags: Mapping[str, str],
        parameters: Mapping[str, object],
        place: MlflowPlace = _GENERATOR,
    ):
        """Continue the MLflow run recorded in `run_folder` if its tags are equal, else create a new MLflow run."""
        self._uri, self._folder, self._place = uri, run_folder, place
        self._name, self._tags, self._parameters = name, dict(tags), parameters
        self._client, self._run_id = None, None
        self._sent_step, self._sent_validation, self._sent_at = 0, 0, 0.0
        self._sent_images: set[str] = set()
        self._rows: list[dict[str, float]] = []  # history rows to send
        self._calls: list[Callable[[], None]] = []  # what else is to be sent, in order
        self._failed, self._retry_at = False, 0.0
        if self.active:
            self._mlflow, self._outages = import_mlflow(), outages()
            self._system = SystemMetrics()
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
        except self._outages as error:  # none of them may end a training; any other exception is a fault of this code
            if self._run_id is not None and getattr(error, "error_code", "") == _REFUSED:
                raise
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
        """Find or create the MLflow run, and set the tags that may change."""
        self._client = self._mlflow.MlflowClient(self._uri)
        experiment = self._client.get_experiment_by_name(self._place.experiment)
        if experiment is None:
            raise UserError(
                f"has no experiment {self._place.experiment}; create it: python -m dmgan mlflow-db --mlflow {self._uri}"
            )
        run_id = self._known_run()
        if run_id is None:
            run_id = self._create(experiment.experiment_id)
        else:
            self._sent_step = self._logged_step(run_id, f"{self._place.curves}/")
            self._sent_validation = self._logged_step(run_id, VALIDATION)
            self._sent_images = {_image_of(each.path) for each in self._client.list_artifacts(run_id, "images")}
            self._client.set_terminated(run_id, status="RUNNING")
        facts = [self._mlflow.entities.RunTag(key, value) for key, value in self._place.facts.items()]
        self._client.log_batch(run_id, tags=facts)
        self._run_id = run_id

    def _create(self, experiment_id: str) -> str:
        """Create the MLflow run with its parameters, record it in the run folder, and return its id."""
        run_id = self._client.create_run(experiment_id, run_name=self._name, tags=self._tags).info.run_id
        flat = [self._mlflow.entities.Param(key, str(value)) for key, value in self._parameters.items()]
        self._client.log_batch(run_id, params=flat)
        write_json(self._folder / RUN_FILE, {"run_id": run_id, "uri": self._uri, "tags": self._tags})
        return run_id

    def _known_run(self) -> str | None:
        """Return the id of this job's run from an earlier start; None if there is none, or the database lost it."""
        known = self._recorded()
        same = known.get("tags") == self._tags and known.get("uri") == self._uri
        if not same or not isinstance(known.get("run_id"), str):
            return None
        try:
            held = self._client.get_run(known["run_id"]).info.lifecycle_stage == "active"
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return known["run_id"] if held else None

    def _recorded(self) -> dict:
        """Return the content of mlflow.json in the run folder; an empty dict if it is missing or damaged."""
        try:
            known = read_json(self._folder / RUN_FILE, "delete it")
        except UserError:
            return {}
        return known if isinstance(known, dict) else {}

    def _logged_step(self, run_id: str, prefix: str) -> int:
        """Return the last logged step of the metrics whose keys start with `prefix`."""
        keys = [key for key in self._client.get_run(run_id).data.metrics if key.startswith(prefix)]
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
        if self._rows:  # before the last row, so that a failure sends the state of the machine again, not the rows
            self._log_metrics(self._system.read(), int(self._rows[-1]["step"]))
        while self._rows:
            rows = self._rows[: max(1, _POINTS // len(self._rows[0]))]
            points = [
                self._point(f"{self._place.curves}/{key}", value, int(row["step"]))
                for row in rows
                for key, value in row.items()
                if key != "step"
            ]
            self._client.log_batch(self._run_id, metrics=points)
            self._rows, self._sent_step = self._rows[len(rows) :], int(rows[-1]["step"])
            self._sent_at = time.monotonic()

    def _point(self, key: str, value: float, step: int):
        """Return a metric value of MLflow; of two values of a step, MLflow shows the one that was logged last."""
        return self._mlflow.entities.Metric(key, value, int(time.time() * 1000), step)

    def _later(self, call: Callable[[], None]) -> None:
        """Send by `call` now, or later if MLflow fails."""
        if self.active:
            self._calls.append(call)
            self._send()

    def log_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics of validation images at a step, unless a later or the same step was logged already."""

        def call() -> None:
            if step > self._sent_validation:
                self._log_metrics({VALIDATION + name: value for name, value in values.items()}, step)
                self._sent_validation = step

        self._later(call)

    def _log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log metrics; MLflow does not allow brackets in names, so that FID(clean) is logged as FID/clean."""
        named = {re.sub(r"[^\w./ -]", "-", name.replace("(", "/").rstrip(")")): each for name, each in values.items()}
        points = [self._point(name, value, step) for name, value in named.items()]
        if points:
            self._client.log_batch(self._run_id, metrics=points)

    def log_scores(self, values: Mapping[str, float]) -> None:
        """Log final scores."""
        if values:
            self._later(lambda: self._log_metrics(values, 0))

    def log_image(self, pixels: np.ndarray, key: str, step: int = 0) -> None:
        """Log an image (H, W, 3), uint8, of a step; the comparison of runs shows the images of a key beside each other.

        An image of this key and step that was logged already is left out.
        """

        def call() -> None:
            if f"{key}+{step}" not in self._sent_images:
                self._client.log_image(self._run_id, pixels, key=key, step=step)
                self._sent_images.add(f"{key}+{step}")

        self._later(call)

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


def identity(dataset: SetOfImages, model: str, seed: int | None, config_sha256: str) -> dict[str, str]:
    """Return the tags that a training and the evaluation of its generator share; config_sha256: of its options."""
    return {
        "dataset": dataset.name_of_set,
        "data": json_sha256(dataset.sha256)[:12],
        "model": model,
        "seed": str(seed),
        "config": config_sha256[:12],
    }


def generator_place(model: str, facts: Mapping[str, str]) -> MlflowPlace:
    """Return the place of a model's run in MLflow; its curves have the model's colour."""
    return MlflowPlace(facts={COLOUR: colour_of(model), **facts})


def _image_of(path: str) -> str:
    """Return KEY+STEP of an image's artefact, images/KEY+step+STEP+timestamp+..."""
    key, _, rest = Path(path).name.partition("+step+")
    return f"{key}+{rest.partition('+')[0]}"
