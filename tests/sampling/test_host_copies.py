"""Pixels arrive on the host in order; on a GPU one batch behind the generator."""

import numpy as np
import torch

from dmgan.sampling import host_copies
from dmgan.sampling.host_copies import copied_to_host
from tests.conftest import CPU


def batches(launched: list[int]):
    for number in range(4):
        launched.append(number)
        yield [number], {"": torch.full((1, 2, 2, 3), number, dtype=torch.uint8)}


def test_on_the_cpu_a_batch_is_written_before_the_next_is_made():
    launched = []
    for number, (numbers, pixels) in enumerate(copied_to_host(batches(launched), CPU)):
        assert numbers == [number] and np.array_equal(pixels[""], np.full((1, 2, 2, 3), number))
        assert launched == list(range(number + 1))


def test_on_a_gpu_the_next_batch_is_launched_before_the_host_waits(monkeypatch):
    waited, launched = [], []

    def start(pixels):
        number = int(pixels[""][0, 0, 0, 0])
        return lambda: waited.append(number) or {"": pixels[""].numpy()}

    monkeypatch.setattr(host_copies, "_start_on_gpu", lambda device: start)
    for number, (numbers, pixels) in enumerate(copied_to_host(batches(launched), torch.device("cuda"))):
        assert numbers == [number] and (pixels[""] == number).all()
        assert waited == list(range(number + 1)) and launched == list(range(min(number + 2, 4)))
    assert number == 3
