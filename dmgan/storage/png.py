"""PNG files: writing in worker processes, checks, and contact sheets.

This module does not import torch, so that workers start fast.
"""

import io
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from PIL import Image

from dmgan.errors import UserError
from dmgan.runtime.parent import end_with_parent
from dmgan.storage.reading import read_regular_file

_MAX_BYTES = 256 << 20  # of a file
_MAX_PIXELS = 8192**2  # twice the largest side of a generator's images


def write_pngs(paths: Sequence[Path], pixels: np.ndarray, level: int) -> None:
    """Write one PNG file per image of `pixels` (B, s, s, 3), uint8; level: zlib's compression level, 0 to 9."""
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path, compress_level=level)


_END = b"\0\0\0\0IEND\xaeB`\x82"  # last chunk of every PNG file


def is_whole_png(path: Path) -> bool:
    """Return whether a regular file exists and ends with PNG's last chunk; a truncated file does not."""
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        return False
    try:
        with open(path, "rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:  # the file is missing, or shorter than the last chunk
        return False


def read_png(path: Path) -> np.ndarray:
    """Return the pixels (h, w, 3) uint8 of a PNG file; OSError, SyntaxError or ValueError if it is damaged.

    The size that the file states is checked before memory is reserved.
    """
    data = read_regular_file(path, _MAX_BYTES)
    width, height = (int.from_bytes(data[start : start + 4]) for start in (16, 20))  # of the first chunk, IHDR
    if width * height > _MAX_PIXELS:
        raise ValueError(f"it states {width:,} x {height:,} pixels")
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))


class PngWriters:
    """Writer of PNG files in `workers` processes; 0 workers: in the calling process."""

    def __init__(self, workers: int, level: int):
        """level: zlib's compression level, 0 to 9."""
        self._workers, self._level = workers, level
        self._pool = None
        if workers:
            # spawn: a forked process would inherit locks that torch's threads hold
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)

    def write(self, paths: Sequence[Path], pixels: np.ndarray) -> list[Future]:
        """Start writing images (B, s, s, 3), uint8; the files are complete after `wait`."""
        if self._pool is None:
            write_pngs(paths, pixels, self._level)
            return []
        share = -(-len(paths) // self._workers)
        starts = range(0, len(paths), share)
        try:
            return [
                self._pool.submit(write_pngs, paths[i : i + share], pixels[i : i + share], self._level) for i in starts
            ]
        except BrokenProcessPool as error:
            raise _worker_ended() from error

    @staticmethod
    def wait(writes: Sequence[Future]) -> None:
        """Wait until `writes` are finished; OSError if a file could not be written."""
        try:
            for write in writes:
                write.result()
        except BrokenProcessPool as error:
            raise _worker_ended() from error

    def close(self) -> None:
        """End the worker processes; queued files that no worker has started are not written."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _worker_ended() -> UserError:
    return UserError("--workers: a process that wrote PNG files was killed; run again, or with fewer workers")


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Return rows of uint8 images (s, s, 3) as one image (H, W, 3) on a white ground.

    All images are enlarged to the side of the largest image, which must be a multiple of every other side.
    """
    side = max(image.shape[0] for row in rows for image in row)
    columns = max(len(row) for row in rows)
    sheet = np.full((len(rows) * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, dtype=np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            factor = side // image.shape[0]
            top, left = y * (side + gap), x * (side + gap)
            sheet[top : top + side, left : left + side] = image.repeat(factor, axis=0).repeat(factor, axis=1)
    return sheet
