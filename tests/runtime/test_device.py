"""The number of worker processes beside a device."""

import pytest
import torch

from dmgan.options import AUTOMATIC
from dmgan.runtime.device import MOST_WORKERS, worker_count
from tests.conftest import CPU


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (2, 1), (16, 15), (64, MOST_WORKERS)])
def test_automatic_workers_beside_a_gpu_are_the_cpu_threads_but_one(threads, expected, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert worker_count(AUTOMATIC, torch.device("cuda", 1), on_cpu=0) == expected
    assert worker_count(AUTOMATIC, CPU, on_cpu=0) == 0 and worker_count(AUTOMATIC, CPU, on_cpu=1) == 1
    assert worker_count(0, torch.device("cuda"), on_cpu=1) == 0 and worker_count(5, CPU, on_cpu=0) == 5
