"""A disk that is full, or read-only, from a chosen write on."""

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dmgan.errors import UserError
from tests.storage.killed_steps import contents


class _Disk:
    """Counts writes below a folder; from write number `full` on, every one raises OSError."""

    def __init__(self, folder: Path, full: int):
        self._folder, self.full, self.writes = str(folder), full, 0

    def holds(self, path: object) -> bool:
        path = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.abspath(os.fspath(path))
        return path.startswith(self._folder)

    def count(self) -> None:
        self.writes += 1
        if self.writes >= self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _limited_by(disk: _Disk, monkeypatch) -> None:
    class RawFile(io.FileIO):
        def readable(self) -> bool:
            return True

        def write(self, content) -> int:
            disk.count()
            return super().write(content)

    opened = io.open

    def limited_open(path, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **others):
        writes = isinstance(path, (str, os.PathLike, int)) and set(mode) & set("wax+") and disk.holds(path)
        if not writes or path == os.devnull:
            return opened(path, mode, buffering, encoding, errors, newline, **others)
        if not isinstance(path, int):
            disk.count()
        file = io.BufferedRandom(RawFile(path, mode.replace("b", "").replace("t", "")))
        return file if "b" in mode else io.TextIOWrapper(file, encoding, errors, newline)

    def counted(function: Callable) -> Callable:
        def call(*given, **named):
            disk.count()
            return function(*given, **named)

        return call

    for module in (builtins, io):
        monkeypatch.setattr(module, "open", limited_open)
    for module, name in ((os, "posix_fallocate"), (os, "fsync"), (os, "fdatasync"), (shutil, "copyfile")):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))


def check_full_disk(folder: Path, write: Callable[[], object], most: int = 200) -> int:
    """Call `write`, which writes below `folder`, with a disk that is full from every one of its writes on.

    Assert that each call raises UserError, and that the next call, with room, leaves the files of a whole call. Return
    the number of writes. Locks are not compared.
    """

    with pytest.MonkeyPatch.context() as patch:
        for name in ("sync", "fsync", "fdatasync"):  # do not wait for the disk
            patch.setattr(os, name, lambda *given: None)
        return _check_full_disk(folder, write, most)


def _check_full_disk(folder: Path, write: Callable[[], object], most: int) -> int:
    def files_there() -> dict[str, bytes]:
        return {name: each for name, each in contents(folder).items() if not name.endswith(".lock")}

    write()
    whole = files_there()
    assert whole
    for full in range(1, most):
        shutil.rmtree(folder)
        folder.mkdir()
        disk = _Disk(folder, full)
        with pytest.MonkeyPatch.context() as patch:
            _limited_by(disk, patch)
            try:
                write()
            except UserError as error:
                assert "\n" not in str(error) and ("No space left on device" in str(error)), (full, str(error))
            else:
                assert disk.writes < full, f"the error of write {full} was lost"
                assert files_there() == whole
                return full - 1
        write()
        assert files_there() == whole, (full, sorted(files_there()))
    raise AssertionError(f"more than {most} writes")
