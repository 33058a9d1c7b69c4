"""Checkpoints, from which an interrupted training run resumes bit-exactly.

A checkpoint ends with the SHA-256 of its content, which is checked before a run resumes from it. The checkpoint before
it is kept, as the way back from a damaged one.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch

from dmgan.errors import UserError
from dmgan.runtime.progress import log
from dmgan.storage import files
from dmgan.storage.reading import check_entries, open_regular_file
from dmgan.storage.weights import compressed_member, non_finite, shortened

CHECKPOINT, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"
KEPT = 2  # checkpoints of a run on the disk
_MARK = b"\nsha256:"
_ENTRIES = {
    "kind": str, "fingerprint": str, "step": int, "history?": [dict], "state": dict, "seconds?": float,
}  # fmt: skip
_TRAILER = len(_MARK) + 64  # bytes at the end of the file


class Fingerprints(NamedTuple):
    """Hashes of the options and inputs of a training run."""

    run: str  # of all options and inputs that affect the result
    steps: str  # of all options and inputs that affect a step; a checkpoint must have the same hash

    @classmethod
    def of(cls, written: dict, options: str, steps_depend_on_epochs: bool = False) -> "Fingerprints":
        """Hash the entries of options.json that affect the result; `written[options]` are the options of the loop.

        `checkpoint_every` is ignored. In `steps`, `select` is ignored, and `epochs` unless steps_depend_on_epochs, so
        that a finished run can select other weights or be continued with more epochs.
        """
        shaping = {name: value for name, value in written[options].items() if name != "checkpoint_every"}
        after_steps = {"select"} if steps_depend_on_epochs else {"select", "epochs"}
        of_a_step = {name: value for name, value in shaping.items() if name not in after_steps}
        return cls(*(files.json_sha256({**written, options: each}) for each in (shaping, of_a_step)))


class _Damaged(UserError):
    """A checkpoint cannot be read, or its bytes changed after it was written."""


class _HashingFile:
    """A binary file that hashes what is written to it."""

    def __init__(self, file: BinaryIO):
        self._file, self.sha256 = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


class Checkpoint:
    """The file checkpoint.pt of a run folder, and the one before it; they are no outputs of the workflow."""

    def __init__(self, run_folder: Path, kind: str, fingerprint: str):
        """Name a checkpoint; kind: name of the trained network or model; fingerprint: Fingerprints.steps."""
        self.folder, self._path, self._previous = run_folder, run_folder / CHECKPOINT, run_folder / PREVIOUS
        self._kind, self._fingerprint = kind, fingerprint
        self._earlier, self._started = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of the run: of this job since it began, and of the earlier jobs up to the checkpoint."""
        return self._earlier + time.monotonic() - self._started

    def recover(self) -> None:
        """Go back to the checkpoint before if the last one is damaged or missing; log it.

        UserError if the last checkpoint is damaged and there is none before it that this run can resume from.
        """
        try:
            if _read(self._path) is not None:
                return
            reason = f"{self._path}: is missing"
        except _Damaged as damage:
            reason = str(damage)
        try:
            before = _read(self._previous)
        except _Damaged:
            before = None
        usable = before is not None and (before["kind"], before["fingerprint"]) == (self._kind, self._fingerprint)
        if not usable:
            if self._path.exists():
                raise UserError(f"{reason}; there is no earlier checkpoint to go back to; delete it to start over")
            return
        log(f"{reason}; going back to the checkpoint before it, of step {before['step']}")
        if self._path.exists():
            self._path.replace(self._path.with_stem("checkpoint-damaged"))
        self._previous.replace(self._path)

    def set_aside(self, total_steps: int) -> None:
        """Rename the checkpoint if a run of `total_steps` steps cannot resume from it, and log the new name.

        A run cannot resume from a checkpoint that was made with other options or inputs, or that has more steps.
        UserError if the checkpoint belongs to another model.
        """
        saved = self._read_own(mmap=True)  # without loading the tensors
        if saved is None:
            return
        if saved["fingerprint"] != self._fingerprint:
            why = "was made with other options or inputs"
        elif saved["step"] > total_steps:
            why = f"belongs to a longer run, of {saved['step']} steps,"
        else:
            return
        aside = self._path.with_stem(f"{self._path.stem}-{saved['fingerprint'][:12]}-step{saved['step']}")
        self._path.replace(aside)
        self._previous.unlink(missing_ok=True)  # it is of the same run, or of an older one
        log(f"{self._path}: {why} and is kept as {aside.name}; starting from the first step")

    def load(self) -> dict | None:
        """Return the content of the checkpoint; None if it is missing or was made with other options or inputs.

        UserError if the checkpoint is damaged or belongs to another model.
        """
        saved = self._read_own()
        if saved is None or saved["fingerprint"] != self._fingerprint:
            return None
        self._earlier = float(saved.get("seconds", 0.0))  # a checkpoint of an earlier version has no time
        return saved

    def _read_own(self, mmap: bool = False) -> dict | None:
        """Return the content of the checkpoint of this kind; None if it is missing."""
        saved = _read(self._path, mmap)
        if saved is not None and saved["kind"] != self._kind:
            raise UserError(
                f"{self._path}: is a checkpoint of {saved['kind']}, not of {self._kind}; delete it or give another run "
                "folder"
            )
        return saved

    def require(self, wanted: Iterable[str], saved: dict[str, object]) -> None:
        """Raise UserError if the names in the saved state differ from `wanted`, or if a value is not finite."""
        if differing := sorted(set(wanted) ^ set(saved)):
            raise UserError(
                f"{self._path}: was made by another version of this program (other entries: {', '.join(differing)}); "
                "delete it to start over"
            )
        if bad := non_finite(saved):
            raise UserError(f"{self._path}: {shortened(bad)} is not finite; delete it to start over")

    def save(self, content: dict) -> None:
        """Write the checkpoint atomically; the checkpoint before becomes checkpoint-previous.pt."""

        def write(file: BinaryIO) -> None:
            hashing = _HashingFile(file)
            try:
                torch.save({"kind": self._kind, "fingerprint": self._fingerprint, **content}, hashing)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch replaces the error of a full disk by a RuntimeError
                    raise error.__context__ from error
                raise
            file.write(_MARK + hashing.sha256.hexdigest().encode())  # torch.load ignores what follows the archive
            self._keep_previous()

        files.write_with(self._path, write)

    def _keep_previous(self) -> None:
        """Give the current checkpoint a second name, which it keeps when the new one replaces it."""
        if self._path.exists():
            linked = self._previous.with_name(f".{PREVIOUS}.link")
            linked.unlink(missing_ok=True)
            try:
                os.link(self._path, linked)
            except OSError:  # the file system has no links
                shutil.copyfile(self._path, linked)
            linked.replace(self._previous)
            linked.unlink(missing_ok=True)  # a file is not renamed to another name of itself


def _read(path: Path, mmap: bool = False) -> dict | None:
    """Return the content of a checkpoint; None if it is missing; _Damaged if its bytes are not those written.

    mmap=True loads no tensors and does not check their bytes. A checkpoint without a hash is of an earlier version.
    """
    try:
        with open_regular_file(path) as file:
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _Damaged(f"{path}: cannot be read ({error.strerror})") from error
    if not size:
        raise _Damaged(f"{path}: is empty")
    if compressed := compressed_member(path):
        raise _Damaged(f"{path}: is refused: {compressed} is compressed, which torch.save never does")
    try:
        whole = mmap or has_its_hash(path)
    except OSError as error:  # a bad block
        raise _Damaged(f"{path}: cannot be read ({error.strerror})") from error
    if not whole:
        raise _Damaged(f"{path}: its bytes changed after it was written")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch.load raises many exception types
        raise _Damaged(f"{path}: is not a readable checkpoint; it was cut, or is another file") from error
    try:
        return check_entries(saved, _ENTRIES, path, "restore it")
    except UserError as error:
        raise _Damaged(str(error)) from error


def has_its_hash(path: Path) -> bool:
    """Return whether the file's content has the SHA-256 at its end; true if there is none.

    OSError as in `open_regular_file`.
    """
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - _TRAILER))
        trailer = file.read()
        if not trailer.startswith(_MARK):
            return True
        file.seek(0)
        digest, left = hashlib.sha256(), size - _TRAILER
        while left:
            block = file.read(min(left, 1 << 24))
            if not block:  # the file was cut meanwhile
                return False
            digest.update(block)
            left -= len(block)
    return trailer == _MARK + digest.hexdigest().encode()
