"""Feature store: one pass over an image set, one .npy file per output of an extractor, resumable by chunk.

A store is one folder per extractor: an array per output, and manifest.json with the extractor's identity (weights,
resize, code, library versions) and for each chunk the SHA-256 of its pixels and of its rows. Every evaluation reads all
images and compares the hashes: rows of other images, rows of another extractor and damaged rows are computed again, and
a missing or corrupt image raises an error.
"""

import hashlib
import os
import shutil
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from dmgan.errors import UserError
from dmgan.evaluation.image_blocks import (
    CHUNK,
    FORWARD,
    Block,
    OneSize,
    Request,
    combined_sha256,
    read_blocks,
)
from dmgan.evaluation.image_sets import Images
from dmgan.evaluation.networks.base import FeatureExtractor
from dmgan.runtime.progress import Progress, log
from dmgan.storage import files
from dmgan.storage.npy import NpyWriter, open_array, read_header
from dmgan.storage.reading import open_regular_file

FORMAT = 2
MANIFEST = "manifest.json"
_STORE = files.OwnFiles("evaluation", (MANIFEST,), r"manifest\.json|\w+\.npy|\.\w+\.copy")


class _OpenArray:
    """Open .npy file (N, D); its rows stay readable and unchanged when another job replaces the file."""

    def __init__(self, path: Path):
        self.path = path
        with open_regular_file(path) as file:
            try:
                self.shape, fortran, self.dtype = read_header(file)
            except ValueError as error:
                raise UserError(f"{path}: is damaged ({error}); delete its folder") from error
            if len(self.shape) != 2 or fortran:
                raise UserError(f"{path}: is damaged (its shape is {self.shape}); delete its folder")
            self._start = file.tell()
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, first: int, rows: np.ndarray) -> None:
        """Fill `rows` (n, D) with the rows from row `first` on."""
        place = self._start + first * self.dtype.itemsize * self.shape[1]
        if os.preadv(self._descriptor, [rows], place) != rows.nbytes:
            raise UserError(f"{self.path}: is shorter than its header states; delete its folder")


class Rows:
    """float32 rows (N, D) in RAM or in a .npy file, read on demand.

    Files are read, not memory-mapped: mapped pages would count as RAM of the process.
    """

    def __init__(self, source: "np.ndarray | Path | _OpenArray", numbers: np.ndarray | None = None):
        """numbers: rows of the source, in order (default: all)."""
        self._source = _OpenArray(source) if isinstance(source, Path) else source
        self.width = self._source.shape[1]
        self._numbers = np.arange(self._source.shape[0]) if numbers is None else np.asarray(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def subset(self, positions: np.ndarray) -> "Rows":
        """Return the rows at `positions`, in that order, without reading them."""
        return Rows(self._source, self._numbers[positions])

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Read the rows (n, D) at `positions`, in that order."""
        numbers = self._numbers[positions]
        if isinstance(self._source, np.ndarray):
            return self._source[numbers]
        rows = np.empty((len(numbers), self.width), dtype=self._source.dtype)
        if not rows.nbytes:
            return rows
        # Adjacent rows are read in one call.
        starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
        for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):
            self._source.read(int(numbers[start]), rows[start:stop])
        return rows

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Read all rows, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def all(self) -> np.ndarray:
        """Read every row; for small arrays, such as image embeddings."""
        return self.take(np.arange(len(self)))


class StoredFeatures(NamedTuple):
    """Features of an image set by one extractor."""

    arrays: dict[str, Rows]
    protocol: dict[str, object]
    images_sha256: str  # of the pixels of all images, in order

    def __getitem__(self, array: str) -> Rows:
        return self.arrays[array]


class _Done(NamedTuple):
    """Entry of the manifest for a chunk whose rows are on the disk."""

    images: str  # SHA-256 of the pixels that the rows were computed from
    rows: str  # SHA-256 of the rows of all arrays, in order


def rows_sha256(rows: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the rows of a chunk, array after array."""
    sha256 = hashlib.sha256()
    for values in rows:
        sha256.update(np.ascontiguousarray(values))
    return sha256.hexdigest()


class _Store:
    """The folder with one extractor's rows of one image set."""

    def __init__(self, folder: Path, extractor: FeatureExtractor, count: int, device: torch.device):
        self.folder, self.extractor, self.count = folder, extractor, count
        self._head = {"format": FORMAT, "count": count, "chunk": CHUNK, "device": device.type}
        self._head |= {"identity": extractor.identity()}
        self.done: list[_Done | None] = [None] * -(-count // CHUNK)
        self._others_may_read = False  # whether the files were complete when this job opened them

    def path(self, array: str) -> Path:
        return self.folder / f"{array}.npy"

    def open(self) -> None:
        """Reuse the stored rows of the same extractor and count; otherwise log the reason and start with empty arrays.

        A chunk with damaged rows counts as missing.
        """
        if (self.folder / MANIFEST).exists():
            found, done = self._read_manifest()
            if found == self._head and all(self._has_array(array) for array in self.extractor.widths):
                self.done = done
                self._others_may_read = None not in self.done
                self._drop_damaged_chunks()
                return
            changed = [key for key in self._head if found.get(key) != self._head[key]] or ["files"]
            log(f"{self.folder}: stored features differ in {' and '.join(changed)}; computing them again")
        files.refuse_overwrite(self.folder, _STORE)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in files.files_below(self.folder):
            if name != MANIFEST:  # the manifest identifies the folder if this job is killed
                (self.folder / name).unlink()
        self._write_manifest()
        for array, width in self.extractor.widths.items():
            NpyWriter(self.path(array), (self.count, width), np.float32).close()

    def _read_manifest(self) -> tuple[dict, list[_Done | None]]:
        """Return the manifest's head and its chunks; ({}, []), which no store has, if it is damaged."""
        try:
            found = files.read_json(self.folder / MANIFEST, "its features are computed again")
            done = [None if each is None else _Done(**each) for each in found.pop("done")]
        except UserError as error:
            log(str(error))
            return {}, []
        except (AttributeError, KeyError, TypeError):
            log(f"{self.folder / MANIFEST}: is damaged; its features are computed again")
            return {}, []
        return (found, done) if len(done) == len(self.done) else ({}, [])

    def _has_array(self, array: str) -> bool:
        """Return whether the file of an array exists, is not cut, and has its shape and type."""
        try:
            mapped = open_array(self.path(array))
        except (OSError, ValueError):
            return False
        return mapped.shape == (self.count, self.extractor.widths[array]) and mapped.dtype == np.float32

    def _drop_damaged_chunks(self) -> None:
        """Mark chunks with damaged rows as missing: the disk is bad, or a job was killed while it wrote the rows."""
        arrays = [Rows(self.path(array)) for array in self.extractor.widths]
        for chunk, done in enumerate(self.done):
            numbers = np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, self.count))
            if done is not None and rows_sha256(each.take(numbers) for each in arrays) != done.rows:
                log(
                    f"{self.folder}: features of images {numbers[0]} to {numbers[-1]} are damaged; computing them again"
                )
                self.done[chunk] = None

    def write(self, chunk: int, rows: dict[str, np.ndarray], images_sha256: str) -> None:
        """Write the rows of one chunk to the disk, then its entry in the manifest."""
        if self._others_may_read:
            self._replace_files_by_copies()
        for array, values in rows.items():
            with open(self.path(array), "r+b") as file:
                npy.read_magic(file)
                npy.read_array_header_1_0(file)
                file.seek(file.tell() + chunk * CHUNK * values.itemsize * values.shape[1])
                file.write(np.ascontiguousarray(values))
                file.flush()
                os.fsync(file.fileno())
        self.done[chunk] = _Done(images_sha256, rows_sha256(rows[array] for array in self.extractor.widths))
        self._write_manifest()

    def _write_manifest(self) -> None:
        """Write the manifest with the chunks that are complete on the disk."""
        done = [None if each is None else each._asdict() for each in self.done]
        files.write_json(self.folder / MANIFEST, {**self._head, "done": done})

    def _replace_files_by_copies(self) -> None:
        """Replace the files by copies before writing, so that other evaluations keep the rows of the open files."""
        for array in self.extractor.widths:
            copy = self.folder / f".{array}.copy"
            shutil.copyfile(self.path(array), copy)
            os.replace(copy, self.path(array))
        self._others_may_read = False

    def features(self) -> StoredFeatures:
        """Return the stored features of a complete store."""
        arrays = {array: Rows(self.path(array)) for array in self.extractor.widths}
        whole = combined_sha256(each.images for each in self.done)
        return StoredFeatures(arrays, self.extractor.protocol, whole)


def extract(
    images: Images,
    count: int,
    extractors: Sequence[FeatureExtractor],
    folder: Path,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 0,
) -> dict[str, StoredFeatures]:
    """Return the features of images 0 ... count - 1 by extractor name, stored under `folder`; resumable by chunk.

    The returned features do not change while another call replaces the files. The values depend on neither batch_size
    nor workers. Raise UserError naming the image if it cannot be read or its features are not finite, and UserError if
    batch_size or workers is out of range.
    """
    if batch_size < 1 or workers < 0:
        raise UserError(
            f"--batch-size {batch_size}, --workers {workers}: batch size must be 1 or more, workers 0 or more"
        )
    folder = Path(folder)
    with files.locked(folder), files.user_error_for_disk_errors(folder):
        stores = [_Store(folder / each.name, each, count, device) for each in extractors]
        for store in stores:
            store.open()
        _fill(stores, images, count, device, batch_size, workers)
        return {store.extractor.name: store.features() for store in stores}


def _fill(stores: Sequence[_Store], images: Images, count: int, device, batch_size: int, workers: int) -> None:
    """Read every image once; compute missing chunks and chunks whose pixels have changed.

    On a GPU the rows of a chunk are written while the next chunk is computed.
    """
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    missing = [[store for store in stores if store.done[chunk] is None] for chunk in range(len(chunks))]
    requests = [_requests(numbers, each, batch_size) for numbers, each in zip(chunks, missing, strict=True)]
    blocks = read_blocks(images, [each for of_chunk in requests for each in of_chunk], device, workers)
    unwritten: deque[_Computed] = deque()
    with Progress(count, "images") as progress:
        try:
            for chunk, numbers in enumerate(chunks):
                unwritten.append(_compute(blocks, chunk, numbers, missing[chunk], images, device))
                sha256 = unwritten[-1].sha256
                stored = [store for store in stores if store not in missing[chunk]]
                stale = [store for store in stored if store.done[chunk].images != sha256]
                if stale:
                    where = f"{stale[0].folder.parent}: images {numbers[0]} to {numbers[-1]}"
                    log(f"{where} have changed; computing their features again")
                    again = read_blocks(images, _requests(numbers, stale, batch_size), device, workers)
                    unwritten.append(_compute(again, chunk, numbers, stale, images, device))
                while len(unwritten) > _chunks_behind(device):
                    unwritten.popleft().write()
                progress.step(len(numbers))
        finally:  # also if an image of the next chunk cannot be read
            while unwritten:
                unwritten.popleft().write()


def _chunks_behind(device: torch.device) -> int:
    """Return how many chunks the writing is behind the launched passes; the passes of a CPU end before they return."""
    return 0 if device.type == "cpu" else 1


def _requests(numbers: range, stores: Sequence[_Store], batch_size: int) -> list[Request]:
    """Return the blocks of a chunk: whole forward passes of at least batch_size images, each with every transform."""
    prepares = tuple(dict.fromkeys(store.extractor.prepare for store in stores))
    passes = [numbers[start : start + FORWARD] for start in range(0, len(numbers), FORWARD)]
    of_block = -(-batch_size // FORWARD)
    return [Request(tuple(passes[start : start + of_block]), prepares) for start in range(0, len(passes), of_block)]


class _Part(NamedTuple):
    """Rows of some images of a chunk, on the host."""

    positions: list[int]  # in the chunk
    arrays: dict[str, Tensor]


class _Computed(NamedTuple):
    """Rows of one chunk, which a GPU may still be computing."""

    chunk: int
    numbers: range
    stores: Sequence[_Store]
    images: Images
    sha256: str  # of the pixels
    parts: dict[str, list[_Part]]  # by extractor
    done: torch.cuda.Event | None  # end of the computation on a GPU

    def write(self) -> None:
        """Wait for the rows and write them to the disk; UserError, and nothing is written, if a row is not finite."""
        if self.done is not None:
            self.done.synchronize()
        rows = {store.extractor.name: self._rows(store.extractor) for store in self.stores}
        for store in self.stores:
            store.write(self.chunk, rows[store.extractor.name], self.sha256)

    def _rows(self, extractor: FeatureExtractor) -> dict[str, np.ndarray]:
        """Return the rows (n, D) of every array of an extractor; UserError if a row is not finite."""
        count = len(self.numbers)
        rows = {array: np.empty((count, width), dtype=np.float32) for array, width in extractor.widths.items()}
        for array, values in rows.items():
            for part in self.parts[extractor.name]:
                values[part.positions] = part.arrays[array].numpy()
            for start in range(0, count, FORWARD):
                of_pass = slice(start, start + FORWARD)
                _refuse_non_finite(values[of_pass], self.numbers[of_pass], extractor, self.images)
        return rows


def _compute(
    blocks: Iterator[Block],
    chunk: int,
    numbers: range,
    stores: Sequence[_Store],
    images: Images,
    device: torch.device,
) -> _Computed:
    """Read the blocks of one chunk and launch its forward passes, without waiting for a GPU."""
    sha256, read = hashlib.sha256(), 0
    parts: dict[str, list[_Part]] = {store.extractor.name: [] for store in stores}
    prepares = tuple(dict.fromkeys(store.extractor.prepare for store in stores))
    while read < len(numbers):
        block = next(blocks)
        for each in block.sha256:
            sha256.update(each)
        for start, of_pass in zip(range(read, len(numbers), FORWARD), block.prepared):
            for prepare, sizes in zip(prepares, of_pass, strict=True):
                extractors = [store.extractor for store in stores if store.extractor.prepare is prepare]
                for of_size in sizes:
                    positions = [start + position for position in of_size.positions]
                    size = _pass_size(sizes, of_size)
                    batch = of_size.images.to(device, non_blocking=True)
                    for extractor in extractors:
                        parts[extractor.name].append(_Part(positions, _forward(extractor, batch, size)))
        read += len(block.sha256)
    done = None
    if device.type == "cuda":
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(device))
    return _Computed(chunk, numbers, stores, images, sha256.hexdigest(), parts, done)


def features_in_ram(
    images: Images, count: int, extractors: Sequence[FeatureExtractor], device: torch.device
) -> dict[str, StoredFeatures]:
    """Return the features of images 0 ... count - 1 by extractor name, in RAM: for a few images, measured once.

    The values are those of `extract`, with the same errors.
    """
    sha256 = hashlib.sha256()
    parts = {each.name: {array: [] for array in each.widths} for each in extractors}
    for start in range(0, count, FORWARD):
        numbers = range(start, min(start + FORWARD, count))
        pixels = [np.ascontiguousarray(images(number)) for number in numbers]
        for each in pixels:
            sha256.update(each)
        for extractor in extractors:
            prepared = pixels if extractor.prepare is None else [np.asarray(extractor.prepare(each)) for each in pixels]
            rows = _forward(extractor, torch.from_numpy(np.stack(prepared)).to(device), FORWARD)
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()  # the rows are copied when the stream comes to them
            for array, values in rows.items():
                _refuse_non_finite(values.numpy(), numbers, extractor, images)
                parts[extractor.name][array].append(values.numpy())
    return {
        each.name: StoredFeatures(
            {array: Rows(np.concatenate(values)) for array, values in parts[each.name].items()},
            each.protocol,
            sha256.hexdigest(),
        )
        for each in extractors
    }


def _pass_size(sizes: Sequence[OneSize], of_size: OneSize) -> int:
    """Return the batch size that a batch of one size is padded to: FORWARD unless its pass has images of other sizes.

    Batches of several sizes are not padded: every image could be of another size, and padding would take FORWARD times
    as long. Their values still depend on neither --batch-size nor --workers, which do not change the passes.
    """
    return FORWARD if len(sizes) == 1 else len(of_size.positions)


@torch.inference_mode()
def _forward(extractor: FeatureExtractor, batch: Tensor, size: int) -> dict[str, Tensor]:
    """Launch one forward pass without TF32 and copies of its rows to the host; pad a smaller batch to `size` images."""
    count = len(batch)
    if count < size:
        batch = torch.cat([batch, batch[-1:].expand(size - count, -1, -1, -1)])
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        arrays = extractor.forward(batch)
    return {array: _launch_copy(arrays[array][:count].float()) for array in extractor.widths}


def _launch_copy(rows: Tensor) -> Tensor:
    """Return rows on the host; from a GPU they are copied to pinned memory when its stream comes to the copy."""
    if rows.device.type == "cpu":
        return rows
    return torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True).copy_(rows, non_blocking=True)


def _refuse_non_finite(values: np.ndarray, numbers: range, extractor: FeatureExtractor, images: Images) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise UserError(
            f"{images.name(numbers[bad[0]])}: its features by {extractor.name} are not finite "
            f"({len(bad)} of {len(numbers)} images); the extractor's weights are broken, make or fetch them again"
        )
