"""Writer of .npy files, row by row, without a memory map."""

import errno
import io
import math
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from dmgan.errors import UserError


class NpyWriter:
    """Writer of a new .npy file of known shape, initially zeros; rows may be written in any order.

    The whole file is reserved on the disk at the start, and rows are written with ordinary writes: with a memory map, a
    full disk raises SIGBUS, which ends the process without a message.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype | type):
        """Reserve the file; if the disk is full, delete it and raise UserError with the number of bytes."""
        self.shape, self._dtype = tuple(int(side) for side in shape), np.dtype(dtype)
        self._row_bytes = math.prod(self.shape[1:]) * self._dtype.itemsize
        header = io.BytesIO()
        described = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": self.shape}
        npy.write_array_header_1_0(header, described)
        self._start = len(header.getvalue())
        size = self._start + self.shape[0] * self._row_bytes
        self._file = None
        try:
            self._file = open(path, "wb")  # noqa: SIM115 - held open for the rows
            self._file.write(header.getvalue())
            self._file.flush()
            _reserve(self._file.fileno(), size)
        except OSError as error:
            if self._file is not None:
                with suppress(OSError):  # it flushes again
                    self._file.close()
                os.unlink(path)
            raise UserError(
                f"{path}: {size:,} bytes could not be reserved ({error.strerror or error}); free space, or give a "
                "folder on another disk, then run the same command again"
            ) from error

    def write(self, first: int, rows: np.ndarray) -> None:
        """Write rows (n, ...), starting at row `first`; OSError if the disk is full."""
        self._file.seek(self._start + first * self._row_bytes)
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype))

    def close(self) -> None:
        """Flush and close the file; OSError if the disk is full."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file of an interrupted job, whose last rows may be lost; without effect after `close`."""
        with suppress(OSError):
            self._file.close()


def _reserve(descriptor: int, size: int) -> None:
    """Reserve `size` bytes of disk space for an open file; macOS and some filesystems only set the file's length."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:
        os.ftruncate(descriptor, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(descriptor, size)
