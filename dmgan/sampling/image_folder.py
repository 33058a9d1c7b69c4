"""Atomic output folder of sampled images; an interrupted sampling resumes."""

import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from torch import Tensor

from dmgan.data.batches import to_levels
from dmgan.errors import UserError
from dmgan.options import SamplingOptions
from dmgan.runtime.progress import log
from dmgan.storage import files
from dmgan.storage.npy import NpyWriter
from dmgan.storage.png import PngWriters, is_whole_png, read_png
from dmgan.storage.reading import read_object
from dmgan.storage.seals import write_sealed_json

MANIFEST, _INPUTS = "manifest.json", "unfinished.json"
_NAMES = r"manifest\.json|unfinished\.json|\d{6,}(_\d+)?\.png|images(_\d+)?\.npy"
_NAMES += r"|done\.txt|\.lock"  # files of earlier versions
SAMPLED = files.OwnFiles("sample", (MANIFEST, _INPUTS), _NAMES)
_BATCHES_AHEAD = 3  # limit of batches that wait to be written; bounds the RAM if the disk is slower than the generator


def was_sampled(folder: Path) -> bool:
    """Return whether `sample` wrote the folder."""
    path = Path(folder) / MANIFEST
    return path.is_file() and "generator_sha256" in read_object(path, "sample the images again", {})


def sides_by_suffix(image_sizes: Sequence[int], all_stages: bool) -> dict[str, int]:
    """Return the images written per caption, as {file-name suffix: side in pixels}."""
    return {f"_{side}": side for side in image_sizes} if all_stages else {"": image_sizes[-1]}


def pixels_by_suffix(stages: Sequence[Tensor], all_stages: bool) -> dict[str, Tensor]:
    """Return the pixels to write, as {file-name suffix: (B, s, s, 3) uint8}, from stages (B, 3, s, s) on any device."""
    if not all_stages:
        return {"": to_levels(stages[-1])}
    return {f"_{images.shape[-1]}": to_levels(images) for images in stages}


class ImageFolder:
    """Context manager that writes images 0 ... num_images - 1 into `OUT.part`; `finish` renames the folder to `out`.

    `OUT.part/unfinished.json` records the inputs of the images: a folder with equal inputs is resumed, a folder with
    other inputs is started again. An image is done if its PNG files are complete; images.npy does not show which images
    are complete, and is therefore written again from the PNG files.
    """

    def __init__(
        self,
        out: Path,
        inputs: Mapping[str, object],
        num_images: int,
        sides: Mapping[str, int],
        workers: int,
        packed: bool,
        png_level: int = SamplingOptions.png_level,
    ):
        """Describe the images; the folder is created on entry.

        inputs: JSON values of everything that the images depend on; packed: also write images.npy; sides: the files of
        an image, {file-name suffix: side in pixels} (see sides_by_suffix); workers: processes that write PNG files.
        """
        self._out, self._part = Path(out), Path(out).with_name(Path(out).name + ".part")
        self._inputs = {**inputs, "num_images": num_images}
        self._num_images, self._sides, self._packed = num_images, sides, packed
        self._workers, self._png_level = workers, png_level
        self._arrays: dict[str, NpyWriter] = {}
        self._pending: deque[tuple[Sequence[int], list[Future]]] = deque()
        self.done: set[int] = set()

    def __enter__(self) -> "ImageFolder":
        with ExitStack() as opened:
            opened.enter_context(files.locked(self._out))
            try:
                self._resume_or_start()
                for suffix, side in self._sides.items() if self._packed else ():
                    array = NpyWriter(self._part / f"images{suffix}.npy", (self._num_images, side, side, 3), np.uint8)
                    self._arrays[suffix] = array
                    opened.callback(array.abandon)
                self._pack_done()
            except OSError as error:
                raise self._not_written(error) from error
            self._writers = PngWriters(self._workers, self._png_level)
            opened.callback(self._writers.close)
            self._packer = None
            if self._packed and self._workers:  # a thread writes the rows, so that neither PNG files nor images wait
                self._packer = ThreadPoolExecutor(1, thread_name_prefix="images.npy")
                opened.callback(self._packer.shutdown, cancel_futures=True)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *raised) -> None:
        self._opened.close()

    def _resume_or_start(self) -> None:
        """Keep the complete images of an interrupted sampling with equal inputs; delete all other images."""
        if not self._part.exists() and _read_inputs(self._out) == self._inputs:
            os.replace(self._out, self._part)  # the process was killed in `finish`, before it deleted unfinished.json
        files.refuse_overwrite(self._part, SAMPLED)
        self._part.mkdir(exist_ok=True)
        found = _read_inputs(self._part)
        if found == self._inputs:
            self.done = {number for number in range(self._num_images) if not self._incomplete(number)}
            log(f"{self._part}: resuming; {len(self.done)} of {self._num_images} images are complete")
        elif found is not None:
            names = sorted(name for name in found.keys() | self._inputs if found.get(name) != self._inputs.get(name))
            images = sum(name.endswith(".png") for name in os.listdir(self._part))
            log(f"{self._part}: starting again; {images} images with other inputs ({', '.join(names)}) are deleted")
        kept = {path.name for number in self.done for path in self._paths(number)}
        for name in os.listdir(self._part):
            if name not in kept and name != _INPUTS:
                (self._part / name).unlink()
        files.write_json(self._part / _INPUTS, self._inputs)  # only after images with other inputs are deleted

    def _paths(self, number: int) -> list[Path]:
        """Return the PNG files of one image."""
        return [self._part / f"{number:06d}{suffix}.png" for suffix in self._sides]

    def _incomplete(self, number: int) -> list[Path]:
        """Return the PNG files of one image that are missing or truncated."""
        return [path for path in self._paths(number) if not is_whole_png(path)]

    def _pack_done(self) -> None:
        """Write finished images into images.npy; unreadable images are removed from `done`."""
        if not self._packed:
            return
        for number in sorted(self.done):
            try:
                images = [read_png(path) for path in self._paths(number)]
            except (OSError, SyntaxError, ValueError):  # Pillow raises these for damaged files
                self.done.discard(number)
                continue
            for array, pixels in zip(self._arrays.values(), images, strict=True):
                array.write(number, pixels[None])

    def write(self, numbers: Sequence[int], images: Mapping[str, np.ndarray]) -> int:
        """Start to write images `numbers`, {suffix: (B, s, s, 3) uint8}; return the number of newly finished images."""
        try:
            writes = []
            if self._packer is not None:
                writes.append(self._packer.submit(self._pack, numbers, images))
            for suffix, pixels in images.items():
                paths = [self._part / f"{number:06d}{suffix}.png" for number in numbers]
                writes += self._writers.write(paths, pixels)
            if self._packed and self._packer is None:
                self._pack(numbers, images)
            self._pending.append((numbers, writes))
            return self._complete(_BATCHES_AHEAD if self._workers else 0)
        except OSError as error:
            raise self._not_written(error) from error

    def _pack(self, numbers: Sequence[int], images: Mapping[str, np.ndarray]) -> None:
        """Write images into the rows of images.npy that their numbers name."""
        for suffix, pixels in images.items():
            for row, number in enumerate(numbers):
                self._arrays[suffix].write(number, pixels[row : row + 1])

    def _complete(self, ahead: int) -> int:
        """Wait until at most `ahead` batches are being written; return the number of newly finished images."""
        count = 0
        while len(self._pending) > ahead:
            numbers, writes = self._pending.popleft()
            self._writers.wait(writes)
            self.done.update(numbers)
            count += len(numbers)
        return count

    def finish(self, manifest: Mapping[str, object]) -> int:
        """Wait for all files, write the manifest and rename the folder to `out`; return the number of new images."""
        try:
            last = self._complete(0)
            for array in self._arrays.values():
                array.close()
            lost = [path for number in range(self._num_images) for path in self._incomplete(number)]
            if lost:
                raise UserError(
                    f"{lost[0]}: is missing or truncated, and {len(lost) - 1} other files; another program changed the "
                    "folder. Run the same command again to generate them again"
                )
            if self._packed:
                packed = {f"images{suffix}.npy": list(array.shape) for suffix, array in self._arrays.items()}
                manifest = {**manifest, "packed": packed}
            images = [path.name for number in range(self._num_images) for path in self._paths(number)]
            write_sealed_json(self._part / MANIFEST, manifest, [*images, *manifest.get("packed", ())])
            files.replace_folder(self._part, self._out, SAMPLED)
            (self._out / _INPUTS).unlink()  # last: as long as the file exists, the same command resumes
            return last
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> UserError:
        return UserError(
            f"{self._out}: could not be written ({error.strerror or error}); complete images stay in {self._part}. "
            "Free space or fix the permissions, then run the same command again to resume"
        )


def _read_inputs(folder: Path) -> dict[str, object] | None:
    """Return the inputs of the images in an unfinished folder; None if `folder` is missing or finished."""
    if not (folder / _INPUTS).exists():
        return None
    return read_object(folder / _INPUTS, "delete that folder to start again", {})
