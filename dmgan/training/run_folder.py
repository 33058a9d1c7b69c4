"""The run folder of a training run: lock, resume, history, weights, options.json and MLflow."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from dmgan.data.dataset import PreparedDataset
from dmgan.runtime.cost import Cost
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext
from dmgan.runtime.provenance import commit, provenance
from dmgan.storage import files
from dmgan.storage.seals import write_sealed_json
from dmgan.storage.weights import save_weights
from dmgan.training.checkpoints import Checkpoint, Fingerprints
from dmgan.training.loop import run_steps
from dmgan.training.mlflow_database import NETWORKS
from dmgan.training.mlflow_run import MlflowPlace, MlflowRun, identity

HISTORY, OPTIONS = "history.csv", "options.json"
WEIGHTS = "generator.safetensors"  # of a generator's run
_FURTHER_FILES = ("vocabulary.json", "validation.csv")  # of encoders; of a run with evaluate_every


@dataclass(frozen=True)
class RunDescription:
    """Description of a training run, with all options and inputs that affect the result."""

    kind: str  # name of the trained network; a checkpoint of another kind is refused
    stage: str  # MLflow tag: train, pretrain, classifier, captioner
    title: str  # name of the MLflow run
    dataset: PreparedDataset
    seed: int
    written: Mapping[str, object]  # entries of options.json that affect the result
    loop_options: str = "options"  # the entry of `written` that holds epochs and checkpoint_every
    steps_depend_on_epochs: bool = False  # true: a run cannot be continued with more epochs
    parameters: Mapping[str, object] = field(default_factory=dict)  # shown in MLflow beside the loop's options
    place: MlflowPlace | None = None  # in MLflow; None: among the networks, with keys that begin with `kind`


class RunFolder:
    """Context manager that locks `folder` during one training run."""

    def __init__(
        self,
        folder: Path,
        run: RunDescription,
        mlflow: str | None = None,
        distributed: DistributedContext = SINGLE_PROCESS,
        device: torch.device | None = None,
    ):
        """Hash the run's options; mlflow: URI of the database that mirrors the run, or None; device: that trains."""
        self.folder, self.run, self._mlflow, self._distributed = Path(folder), run, mlflow, distributed
        self.fingerprints = Fingerprints.of(run.written, run.loop_options, run.steps_depend_on_epochs)
        self._cost = Cost(device, distributed.world_size)
        self._commit = commit()
        self._checkpoint = Checkpoint(self.folder, run.kind, self.fingerprints.steps)
        self._history: list[dict[str, float]] = []

    def __enter__(self) -> "RunFolder":
        run = self.run
        tags = identity(run.dataset, run.kind, run.seed, self.fingerprints.run)
        parameters = {"model": run.kind, "seed": run.seed, **run.written[run.loop_options], **run.parameters}
        place = MlflowPlace(NETWORKS, run.kind) if run.place is None else run.place
        facts = {"stage": run.stage, "commit": self._commit}
        place = place._replace(facts={**place.facts, **facts})
        uri = self._mlflow if self._distributed.is_main else None
        with ExitStack() as opened:
            opened.enter_context(files.locked(self.folder) if self._distributed.is_main else nullcontext())
            self._distributed.barrier()  # the other processes wait for the lock
            if self._distributed.is_main:
                self.folder.mkdir(parents=True, exist_ok=True)
            self.mlflow_run = MlflowRun(uri, self.folder, run.title, tags, parameters, place)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *raised) -> None:
        self._opened.close()

    def train(
        self,
        step_function: Callable[[int], dict[str, Tensor]],
        stateful: dict[str, object],
        total_steps: int,
        describe: Callable[[int], dict[str, object]] = lambda step: {},
    ) -> None:
        """Run the remaining steps (see run_steps)."""
        every = self.run.written[self.run.loop_options]["checkpoint_every"]
        self._history = run_steps(
            step_function, stateful, total_steps, self._checkpoint, every, self.mlflow_run, describe, self._distributed
        )

    def finish(
        self,
        networks: Mapping[str, nn.Module],
        further: Mapping[str, object] | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> None:
        """Write weights by file name, history.csv and options.json, and log them to MLflow; main process only.

        further: entries of options.json that do not affect the result; scores: final scores for MLflow.
        """
        for name, network in networks.items():
            save_weights(network, self.folder / name)
        beside = [*networks, HISTORY, *(each for each in _FURTHER_FILES if (self.folder / each).exists())]
        files.write_csv(self.folder / HISTORY, self._history)
        made = provenance(self._cost.measured(self._checkpoint.seconds))
        content = {**self.run.written, **(further or {}), "provenance": made}
        write_sealed_json(self.folder / OPTIONS, content, beside)
        self.mlflow_run.log_scores(dict(scores or {}))
        self.mlflow_run.log_file(self.folder / OPTIONS)

    def close(self) -> None:
        """Mark the MLflow run as finished."""
        self.mlflow_run.close()
