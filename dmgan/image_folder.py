"""The folder that images are sampled into: it appears whole, and goes on after an end in the middle."""

import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dmgan import files
from dmgan.checkpoints import exclusive
from dmgan.errors import UserError
from dmgan.pictures import PngWriters
from dmgan.progress import say

_FINGERPRINT, _DONE, _LOCK = "unfinished.json", "done.txt", ".lock"
_BATCHES_AHEAD = 3  # that may wait to be written: bounds memory where the generator is the faster one


class ImageFolder:
    """Images 0 ... num_images - 1 under construction in `OUT.part`, which becomes `out` in `finish`.

    A context manager. `OUT.part/done.txt` names the images whose files are complete, `unfinished.json` what they are
    images of: an unfinished folder of the same thing is gone on with, one of anything else is begun anew.
    """

    def __init__(self, out: Path, subject: Mapping[str, object], num_images: int, workers: int, packed: bool):
        """subject: all that the images depend on, plain values; packed: write images.npy too."""
        self._out, self._part = Path(out), Path(out).with_name(Path(out).name + ".part")
        self._subject = {**subject, "num_images": num_images, "packed": packed}
        self._num_images, self._workers, self._packed = num_images, workers, packed
        self._maps: dict[str, np.ndarray] = {}
        self._pending: deque[tuple[Sequence[int], list[Future]]] = deque()
        self.done: set[int] = set()

    def __enter__(self) -> "ImageFolder":
        with ExitStack() as opened:
            try:
                opened.enter_context(exclusive(self._part))
                self._part.mkdir(exist_ok=True)  # gone where the job that was waited for has finished it
                self.done = self._read_done()
                self._journal = opened.enter_context(open(self._part / _DONE, "a", encoding="ascii"))
            except OSError as error:
                raise self._not_written(error) from error
            self._writers = PngWriters(self._workers)
            opened.callback(self._writers.close)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *raised) -> None:
        self._opened.close()

    def _read_done(self) -> set[int]:
        """The images that an earlier start left; clears the folder where it is of something else."""
        found = {path.name for path in self._part.iterdir()} - {_LOCK, _DONE}
        if _FINGERPRINT not in found:
            if found:
                raise UserError(
                    f"{self._part}: is in the way and no unfinished sampling (it holds {min(found)}); move it elsewhere"
                )
            return self._begin()
        subject = files.read_json(self._part / _FINGERPRINT, "delete that folder to begin anew")
        if subject != self._subject:
            changed = sorted(name for name in self._subject if subject.get(name) != self._subject[name])
            say(f"{self._part}: holds images of another run ({', '.join(changed)} differ); beginning anew")
            for name in found:
                (self._part / name).unlink()
            return self._begin()
        whole_lines = (self._part / _DONE).read_text(encoding="ascii").rpartition("\n")[0]
        files.write_text(self._part / _DONE, whole_lines + "\n" if whole_lines else "")
        say(f"{self._part}: {len(whole_lines.split())} of {self._num_images} images are there; going on")
        return {int(line) for line in whole_lines.split()}

    def _begin(self) -> set[int]:
        files.write_text(self._part / _DONE, "")
        files.write_json(self._part / _FINGERPRINT, self._subject)
        return set()

    def write(self, numbers: Sequence[int], images: Mapping[str, np.ndarray]) -> int:
        """Begin to write images `numbers`, {suffix: (B, s, s, 3) uint8}; how many more are complete by now."""
        try:
            writes = []
            for suffix, pixels in images.items():
                paths = [self._part / f"{number:06d}{suffix}.png" for number in numbers]
                writes += self._writers.write(paths, pixels)
                if self._packed:
                    self._map(f"images{suffix}.npy", pixels)[numbers] = pixels
            self._pending.append((numbers, writes))
            return self._complete(_BATCHES_AHEAD if self._workers else 0)
        except OSError as error:
            raise self._not_written(error) from error

    def _map(self, name: str, pixels: np.ndarray) -> np.ndarray:
        """The packed file (num_images, s, s, 3), opened or made."""
        if name not in self._maps:
            path = self._part / name
            shape = (self._num_images, *pixels.shape[1:])
            mode = "r+" if path.exists() else "w+"
            self._maps[name] = np.lib.format.open_memmap(path, mode=mode, dtype=np.uint8, shape=shape)
        return self._maps[name]

    def _complete(self, ahead: int) -> int:
        """Wait until at most `ahead` batches are being written; note the others as done and count them."""
        count = 0
        while len(self._pending) > ahead:
            numbers, writes = self._pending.popleft()
            self._writers.wait(writes)
            self._journal.write("".join(f"{number}\n" for number in numbers))
            self._journal.flush()
            self.done.update(numbers)
            count += len(numbers)
        return count

    def finish(self, manifest_name: str, manifest: Mapping[str, object]) -> int:
        """Wait for all files, write the manifest and put the folder in its place; how many were still to complete."""
        try:
            last = self._complete(0)
            for images in self._maps.values():
                images.flush()
            if self._packed:
                packed = sorted(self._part.glob("images*.npy"))
                manifest = {**manifest, "packed": {path.name: list(np.load(path, "r").shape) for path in packed}}
            files.write_json(self._part / manifest_name, manifest)
            for name in (_FINGERPRINT, _DONE, _LOCK):
                (self._part / name).unlink(missing_ok=True)
            if self._out.exists():
                shutil.rmtree(self._out)
            os.replace(self._part, self._out)
            return last
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> UserError:
        return UserError(
            f"{self._out}: could not be written ({error.strerror or error}); what is complete stays in {self._part}. "
            "Free space or mend the permissions, then run the same command again to go on"
        )
