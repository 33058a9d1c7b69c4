"""Durable files: whole or not there at all."""

import csv
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dmgan.errors import UserError
from dmgan.progress import say


@contextmanager
def whole_file(path: Path):
    """Yield a binary file that becomes `path` only when the block ends well.

    The bytes go to a temporary neighbour, are flushed to the disk and renamed. A full disk or a
    refused write raises UserError and leaves neither a part of the new file nor the old one harmed.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


class Made(NamedTuple):
    """How the files of a folder show that a verb made it, so that the verb may replace it."""

    by: str  # the verb
    markers: tuple[str, ...]  # files of which one at least is always there
    names: str  # regular expression of the paths of all its files within it


_NOBODYS = (".snakemake_timestamp", ".DS_Store")  # laid into folders by Snakemake and macOS


def refuse_foreign(folder: Path, made: Made) -> None:
    """UserError unless `folder` is missing, empty, or of that verb alone: what a new folder replaces is lost.

    Folders without a file, as Snakemake makes them, count as empty; files that a kill left half-written do not count.
    """
    folder = Path(folder)
    if folder.name in ("", ".."):
        raise UserError(f"{folder}: cannot be replaced by a new folder; give a folder with a name of its own")
    ours = re.compile(made.names)
    half_written = re.compile(rf"\.({made.names})\.\w{{8}}")
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UserError(f"{folder}: is no folder but a file or a link; give a new or empty folder")
        found = [name for name in files_below(folder) if not half_written.fullmatch(name)]
        found = [name for name in found if name.rpartition("/")[2] not in _NOBODYS]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror or error}); mend the permissions") from error
    foreign = [name for name in found if not ours.fullmatch(name)] if set(made.markers) & set(found) else found
    if foreign:
        raise UserError(
            f"{folder}: holds {min(foreign)}, which {made.by} did not write, and would be replaced; move it elsewhere, "
            "or give a new or empty folder"
        )


def files_below(folder: Path) -> Iterator[str]:
    """Paths within `folder` of all that is no folder, links among them; none where it is missing."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        links = (name for name in folders if os.path.islink(os.path.join(place, name)))
        for name in (*names, *links):
            yield Path(place, name).relative_to(folder).as_posix()


def replace_folder(new: Path, folder: Path, made: Made) -> None:
    """Put `new`, complete, in the place of `folder`; UserError where that came to hold what `made` does not know.

    Killed between any two steps the new folder is whole, under one name or the other. The old one stands aside as
    .NAME.replaced meanwhile; what a kill leaves of it the next replacement deletes.
    """
    refuse_foreign(folder, made)
    os.sync()  # a power cut later must not find the new name there and the files' bytes not
    aside = folder.with_name(f".{folder.name}.replaced")
    if folder.exists():
        if aside.exists():
            shutil.rmtree(aside)
        os.replace(folder, aside)
    os.replace(new, folder)
    shutil.rmtree(aside, ignore_errors=True)  # it may not be there, and is in nobody's way


@contextmanager
def whole_folder(path: Path, made: Made):
    """Yield a temporary folder that takes the place of `path` only when the block ends well.

    UserError where `path` holds what `made` does not know.
    """
    path = Path(path)
    refuse_foreign(path, made)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise UserError(f"{path}: could not be made ({error.strerror or error})") from error
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        replace_folder(temporary, path, made)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def alone(path: Path, doing: str, mend: str = "mend the permissions, or give another folder"):
    """Hold the making of `path` alone, by a lock on .NAME.lock beside it; a second job waits for the end of the first.

    doing: what is said to be done to it meanwhile, such as "prepared". UserError that ends with `mend` where the lock
    cannot be made.
    """
    path = Path(path)
    lock_path = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(lock_path, "w")  # noqa: SIM115 - closed below, after what may raise in between
    except OSError as error:
        raise UserError(f"{lock_path}: could not be made ({error.strerror or error}); {mend}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{path}: is being {doing} by another process; waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _not_written(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: could not be written ({error.strerror or error}); nothing was left half-written. "
        "Free space or mend the permissions, then run the same command again"
    )


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with whole_file(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON to `path`; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows (mappings with the same keys) as CSV to `path`."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_through(path: Path, save: Callable[[BinaryIO], None]) -> None:
    """Let `save` write into a file object that becomes `path` only when it ends well."""
    with whole_file(path) as file:
        save(file)


def read_json(path: Path, mend: str) -> object:
    """Read JSON from `path`; a missing or broken file is a UserError that ends with `mend`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {mend}") from error
    except ValueError as error:
        raise UserError(f"{path}: is not valid JSON ({error}); {mend}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(content: object) -> str:
    """SHA-256 of the canonical JSON of `content`: equal for equal content, whatever the order of keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
