"""A killed process that reads images ends an evaluation with one line, wherever the evaluation is."""

import multiprocessing
import os
import signal
import subprocess
import time

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.evaluation import feature_store
from tests.conftest import CPU
from tests.evaluation.test_feature_store import Network


class KilledReader:
    """Images whose worker process is killed at image `number`."""

    def __init__(self, number: int):
        self.number = number

    def __call__(self, number: int) -> np.ndarray:
        if number == self.number and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full((12, 12, 3), number, np.uint8)


class SlowNetwork(Network):
    """Still computes when the worker is killed; torch's handler of SIGCHLD would raise in the middle of it."""

    def forward(self, batch):
        time.sleep(0.3)
        return super().forward(batch)


@pytest.mark.parametrize("network", [Network, SlowNetwork])
def test_a_killed_worker_is_one_line_and_the_next_call_has_the_values(network, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "FORWARD", 8)
    monkeypatch.setattr(feature_store, "CHUNK", 16)
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(UserError, match="--workers: a process that read images was killed; run again"):
        feature_store.extract(KilledReader(20), 48, [network()], tmp_path, CPU, batch_size=8, workers=1)
    assert signal.getsignal(signal.SIGCHLD) == handler
    subprocess.run(["true"], check=True)  # its SIGCHLD raises nothing more
    found = feature_store.extract(KilledReader(-1), 48, [Network()], tmp_path, CPU)["network"]
    whole = feature_store.extract(KilledReader(-1), 48, [Network()], tmp_path / "whole", CPU)["network"]
    assert np.array_equal(found["features"].all(), whole["features"].all())
