"""Checkpoints, from which an interrupted training run resumes bit-exactly."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch

from dmgan.errors import UserError
from dmgan.runtime.progress import log
from dmgan.storage import files
from dmgan.storage.weights import non_finite, shortened

CHECKPOINT = "checkpoint.pt"


class Fingerprints(NamedTuple):
    """Hashes of the options and inputs of a training run."""

    run: str  # of all options and inputs that affect the result
    steps: str  # of all options and inputs that affect a step; a checkpoint must have the same hash

    @classmethod
    def of(cls, written: dict, options: str, steps_depend_on_epochs: bool = False) -> "Fingerprints":
        """Hash the entries of options.json that affect the result; `written[options]` are the options of the loop.

        `checkpoint_every` is ignored. `epochs` is ignored in `steps`, so that a finished run can be continued with more
        epochs, unless steps_depend_on_epochs.
        """
        shaping = {name: value for name, value in written[options].items() if name != "checkpoint_every"}
        of_a_step = {name: value for name, value in shaping.items() if steps_depend_on_epochs or name != "epochs"}
        return cls(*(files.json_sha256({**written, options: each}) for each in (shaping, of_a_step)))


class Checkpoint:
    """The file checkpoint.pt of a run folder; it is not an output of the workflow."""

    def __init__(self, run_folder: Path, kind: str, fingerprint: str):
        """Name a checkpoint; kind: name of the trained network or model; fingerprint: Fingerprints.steps."""
        self.folder, self._path = run_folder, run_folder / CHECKPOINT
        self._kind, self._fingerprint = kind, fingerprint

    def set_aside(self, total_steps: int) -> None:
        """Rename the checkpoint if a run of `total_steps` steps cannot resume from it, and log the new name.

        A run cannot resume from a checkpoint that was made with other options or inputs, or that has more steps.
        UserError if the checkpoint is damaged or belongs to another model.
        """
        saved = self._read(mmap=True)  # without loading the tensors
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
        log(f"{self._path}: {why} and is kept as {aside.name}; starting from the first step")

    def load(self) -> dict | None:
        """Return the content of the checkpoint; None if it is missing or was made with other options or inputs.

        UserError if the checkpoint is damaged or belongs to another model.
        """
        saved = self._read()
        return saved if saved is not None and saved["fingerprint"] == self._fingerprint else None

    def _read(self, mmap: bool = False) -> dict | None:
        if not self._path.exists():
            return None
        try:
            saved = torch.load(self._path, map_location="cpu", weights_only=True, mmap=mmap)
            kind, _, _ = saved["kind"], saved["fingerprint"], saved["step"]
        except Exception as error:  # torch.load raises many exception types
            raise UserError(f"{self._path}: is not a readable checkpoint ({error}); delete it to start over") from error
        if kind != self._kind:
            raise UserError(
                f"{self._path}: is a checkpoint of {kind}, not of {self._kind}; delete it or give another run folder"
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
        """Write the checkpoint atomically."""

        def write(file: BinaryIO) -> None:
            try:
                torch.save({"kind": self._kind, "fingerprint": self._fingerprint, **content}, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch replaces the error of a full disk by a RuntimeError
                    raise error.__context__ from error
                raise

        files.write_with(self._path, write)
