"""A disk that is full from a random byte on, and folders that are read-only; root on Linux mounts them."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.chaos.cases import Case, Skipped
from benchmarks.reliability import Outcome
from dmgan.storage.files import files_below

_CLONE_NEWNS = 0x20000  # linux/sched.h
_FULL, _READ_ONLY = "No space left on device", "Read-only file system"


def full_disk(case: Case) -> Outcome:
    """Run the job on a small file system in memory, which has room for a random part of what the job writes."""
    with _memory_disk(case.folder):
        case.prepare()
        needed = sum(_size(case.reference / made) for made in case.job.makes)
        room = case.random.randrange(needed + 1)
        _remount(case.folder, _size(case.folder) + room)
        started = case.start()
        status = started.wait()
        output = case.read_output(started)
        case.note_injection(f"room for {room:,} bytes")
        if status and (status != 1 or _FULL not in output.strip().splitlines()[-1]):
            case.notes.append(f"status {status} without a line that names the full disk: {output[-200:]}")
            return case.outcome(lost=1)
        _remount(case.folder, 1 << 30)
        return case.finish()


@contextmanager
def _memory_disk(folder: Path) -> Iterator[None]:
    """Mount a file system in memory at `folder`, and unmount it at the end."""
    _require_root()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1G", "dmgan-chaos", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _remount(folder: Path, size: int) -> None:
    """Change the size of the file system in memory, in bytes; whole pages."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


def _size(path: Path) -> int:
    """Return the bytes that a file, or the files below a folder, occupy in pages."""
    files = [path] if path.is_file() else [path / name for name in files_below(path)]
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in files)


def read_only(case: Case) -> Outcome:
    """Run the job while its results, or only what it reads, are on a read-only file system."""
    _require_root()
    case.prepare()
    whole = case.random.random() < 0.5 or not case.job.reads
    folders = ["results"] if whole else list(case.job.reads)
    started = case.start(enter=lambda: _make_read_only([case.folder / each for each in folders]))
    status = started.wait()
    output = case.read_output(started)
    case.note_injection(f"read-only: {', '.join(folders)}")
    if status and (status != 1 or _READ_ONLY not in output.strip().splitlines()[-1]):
        case.notes.append(f"status {status} without a line that names the read-only folder: {output[-200:]}")
        return case.outcome(lost=1)
    return case.finish()


def _make_read_only(folders: list[Path]) -> None:
    """Make folders read-only for this process and its children alone, in a mount namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for folder in folders:
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


def _require_root() -> None:
    if os.geteuid():
        raise Skipped("needs root, to mount file systems")
