"""A .npy file written row by row without mapping it into memory."""

import errno
import math
import os
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from dmgan.errors import UserError


class NpyWriter:
    """A new .npy file of known shape, zeros at first, whose rows come in any order.

    Its whole place on the disk is reserved when it is made, and rows are plain writes: in a memory map a full disk is a
    SIGBUS, which ends the process without a word.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype | type):
        """UserError naming the bytes wanted where there is no room for them; the file is not left behind then."""
        self.shape, self._dtype = tuple(int(side) for side in shape), np.dtype(dtype)
        self._row_bytes = math.prod(self.shape[1:]) * self._dtype.itemsize
        self._file = open(path, "wb")  # noqa: SIM115 - held open for the rows
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": self.shape}
        npy.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        size = self._start + self.shape[0] * self._row_bytes
        try:
            self._file.flush()
            _reserve(self._file.fileno(), size)
        except OSError as error:
            self._file.close()
            os.unlink(path)
            raise UserError(
                f"{path}: {size:,} bytes could not be had for it ({error.strerror or error}); free space, or give a "
                "folder on another disk, then run the same command again"
            ) from error

    def write(self, first: int, rows: np.ndarray) -> None:
        """Write rows (n, ...) from row `first` on; OSError where the disk is full after all."""
        self._file.seek(self._start + first * self._row_bytes)
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype))

    def close(self) -> None:
        """Hand what was written to the operating system; OSError as in `write`."""
        self._file.close()


def _reserve(descriptor: int, size: int) -> None:
    """Give an open file `size` bytes, on the disk where the system can reserve them (macOS and some disks cannot)."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:
        os.ftruncate(descriptor, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.ftruncate(descriptor, size)
