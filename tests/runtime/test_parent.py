"""Worker processes end when their parent is killed."""

import multiprocessing
import os
import select
import signal
import time

import numpy as np
import pytest

from dmgan.data import prepare
from dmgan.data.sources.listing import Listed
from dmgan.evaluation.image_blocks import Request, read_blocks
from dmgan.storage.png import PngWriters
from tests.conftest import CPU


class _Busy:
    """Items whose making takes half a minute; a worker that begins it writes a byte to `pipe`."""

    def __init__(self, pipe: int):
        self.pipe = pipe

    def __len__(self) -> int:
        return 200

    def __getitem__(self, number: int) -> np.ndarray:
        if multiprocessing.parent_process() is not None:
            os.write(self.pipe, b"x")
            time.sleep(30)
        return np.zeros((2, 2, 3), dtype=np.uint8)

    def __call__(self, *given) -> np.ndarray:
        return self[0]

    def name(self, number: int) -> str:
        return str(number)


def _draw(busy, tmp_path, monkeypatch):
    list(prepare._draw_in_parallel(busy, 2))


def _read_photographs(busy, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_read_chunk", _read_chunk)
    _read_chunk.busy = busy
    (tmp_path / "photograph").touch()
    images = [Listed(str(each), tmp_path / "photograph", ("a bird",), 0, "train") for each in range(200)]
    prepare._Photographs(tmp_path / "out", images, 9).read(2)


def _read_chunk(images, shorter_side):
    return _read_chunk.busy()


def _read_blocks(busy, tmp_path, monkeypatch):
    requests = [Request((range(each, each + 1),), (None,)) for each in range(20)]
    list(read_blocks(busy, requests, CPU, 2))


@pytest.mark.parametrize("work", [_draw, _read_photographs, _read_blocks])
def test_workers_end_with_a_killed_parent(work, tmp_path, monkeypatch):
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reads)
            work(_Busy(writes), tmp_path, monkeypatch)
        finally:
            os._exit(0)
    os.close(writes)
    assert select.select([reads], [], [], 60)[0] and os.read(reads, 1) == b"x"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 10
    while select.select([reads], [], [], max(0, deadline - time.monotonic()))[0] and os.read(reads, 1):
        pass  # bytes of other workers
    assert time.monotonic() < deadline, "a worker still holds the pipe"
    os.close(reads)


def test_writers_of_images_end_with_a_killed_parent(tmp_path):
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            writers = PngWriters(2, 1)
            writers.wait(writers.write([tmp_path / "0.png", tmp_path / "1.png"], np.zeros((2, 4, 4, 3), np.uint8)))
            os.write(writes, " ".join(map(str, writers._pool._processes)).encode())
            time.sleep(30)
        finally:
            os._exit(0)
    os.close(writes)
    workers = [int(each) for each in os.read(reads, 100).split()]
    assert len(workers) == 2
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 10
    while any(map(_is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_running, workers))
    os.close(reads)


def _is_running(process: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
