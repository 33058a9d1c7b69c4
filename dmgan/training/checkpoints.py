"""Checkpoints from which an interrupted training resumes bit-exactly."""

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
    """Hashes of the options and inputs of a training."""

    run: str  # of everything that shapes its result
    steps: str  # of everything that shapes a step: a checkpoint must agree in it

    @classmethod
    def of(cls, written: dict, options: str, steps_depend_on_epochs: bool = False) -> "Fingerprints":
        """Hash what options.json records of a run; `written[options]` are the options of its loop.

        `checkpoint_every` shapes nothing. Unless a step depends on the number of steps, a run may be continued with
        more epochs.
        """
        shaping = {name: value for name, value in written[options].items() if name != "checkpoint_every"}
        of_a_step = {name: value for name, value in shaping.items() if steps_depend_on_epochs or name != "epochs"}
        return cls(*(files.json_sha256({**written, options: each}) for each in (shaping, of_a_step)))


class Checkpoint:
    """The file checkpoint.pt of a run folder, which the workflow does not declare as an output."""

    def __init__(self, run_folder: Path, kind: str, fingerprint: str):
        """kind: what is trained, such as the model's name; fingerprint: Fingerprints.steps."""
        self.folder, self._path = run_folder, run_folder / CHECKPOINT
        self._kind, self._fingerprint = kind, fingerprint

    def set_aside(self, total_steps: int) -> None:
        """Rename a checkpoint from which a run of `total_steps` steps cannot resume, and log it.

        Such a checkpoint was made with other options or inputs, or has more steps. UserError for a checkpoint of
        another model, or a damaged one.
        """
        saved = self._read(mmap=True)  # without its tensors
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
        """Return the saved content, or None if there is no checkpoint that fits.

        UserError for a checkpoint of another model, or a damaged one.
        """
        saved = self._read()
        return saved if saved is not None and saved["fingerprint"] == self._fingerprint else None

    def _read(self, mmap: bool = False) -> dict | None:
        if not self._path.exists():
            return None
        try:
            saved = torch.load(self._path, map_location="cpu", weights_only=True, mmap=mmap)
            kind, _, _ = saved["kind"], saved["fingerprint"], saved["step"]
        except Exception as error:  # torch.load raises many kinds for a file that is no checkpoint
            raise UserError(f"{self._path}: is not a readable checkpoint ({error}); delete it to start anew") from error
        if kind != self._kind:
            raise UserError(
                f"{self._path}: is a checkpoint of {kind}, not of {self._kind}; delete it or give another run folder"
            )
        return saved

    def require(self, wanted: Iterable[str], saved: dict[str, object]) -> None:
        """Raise UserError unless the saved state has exactly the parts `wanted`, and is finite."""
        if differing := sorted(set(wanted) ^ set(saved)):
            raise UserError(
                f"{self._path}: was made by another version of this program (it differs in {', '.join(differing)}); "
                "delete it to start anew"
            )
        if bad := non_finite(saved):
            raise UserError(f"{self._path}: {shortened(bad)} is not finite; delete it to start anew")

    def save(self, content: dict) -> None:
        """Write the checkpoint, whole or not at all."""

        def write(file: BinaryIO) -> None:
            try:
                torch.save({"kind": self._kind, "fingerprint": self._fingerprint, **content}, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch hides a full disk behind an error of its own
                    raise error.__context__ from error
                raise

        files.write_with(self._path, write)
