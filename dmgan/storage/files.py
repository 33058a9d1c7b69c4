"""Atomic writes of files and folders; locks; JSON, CSV and hashes."""

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dmgan.errors import UserError
from dmgan.runtime.progress import log
from dmgan.storage.json_hash import json_sha256 as json_sha256  # beside file_sha256
from dmgan.storage.reading import open_regular_file
from dmgan.storage.reading import read_json as read_json  # beside write_json, its inverse

_HINT = "free space or fix the permissions, then run the same command again"


@contextmanager
def atomic_file(path: Path):
    """Yield a binary file that becomes `path` when the block ends without an exception.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and renamed; then the folder is
    flushed too. Temporary files of killed jobs are deleted. A full disk or a refused write raises UserError and leaves
    an existing file unchanged.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_stale(path.parent, path.name)
        descriptor, temporary = _new_temporary_file(path)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a renamed file keeps its new name after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # file systems that cannot flush a folder
            raise
    finally:
        os.close(descriptor)


# Temporary files and folders are called .NAME.XXXXXXXX, with eight letters of the tempfile module. A job holds a lock
# on its own; the lock ends with the job, so that another job can tell the temporaries of killed jobs from used ones.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?!replaced$)[a-z0-9_]{8}")


def _new_temporary_file(path: Path) -> tuple[int, str]:
    """Return a new temporary file of `path`: descriptor and name."""
    while True:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        if _is_marked_in_use(descriptor, temporary):
            return descriptor, temporary
        os.close(descriptor)


def _new_temporary_folder(path: Path) -> tuple[int, Path]:
    """Return a new temporary folder of `path`: descriptor and name."""
    while True:
        temporary = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")
        with suppress(FileNotFoundError):
            descriptor = os.open(temporary, os.O_RDONLY)
            if _is_marked_in_use(descriptor, temporary):
                return descriptor, Path(temporary)
            os.close(descriptor)


def _is_marked_in_use(descriptor: int, temporary: str) -> bool:
    """Lock a temporary until it is closed; return whether it still exists.

    Another job may delete it between its creation and the lock. Without effect if the file system refuses the lock.
    """
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return os.path.exists(temporary)


def _delete_stale(folder: Path, name: str | None = None) -> None:
    """Delete the temporaries of `name` in `folder` whose jobs have ended; name=None: temporary files of all names."""
    with os.scandir(folder) as entries:
        found = [(entry, match) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    for entry, match in found:
        if entry.is_symlink() or (name is None and entry.is_dir()) or (name is not None and match["name"] != name):
            continue
        with suppress(OSError):  # the file is in use, vanished, or belongs to another user
            descriptor = os.open(entry.path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
            finally:
                os.close(descriptor)


class OwnFiles(NamedTuple):
    """Names of the files that a subcommand writes; it may replace a folder that holds only these files."""

    command: str  # the subcommand
    markers: tuple[str, ...]  # at least one of these files always exists in the subcommand's folder
    names: str  # regular expression of the relative paths of all its files


_IGNORED_FILES = (".snakemake_timestamp", ".DS_Store")  # written by Snakemake and macOS


def refuse_overwrite(folder: Path, own: OwnFiles) -> None:
    """Raise UserError if `folder` holds files that the subcommand did not write.

    Empty sub-folders, which Snakemake creates, and half-written temporary files are ignored.
    """
    folder = Path(folder)
    if folder.name in ("", ".."):
        raise UserError(f"{folder}: cannot be replaced by a new folder; give a path that ends in a folder name")
    own_names = re.compile(own.names)
    half_written = re.compile(rf"\.({own.names})\.\w{{8}}")
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UserError(f"{folder}: is a file or a link, not a folder; give a new or empty folder")
        found = [name for name in files_below(folder) if not half_written.fullmatch(name)]
        found = [name for name in found if name.rpartition("/")[2] not in _IGNORED_FILES]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror or error}); fix the permissions") from error
    foreign = [name for name in found if not own_names.fullmatch(name)] if set(own.markers) & set(found) else found
    if foreign:
        raise UserError(
            f"{folder}: holds {min(foreign)}, which {own.command} did not write, and would be replaced; move it "
            "elsewhere, or give a new or empty folder"
        )


def files_below(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files and symlinks under `folder`; yield nothing if `folder` is missing."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        links = (name for name in folders if os.path.islink(os.path.join(place, name)))
        for name in (*names, *links):
            yield Path(place, name).relative_to(folder).as_posix()


def replace_folder(new: Path, folder: Path, own: OwnFiles) -> None:
    """Rename the complete folder `new` to `folder`; UserError if `folder` holds files that are not in `own`.

    If the process is killed, the new folder is complete under one of the two names. The old folder is renamed to
    .NAME.replaced and then deleted; if the process is killed before, the next replacement deletes it.
    """
    refuse_overwrite(folder, own)
    os.sync()  # otherwise, after a power cut, the renamed folder could hold empty files
    aside = folder.with_name(f".{folder.name}.replaced")
    if folder.exists():
        if aside.exists():
            shutil.rmtree(aside)
        os.replace(folder, aside)
    os.replace(new, folder)
    sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)  # `aside` does not exist if `folder` was missing


@contextmanager
def atomic_folder(path: Path, own: OwnFiles):
    """Yield a temporary folder that replaces `path` when the block ends without an exception.

    Temporary folders of killed jobs are deleted. UserError if `path` holds files that are not in `own`, or if a write
    fails.
    """
    path = Path(path)
    refuse_overwrite(path, own)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_stale(path.parent, path.name)
        descriptor, temporary = _new_temporary_folder(path)
    except OSError as error:
        raise UserError(f"{path}: could not be created ({error.strerror or error}); {_HINT}") from error
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        replace_folder(temporary, path, own)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        os.close(descriptor)
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(path: Path, hint: str = "fix the permissions, or give another folder"):
    """Hold an exclusive lock while the file or folder `path` is being written.

    A second process waits until the first process releases the lock or ends. The lock is the file .NAME.lock beside
    `path`. Temporaries of `path`, and temporary files in it, are deleted if their jobs were killed. UserError that ends
    with `hint` if the lock file cannot be created.
    """
    path = Path(path)
    lock_path = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW  # a link's target stays as it is
        lock = os.fdopen(os.open(lock_path, flags, 0o666), "rb", buffering=0)
    except OSError as error:
        raise UserError(f"{lock_path}: could not be created ({error.strerror or error}); {hint}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"{path}: is being written by another process; waiting until that process ends")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(
                f"{lock_path}: cannot be locked ({error.strerror or error}); give a folder on a file system with locks"
            ) from error
        with suppress(OSError):  # a folder that cannot be read is reported by the job
            _delete_stale(path.parent, path.name)
            if path.is_dir():
                _delete_stale(path)
        yield


def _not_written(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: could not be written ({error.strerror or error}); nothing was left half-written. "
        f"{_HINT[0].upper()}{_HINT[1:]}"
    )


@contextmanager
def user_error_for_disk_errors(path: Path, hint: str = _HINT):
    """Raise UserError instead of an OSError in the block; it names the error's file, or `path`, and ends with `hint`.

    For files that keep what was written: a full disk, a read-only folder, a bad block.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or path}: could not be read or written ({error.strerror or error}); {hint}"
        ) from error


def _umask() -> int:
    """Return the process's umask; the system has no call that reads the umask without setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path` atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON to `path` atomically; ValueError for NaN and infinity."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


FORMULA = ("=", "+", "-", "@")  # a spreadsheet executes a cell that begins with one of them
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def safe_cell(value: object) -> object:
    """Return the value of a CSV cell; text is one line without control characters and no formula of a spreadsheet.

    Text that a spreadsheet would execute gets an apostrophe in front. Numbers as text stay as they are.
    """
    if not isinstance(value, str):
        return value
    text = _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), value)
    if not text.startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows (mappings with the same keys) as CSV to `path` atomically; texts as in `safe_cell`."""
    rows = [{key: safe_cell(value) for key, value in row.items()} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_with(path: Path, save: Callable[[BinaryIO], None]) -> None:
    """Write `path` atomically: call `save` with a binary file that becomes `path` when `save` returns."""
    with atomic_file(path) as file:
        save(file)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file's bytes, in hexadecimal; OSError as in `open_regular_file`."""
    with open_regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
