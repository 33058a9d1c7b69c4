"""One pass over an image set: what every network says of every image, in .npy files that a killed job goes on with.

A store is one folder per network: an array per output, and manifest.json with the network's identity (weights,
resize, library versions) and, chunk by chunk, the SHA-256 of the pixels the rows were made from and of the rows
themselves. Every evaluation reads every image and compares: rows of other images or of another network, and rows that
are not those that were written, are made anew, never read, and a missing or corrupt image is always found.
"""

import hashlib
import os
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dmgan.errors import UserError
from dmgan.evaluation.images import Images
from dmgan.evaluation.networks import FeatureNetwork
from dmgan.runtime.progress import Progress, log
from dmgan.storage import files
from dmgan.storage.npy import NpyWriter

FORMAT = 2
FORWARD = 32  # images per forward pass, always: a convolution's rounding depends on the size of its batch
CHUNK = 8 * FORWARD  # images after which the rows are on the disk
MANIFEST = "manifest.json"
_STORE = files.OwnFiles("evaluation", (MANIFEST,), r"manifest\.json|\w+\.npy|\.\w+\.copy")

Prepare = Callable[[np.ndarray], np.ndarray] | None


class _OpenArray:
    """A .npy file (N, D) that is held open: its rows stay the same when another job puts a new file in its place."""

    def __init__(self, path: Path):
        self.path = path
        with open(path, "rb") as file:
            npy.read_magic(file)
            self.shape, _, self.dtype = npy.read_array_header_1_0(file)
            self._start = file.tell()
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, first: int, rows: np.ndarray) -> None:
        """Fill `rows` (n, D) from row `first` on."""
        place = self._start + first * self.dtype.itemsize * self.shape[1]
        if os.preadv(self._descriptor, [rows], place) != rows.nbytes:
            raise UserError(f"{self.path}: is shorter than its header says; delete its folder")


class Rows:
    """float32 rows (N, D) in memory or in a .npy file, of which only what is asked for is read.

    Files are read, not mapped: a mapped file's pages count as the process's memory.
    """

    def __init__(self, source: "np.ndarray | Path | _OpenArray", numbers: np.ndarray | None = None):
        """`numbers`: which rows of the source these are (default: all, in order)."""
        self._source = _OpenArray(source) if isinstance(source, Path) else source
        self.width = self._source.shape[1]
        self._numbers = np.arange(self._source.shape[0]) if numbers is None else np.asarray(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def subset(self, positions: np.ndarray) -> "Rows":
        """Some of these rows, in the order given."""
        return Rows(self._source, self._numbers[positions])

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Rows (n, D) at some positions, in the order given."""
        numbers = self._numbers[positions]
        if isinstance(self._source, np.ndarray):
            return self._source[numbers]
        rows = np.empty((len(numbers), self.width), dtype=self._source.dtype)
        # Neighbouring rows in one read.
        starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
        for start, stop in zip(starts, [*starts[1:], len(numbers)], strict=True):
            self._source.read(int(numbers[start]), rows[start:stop])
        return rows

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """All rows, `size` at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))

    def all(self) -> np.ndarray:
        """Every row; for arrays that are known to be small, such as codes."""
        return self.take(np.arange(len(self)))


class StoredFeatures(NamedTuple):
    """What one network says of an image set."""

    arrays: dict[str, Rows]
    protocol: dict[str, object]
    images_sha256: str  # of the pixels, image after image

    def __getitem__(self, array: str) -> Rows:
        return self.arrays[array]


class _Done(NamedTuple):
    """What the manifest says of a chunk whose rows are on the disk."""

    images: str  # SHA-256 of the pixels that the rows were made from
    rows: str  # SHA-256 of the rows, array after array


def _rows_sha256(rows: Iterable[np.ndarray]) -> str:
    sha256 = hashlib.sha256()
    for values in rows:
        sha256.update(np.ascontiguousarray(values))
    return sha256.hexdigest()


class _Store:
    """The folder of one network's rows of one image set."""

    def __init__(self, folder: Path, network: FeatureNetwork, count: int, device: torch.device):
        self.folder, self.network, self.count = folder, network, count
        self._head = {"format": FORMAT, "count": count, "chunk": CHUNK, "device": device.type}
        self._head |= {"identity": network.identity()}
        self.done: list[_Done | None] = [None] * -(-count // CHUNK)
        self._others_may_read = False  # files that were whole when this job came

    def path(self, array: str) -> Path:
        return self.folder / f"{array}.npy"

    def open(self) -> None:
        """Go on with what is there if it is of this network and count; otherwise begin anew, and say so.

        A chunk whose rows are not those that were written counts as missing.
        """
        if (self.folder / MANIFEST).exists():
            found = files.read_json(self.folder / MANIFEST, f"delete {self.folder}")
            done = found.pop("done", None)
            if found == self._head and all(self._whole(array) for array in self.network.widths):
                self.done = [None if each is None else _Done(**each) for each in done]
                self._others_may_read = None not in self.done
                self._leave_out_changed()
                return
            changed = [key for key in self._head if found.get(key) != self._head[key]] or ["files"]
            log(f"{self.folder}: holds features of other {' and '.join(changed)}; making them anew")
        files.refuse_overwrite(self.folder, _STORE)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in files.files_below(self.folder):
            if name != MANIFEST:  # by which a later start knows the folder, if this one is killed
                (self.folder / name).unlink()
        self._mark()
        for array, width in self.network.widths.items():
            NpyWriter(self.path(array), (self.count, width), np.float32).close()

    def _whole(self, array: str) -> bool:
        """Whether an array's file is there with its shape and length."""
        try:
            mapped = np.load(self.path(array), mmap_mode="r")
        except (OSError, ValueError):
            return False
        return mapped.shape == (self.count, self.network.widths[array]) and mapped.dtype == np.float32

    def _leave_out_changed(self) -> None:
        """Check the rows of every finished chunk: the disk may be bad, or a job was killed while it replaced them."""
        arrays = [Rows(self.path(array)) for array in self.network.widths]
        for chunk, done in enumerate(self.done):
            numbers = np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, self.count))
            if done is not None and _rows_sha256(each.take(numbers) for each in arrays) != done.rows:
                log(f"{self.folder}: features of images {numbers[0]} to {numbers[-1]} are damaged; making them anew")
                self.done[chunk] = None

    def write(self, chunk: int, rows: dict[str, np.ndarray], images_sha256: str) -> None:
        """Rows of one chunk to the disk, and only then its mark in the manifest."""
        if self._others_may_read:
            self._leave_files_to_readers()
        for array, values in rows.items():
            with open(self.path(array), "r+b") as file:
                npy.read_magic(file)
                npy.read_array_header_1_0(file)
                file.seek(file.tell() + chunk * CHUNK * values.itemsize * values.shape[1])
                file.write(np.ascontiguousarray(values))
                file.flush()
                os.fsync(file.fileno())
        self.done[chunk] = _Done(images_sha256, _rows_sha256(rows[array] for array in self.network.widths))
        self._mark()

    def _mark(self) -> None:
        """Say in the manifest which chunks are on the disk."""
        done = [None if each is None else each._asdict() for each in self.done]
        files.write_json(self.folder / MANIFEST, {**self._head, "done": done})

    def _leave_files_to_readers(self) -> None:
        """Go on in copies: an evaluation that reads these rows keeps the files that it has open."""
        for array in self.network.widths:
            copy = self.folder / f".{array}.copy"
            shutil.copyfile(self.path(array), copy)
            os.replace(copy, self.path(array))
        self._others_may_read = False

    def features(self) -> StoredFeatures:
        """What is stored, once it is whole."""
        arrays = {array: Rows(self.path(array)) for array in self.network.widths}
        whole = hashlib.sha256("".join(each.images for each in self.done).encode()).hexdigest()
        return StoredFeatures(arrays, self.network.protocol, whole)


class _Loaded(NamedTuple):
    """One image: the hash of its pixels, and its prepared forms in the order they were asked for."""

    sha256: bytes
    prepared: tuple[np.ndarray, ...]


class _Loading(Dataset):
    """Reads and prepares images, in this process or in workers; pickles, so that every start method works."""

    def __init__(self, images: Images, wanted: Sequence[tuple[Prepare, ...]]):
        self._images, self._wanted = images, wanted  # what is wanted of each chunk's images

    def __len__(self) -> int:
        raise TypeError("is read through a sampler")

    def __getitem__(self, number: int) -> _Loaded | UserError:
        """An error is returned, not raised: a worker's would reach the user with its traceback."""
        try:
            pixels = np.ascontiguousarray(self._images(number))
        except UserError as error:
            return error
        header = f"{pixels.shape} {pixels.dtype}".encode()
        sha256 = hashlib.sha256(header + pixels.tobytes()).digest()
        prepared = tuple(
            pixels if prepare is None else np.asarray(prepare(pixels)) for prepare in self._wanted[number // CHUNK]
        )
        return _Loaded(sha256, prepared)


def _loaded(images: Images, numbers: range, wanted, batch_size: int, workers: int) -> Iterator[_Loaded]:
    """The images in order, read `batch_size` at a time by this process or by workers."""
    loader = DataLoader(_Loading(images, wanted), batch_size, sampler=numbers, collate_fn=list, num_workers=workers)
    for batch in loader:
        for each in batch:
            if isinstance(each, UserError):
                raise each
            yield each


def extract(
    images: Images,
    count: int,
    networks: Sequence[FeatureNetwork],
    folder: Path,
    device: torch.device,
    batch_size: int = 64,
    workers: int = 0,
) -> dict[str, StoredFeatures]:
    """Features of images 0 ... count - 1 under `folder`, by the network's name; a killed call goes on in its chunk.

    They stay what they are while another call fills the folder with others.
    The values depend on neither batch_size nor workers. UserError naming the image for one that cannot be read or
    whose features are not finite, and where batch_size or workers make no sense.
    """
    if batch_size < 1 or workers < 0:
        raise UserError(f"--batch-size {batch_size}, --workers {workers}: must be 1 or more, and 0 or more")
    folder = Path(folder)
    with files.locked(folder):
        stores = [_Store(folder / network.name, network, count, device) for network in networks]
        for store in stores:
            store.open()
        _fill(stores, images, count, device, batch_size, workers)
        return {store.network.name: store.features() for store in stores}


def _fill(stores: Sequence[_Store], images: Images, count: int, device, batch_size: int, workers: int) -> None:
    """Read every image once; compute what is missing, and what was made from other pixels."""
    chunks = -(-count // CHUNK)
    missing = [[store for store in stores if store.done[chunk] is None] for chunk in range(chunks)]
    wanted = [_prepares(each) for each in missing]
    loaded = _loaded(images, range(count), wanted, batch_size, workers)
    progress = Progress(count, "images")
    for chunk in range(chunks):
        numbers = range(chunk * CHUNK, min((chunk + 1) * CHUNK, count))
        sha256, rows = _chunk_rows(loaded, numbers, missing[chunk], wanted[chunk], images, device)
        for store in missing[chunk]:
            store.write(chunk, rows[store.network.name], sha256)
        stale = [store for store in stores if store.done[chunk].images != sha256]
        if stale:
            log(f"{stale[0].folder.parent}: images {numbers[0]} to {numbers[-1]} have changed; their features anew")
            again = [()] * chunk + [_prepares(stale)]
            reread = _loaded(images, numbers, again, batch_size, workers)
            sha256, rows = _chunk_rows(reread, numbers, stale, again[chunk], images, device)
            for store in stale:
                store.write(chunk, rows[store.network.name], sha256)
        progress.step(len(numbers))
    progress.close()


def _prepares(stores: Sequence[_Store]) -> tuple[Prepare, ...]:
    """The prepared forms that some networks read, each once."""
    return tuple(dict.fromkeys(store.network.prepare for store in stores))


def _chunk_rows(
    loaded: Iterator[_Loaded],
    numbers: range,
    stores: Sequence[_Store],
    wanted: tuple[Prepare, ...],
    images: Images,
    device: torch.device,
) -> tuple[str, dict[str, dict[str, np.ndarray]]]:
    """SHA-256 of the pixels of one chunk, and each network's rows of it."""
    sha256 = hashlib.sha256()
    parts = {store.network.name: {array: [] for array in store.network.widths} for store in stores}
    for start in range(0, len(numbers), FORWARD):
        block = numbers[start : start + FORWARD]
        items = [next(loaded) for _ in block]
        for item in items:
            sha256.update(item.sha256)
        for position, prepare in enumerate(wanted):
            batch = torch.from_numpy(np.stack([item.prepared[position] for item in items])).to(device)
            for store in stores:
                if store.network.prepare is prepare:
                    for array, values in _forward(store.network, batch).items():
                        _refuse_non_finite(values, block, store.network, images)
                        parts[store.network.name][array].append(values)
    rows = {name: {array: np.concatenate(each) for array, each in arrays.items()} for name, arrays in parts.items()}
    return sha256.hexdigest(), rows


@torch.inference_mode()
def _forward(network: FeatureNetwork, batch: Tensor) -> dict[str, np.ndarray]:
    """One forward pass, the last batch of a set filled up to FORWARD images; float32 in earnest on a GPU too."""
    count = len(batch)
    if count < FORWARD:
        batch = torch.cat([batch, batch[-1:].expand(FORWARD - count, -1, -1, -1)])
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        arrays = network.forward(batch)
    return {array: arrays[array][:count].float().cpu().numpy() for array in network.widths}


def _refuse_non_finite(values: np.ndarray, numbers: range, network: FeatureNetwork, images: Images) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise UserError(
            f"{images.name(numbers[bad[0]])}: its features by {network.name} are not finite "
            f"({len(bad)} of {len(numbers)} images so); the network's weights are broken, make or fetch them again"
        )
