"""Files of arrays: a writer of .npy files, row by row, and a reader of .npz files of unknown origin."""

import errno
import io
import math
import os
import tokenize
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from struct import error as StructError
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from dmgan.errors import UserError
from dmgan.storage.reading import first_line, open_regular_file, read_regular_file

_MAX_BYTES = 4 << 30  # of the arrays of a file
# Exceptions of zipfile and NumPy for damaged archives and headers.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, StructError, tokenize.TokenError, ValueError, TypeError, LookupError, EOFError,
    SyntaxError, RuntimeError, MemoryError, ArithmeticError, RecursionError,
)  # fmt: skip


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


def read_arrays(path: Path, hint: str) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file; UserError that ends with `hint` if it is broken or holds Python objects.

    The sizes that the archive and its headers state are checked before memory is reserved.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_regular_file(path, _MAX_BYTES))) as archive:
            size = sum(each.file_size for each in archive.infolist())
            if size > _MAX_BYTES:
                raise ValueError(f"its arrays hold {size:,} bytes, more than {_MAX_BYTES:,}")
            return {name.removesuffix(".npy"): _parse_array(archive.read(name)) for name in archive.namelist()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {hint}") from error
    except _DAMAGE as error:
        raise UserError(f"{path}: is damaged ({first_line(error)}); {hint}") from error


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, Fortran order and type that the .npy header at the file's position states.

    ValueError if the header is malformed, or if the array holds Python objects.
    """
    try:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"version {version} of the format .npy")
        shape, fortran, dtype = _HEADERS[version](file)
    except _DAMAGE as error:
        raise ValueError(first_line(error)) from error
    if dtype.hasobject or any(side < 0 for side in shape):
        raise ValueError(f"an array of {dtype}, shape {shape}")
    return shape, fortran, dtype


def open_array(path: Path) -> np.ndarray:
    """Return the array of an .npy file, mapped read-only; OSError or ValueError if the file is broken or cut."""
    with open_regular_file(path) as file:
        shape, _, dtype = read_header(file)
        wanted, size = file.tell() + math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size
    if size < wanted:
        raise ValueError(f"{size:,} bytes, not {wanted:,}")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _parse_array(data: bytes) -> np.ndarray:
    """Return the array in the bytes of an .npy file."""
    file = io.BytesIO(data)
    shape, fortran, dtype = read_header(file)
    count, start = math.prod(shape), file.tell()
    if count * dtype.itemsize != len(data) - start:
        raise ValueError(f"{len(data) - start:,} bytes for an array of {dtype}, shape {shape}")
    return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if fortran else "C").copy(order="K")


_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
