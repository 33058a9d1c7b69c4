"""The folder that images are sampled into: it appears whole, and goes on after an end in the middle."""

import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dmgan.errors import UserError
from dmgan.runtime.progress import log
from dmgan.storage import files
from dmgan.storage.npy import NpyWriter
from dmgan.storage.png import PngWriters, is_whole_png, read_png

MANIFEST, _SUBJECT = "manifest.json", "unfinished.json"
_NAMES = r"manifest\.json|unfinished\.json|\d{6,}(_\d+)?\.png|images(_\d+)?\.npy"
_NAMES += r"|done\.txt|\.lock"  # of earlier versions
SAMPLED = files.OwnFiles("sample", (MANIFEST, _SUBJECT), _NAMES)
_BATCHES_AHEAD = 3  # that may wait to be written: bounds memory where the generator is the faster one


class ImageFolder:
    """Images 0 ... num_images - 1 under construction in `OUT.part`, which becomes `out` in `finish`.

    A context manager. `OUT.part/unfinished.json` says what they are images of: an unfinished folder of the same thing
    is gone on with, one of anything else is begun anew. An image is done where its PNG files are whole, whatever ended
    the earlier start; images.npy, in which nothing says so, is made from them.
    """

    def __init__(
        self,
        out: Path,
        subject: Mapping[str, object],
        num_images: int,
        sides: Mapping[str, int],
        workers: int,
        packed: bool,
    ):
        """subject: all that the images depend on, plain values; packed: write images.npy too.

        sides: of every file of an image what its name ends in, and its side in pixels.
        """
        self._out, self._part = Path(out), Path(out).with_name(Path(out).name + ".part")
        self._subject = {**subject, "num_images": num_images}
        self._num_images, self._sides, self._workers, self._packed = num_images, sides, workers, packed
        self._arrays: dict[str, NpyWriter] = {}
        self._pending: deque[tuple[Sequence[int], list[Future]]] = deque()
        self.done: set[int] = set()

    def __enter__(self) -> "ImageFolder":
        with ExitStack() as opened:
            opened.enter_context(files.locked(self._out))
            try:
                self._take_up()
                for suffix, side in self._sides.items() if self._packed else ():
                    array = NpyWriter(self._part / f"images{suffix}.npy", (self._num_images, side, side, 3), np.uint8)
                    self._arrays[suffix] = array
                    opened.callback(array.close)
                self._pack_done()
            except OSError as error:
                raise self._not_written(error) from error
            self._writers = PngWriters(self._workers)
            opened.callback(self._writers.close)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *raised) -> None:
        self._opened.close()

    def _take_up(self) -> None:
        """Go on with the images that an earlier start left, if they are of the same thing; otherwise begin."""
        if not self._part.exists() and _subject_of(self._out) == self._subject:
            os.replace(self._out, self._part)  # a kill in `finish` left it there
        files.refuse_overwrite(self._part, SAMPLED)
        self._part.mkdir(exist_ok=True)
        subject = _subject_of(self._part)
        if subject == self._subject:
            self.done = {number for number in range(self._num_images) if not self._cut_short(number)}
            log(f"{self._part}: {len(self.done)} of {self._num_images} images are there; going on")
        elif subject is not None:
            names = sorted(
                name for name in subject.keys() | self._subject if subject.get(name) != self._subject.get(name)
            )
            images = sum(name.endswith(".png") for name in os.listdir(self._part))
            log(
                f"{self._part}: {images} images of another run ({', '.join(names)} changed) are deleted; beginning anew"
            )
        kept = {path.name for number in self.done for path in self._paths(number)}
        for name in os.listdir(self._part):
            if name not in kept and name != _SUBJECT:
                (self._part / name).unlink()
        files.write_json(self._part / _SUBJECT, self._subject)  # not before the images of another subject are gone

    def _paths(self, number: int) -> list[Path]:
        """The PNG files of one image."""
        return [self._part / f"{number:06d}{suffix}.png" for suffix in self._sides]

    def _cut_short(self, number: int) -> list[Path]:
        """Which of them are missing or not whole."""
        return [path for path in self._paths(number) if not is_whole_png(path)]

    def _pack_done(self) -> None:
        """Write what is done into images.npy; an image that cannot be read is not done."""
        if not self._packed:
            return
        for number in sorted(self.done):
            try:
                images = [read_png(path) for path in self._paths(number)]
            except (OSError, SyntaxError, ValueError):  # as Pillow calls damage
                self.done.discard(number)
                continue
            for array, pixels in zip(self._arrays.values(), images, strict=True):
                array.write(number, pixels[None])

    def write(self, numbers: Sequence[int], images: Mapping[str, np.ndarray]) -> int:
        """Begin to write images `numbers`, {suffix: (B, s, s, 3) uint8}; how many more are complete by now."""
        try:
            writes = []
            for suffix, pixels in images.items():
                paths = [self._part / f"{number:06d}{suffix}.png" for number in numbers]
                writes += self._writers.write(paths, pixels)
                for row, number in enumerate(numbers if self._packed else ()):
                    self._arrays[suffix].write(number, pixels[row : row + 1])
            self._pending.append((numbers, writes))
            return self._complete(_BATCHES_AHEAD if self._workers else 0)
        except OSError as error:
            raise self._not_written(error) from error

    def _complete(self, ahead: int) -> int:
        """Wait until at most `ahead` batches are being written; count the images of the others as done."""
        count = 0
        while len(self._pending) > ahead:
            numbers, writes = self._pending.popleft()
            self._writers.wait(writes)
            self.done.update(numbers)
            count += len(numbers)
        return count

    def finish(self, manifest: Mapping[str, object]) -> int:
        """Wait for all files, write the manifest and put the folder in its place; how many were still to complete."""
        try:
            last = self._complete(0)
            for array in self._arrays.values():
                array.close()
            lost = [path for number in range(self._num_images) for path in self._cut_short(number)]
            if lost:
                raise UserError(
                    f"{lost[0]}: is missing or cut short, as are {len(lost) - 1} others; something else changed the "
                    "folder. Run the same command again, which makes them anew"
                )
            if self._packed:
                packed = {f"images{suffix}.npy": list(array.shape) for suffix, array in self._arrays.items()}
                manifest = {**manifest, "packed": packed}
            files.write_json(self._part / MANIFEST, manifest)
            files.replace_folder(self._part, self._out, SAMPLED)
            (self._out / _SUBJECT).unlink()  # last: until then the same command takes the folder up again
            return last
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> UserError:
        return UserError(
            f"{self._out}: could not be written ({error.strerror or error}); what is complete stays in {self._part}. "
            "Free space or fix the permissions, then run the same command again to go on"
        )


def _subject_of(folder: Path) -> dict[str, object] | None:
    """What the images of an unfinished folder are of; None where it is none."""
    if not (folder / _SUBJECT).exists():
        return None
    return files.read_json(folder / _SUBJECT, "delete that folder to begin anew")
