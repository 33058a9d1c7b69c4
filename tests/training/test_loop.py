"""The training loop: rows, checkpoints, failures, values that are not finite."""

import json
import resource
import signal

import pytest
import torch

from dmgan.errors import UserError
from dmgan.runtime.distributed import DistributedContext
from dmgan.storage.weights import save_weights
from dmgan.training.checkpoints import Checkpoint
from dmgan.training.loop import run_steps
from dmgan.training.mlflow_run import MlflowRun

NO_MLFLOW = MlflowRun(None, None, "", {}, {})


@pytest.fixture(autouse=True)
def rows_of_two_steps(monkeypatch):
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 2)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    weight = torch.nn.Linear(1, 1)

    def step_function(step):
        return {"loss": torch.tensor(float("nan") if step >= 6 else 1.0)}

    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    with pytest.raises(UserError, match="step 7: loss is not a finite number; the last good checkpoint is kept"):
        run_steps(
            step_function, {"weight": weight}, 20, checkpoint, 2, NO_MLFLOW, lambda step: {"images": [step, step + 1]}
        )
    assert checkpoint.load()["step"] == 6
    assert json.loads((tmp_path / "failure.json").read_text()) == {
        "step": 7,
        "losses": {"loss": "nan"},
        "images": [6, 7],
    }


@pytest.mark.parametrize("buffer", [False, True])
def test_an_update_that_is_not_finite_is_not_saved(buffer, tmp_path):
    """The losses of a step are computed before its update, so they are finite even if the update is not."""
    network = torch.nn.BatchNorm1d(1)
    spoilt = network.running_var if buffer else network.weight.data

    def step_function(step):
        if step == 3:
            spoilt[0] = float("nan")
        return {"loss": torch.tensor(float(step))}

    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    name = "network.running_var" if buffer else "network.weight"
    with pytest.raises(UserError, match=f"step 4: after the update, {name} .*; the last good checkpoint is kept"):
        run_steps(step_function, {"network": network}, 8, checkpoint, 2, NO_MLFLOW, lambda step: {"images": [step]})
    assert checkpoint.load()["step"] == 2
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert failure == {"step": 4, "losses": {"loss": 3.0}, "not_finite": [name], "images": [3]}


def test_a_state_that_is_not_finite_stops_every_process(tmp_path, monkeypatch):
    monkeypatch.setattr(
        DistributedContext, "sum", lambda self, values: values + 1
    )  # the other process has a value that is not finite
    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    with pytest.raises(UserError, match="step 2: after the update, the state of another process is not finite"):
        run_steps(
            lambda step: {"loss": torch.ones(())}, {}, 2, checkpoint, 2, NO_MLFLOW, distributed=DistributedContext(0, 2)
        )
    assert checkpoint.load() is None


def test_a_checkpoint_that_is_not_finite_is_refused(tmp_path):
    """Older versions saved such checkpoints; the weights of a finished run are made from its checkpoint."""
    network = torch.nn.Linear(1, 1)
    content = {"step": 2, "history": [], "state": {"network": {"weight": torch.tensor([[float("inf")]])}}}
    Checkpoint(tmp_path, "test", "fingerprint").save(content)
    with pytest.raises(UserError, match="checkpoint.pt: network.weight is not finite; delete it to start over"):
        run_steps(None, {"network": network}, 2, Checkpoint(tmp_path, "test", "fingerprint"), 2, NO_MLFLOW)


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    network = torch.nn.Linear(2, 1)
    network.weight.data[0, 1] = float("nan")
    with pytest.raises(UserError, match="generator.safetensors: is not written, because weight is not finite"):
        save_weights(network, tmp_path / "generator.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_losses_whose_sum_overflows_are_finite(tmp_path):
    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    history = run_steps(lambda step: {"loss": torch.tensor(3e38)}, {}, 2, checkpoint, 2, NO_MLFLOW)
    assert history == [{"step": 2, "loss": pytest.approx(3e38)}]


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path):
    """A file-size limit stands in for the full disk, wherever in the file it strikes."""
    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    checkpoint.save({"step": 1, "history": [], "state": {}})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (64, 50_000, 400_000, 800_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(UserError, match="checkpoint.pt: could not be written .File too large."):
                checkpoint.save({"step": 2, "state": [torch.zeros(100_000), torch.zeros(100_000)]})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load()["step"] == 1 and [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_failure_json_is_deleted_after_the_run_has_passed_the_step(tmp_path):
    kept = []

    def run_to(total, bad):
        def step_function(step):
            kept.append((step, (tmp_path / "failure.json").exists()))
            return {"loss": torch.tensor(float("nan") if step == bad else 1.0)}

        run_steps(step_function, {}, total, Checkpoint(tmp_path, "test", "fingerprint"), 2, NO_MLFLOW)

    with pytest.raises(UserError, match="step 4: loss"):
        run_to(8, bad=3)
    kept.clear()
    run_to(8, bad=None)
    assert kept == [(2, True), (3, True), (4, False), (5, False), (6, False), (7, False)]
    (tmp_path / "failure.json").write_text('{"step": 99}')  # of a longer run
    run_to(8, bad=None)
    assert not (tmp_path / "failure.json").exists()


def test_history_rows_are_means_of_their_steps(tmp_path):
    checkpoint = Checkpoint(tmp_path, "test", "fingerprint")
    history = run_steps(lambda step: {"loss": torch.tensor(float(step))}, {}, 5, checkpoint, 2, NO_MLFLOW)
    assert history == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 2.5}, {"step": 5, "loss": 4.0}]
