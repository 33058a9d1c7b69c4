"""PNG files, written here or by worker processes; without torch, so that a worker starts at once."""

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from PIL import Image

from dmgan.errors import UserError


def write_pngs(paths: Sequence[Path], pixels: np.ndarray) -> None:
    """One PNG file per image of `pixels` (B, s, s, 3), uint8."""
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)


_END = b"\0\0\0\0IEND\xaeB`\x82"  # the chunk that every PNG file ends with


def is_whole_png(path: Path) -> bool:
    """Whether a file is there and ends as PNG files do; one that a kill or a power cut left in the middle does not."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:  # missing, or shorter than its end
        return False


def read_png(path: Path) -> np.ndarray:
    """Pixels (s, s, 3) uint8 of a PNG file; OSError, SyntaxError or ValueError where it is damaged."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


class PngWriters:
    """Writes PNG files in `workers` processes beside the caller; with none, in the caller itself."""

    def __init__(self, workers: int):
        self._workers = workers
        self._pool = None
        if workers:
            # spawn: a fork would copy a process whose torch threads hold locks
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)

    def write(self, paths: Sequence[Path], pixels: np.ndarray) -> list[Future]:
        """Begin to write images (B, s, s, 3); the files are there once `wait` has returned."""
        if self._pool is None:
            write_pngs(paths, pixels)
            return []
        share = -(-len(paths) // self._workers)
        starts = range(0, len(paths), share)
        try:
            return [self._pool.submit(write_pngs, paths[i : i + share], pixels[i : i + share]) for i in starts]
        except BrokenProcessPool as error:
            raise _worker_ended() from error

    @staticmethod
    def wait(writes: Sequence[Future]) -> None:
        """Until these files are written; OSError where one could not be."""
        try:
            for write in writes:
                write.result()
        except BrokenProcessPool as error:
            raise _worker_ended() from error

    def close(self) -> None:
        """End the processes; what they have not begun is not written."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _worker_ended() -> UserError:
    return UserError(
        "--workers: a process that wrote PNG files was ended from outside; run again, or with fewer workers"
    )


def _end_with_parent() -> None:
    """In a worker: end when the parent does, however it ends; it would else wait for work for ever."""
    parent = multiprocessing.parent_process()

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
