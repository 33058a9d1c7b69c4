"""Blocks of images, read and prepared by this process or by worker processes, for the networks of an evaluation."""

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dmgan.errors import UserError
from dmgan.evaluation.image_sets import ImageFiles, Images
from dmgan.runtime.parent import end_with_parent
from dmgan.runtime.progress import log

Prepare = Callable[[np.ndarray], np.ndarray] | None
FORWARD = 32  # fixed batch size of a forward pass: a convolution's rounding depends on its batch size
CHUNK = 8 * FORWARD  # images per chunk; rows are written to the disk after every chunk
_SHARED_MEMORY = Path("/dev/shm")
_BLOCKS_PER_WORKER = 3  # two wait for the main process, one is being made


class Request(NamedTuple):
    """Images to read as one block."""

    passes: tuple[range, ...]  # image numbers of each forward pass
    prepares: tuple[Prepare, ...]  # transforms of an image; None: no transform

    def first_image(self) -> "Request":
        """Return the request of the first image alone."""
        return self._replace(passes=(self.passes[0][:1],))


class OneSize(NamedTuple):
    """Transformed images of equal size, of one forward pass."""

    positions: list[int]  # in the pass
    images: Tensor  # (n, h, w, 3)


class Block(NamedTuple):
    """The images of a request; pinned if they go to a GPU."""

    sha256: list[bytes]  # of the pixels of each image
    prepared: Sequence[Sequence[Sequence[OneSize]]]  # by forward pass, transform and size


class Loading(Dataset):
    """Dataset of blocks; can be pickled, so that every start method of workers works."""

    def __init__(self, images: Images):
        self.images = images

    def __len__(self) -> int:
        raise TypeError("the length is unknown; read this dataset through a sampler")

    def __getitem__(self, request: Request) -> Block | UserError:
        """Return an error instead of raising it: a worker's exception would reach the user with its traceback."""
        sha256, prepared = [], []
        for numbers in request.passes:
            images = [[] for _ in request.prepares]
            for number in numbers:
                try:
                    pixels = np.ascontiguousarray(self.images(number))
                except UserError as error:
                    return error
                sha256.append(_digest(pixels))
                for each, prepare in zip(images, request.prepares, strict=True):
                    each.append(pixels if prepare is None else np.asarray(prepare(pixels)))
            prepared.append([_by_size(each) for each in images])
        return Block(sha256, prepared)


def _digest(pixels: np.ndarray) -> bytes:
    """Return the SHA-256 of shape, type and pixels of an image."""
    header = f"{pixels.shape} {pixels.dtype}".encode()
    return hashlib.sha256(header + pixels.tobytes()).digest()


def combined_sha256(chunks: Iterable[str]) -> str:
    """Return the SHA-256 of an image set from those of its chunks."""
    return hashlib.sha256("".join(chunks).encode()).hexdigest()


def pixels_sha256(images: ImageFiles) -> str:
    """Return the SHA-256 of an image set's pixels, as evaluations record it; UserError if an image is unreadable."""
    numbers = range(len(images.paths))
    chunks = (numbers[first : first + CHUNK] for first in numbers[::CHUNK])
    return combined_sha256(
        hashlib.sha256(b"".join(_digest(images(number)) for number in chunk)).hexdigest() for chunk in chunks
    )


def _by_size(images: Sequence[np.ndarray]) -> list[OneSize]:
    """Stack images (h, w, 3), one stack per size."""
    positions: dict[tuple[int, ...], list[int]] = {}
    for position, image in enumerate(images):
        positions.setdefault(image.shape, []).append(position)
    return [OneSize(each, torch.from_numpy(np.stack([images[i] for i in each]))) for each in positions.values()]


def read_blocks(images: Images, requests: Sequence[Request], device: torch.device, workers: int) -> Iterator[Block]:
    """Yield the blocks of all requests in order; UserError if an image cannot be read.

    workers: processes that read, prepare and stack images; they pass the blocks through shared memory. 0: this process.
    """
    loading = Loading(images)
    if workers and requests:
        largest = max(requests, key=lambda request: len(request.prepares))
        workers = _fitting_workers(loading, largest, workers)
    loader = DataLoader(
        loading, batch_size=None, sampler=requests, collate_fn=_unchanged, num_workers=workers,
        pin_memory=device.type == "cuda", worker_init_fn=_begin_worker,
    )  # fmt: skip
    blocks = _started(loader)
    try:
        while True:
            with _user_error_for_killed_worker():
                block = next(blocks, None)
            if block is None:
                return
            if isinstance(block, UserError):
                raise block
            yield block
    finally:
        del blocks  # ends the workers: a traceback that is kept would keep them, and the locks that they inherited


def _started(loader: DataLoader) -> Iterator[Block | UserError]:
    """Start the loader's worker processes and put SIGCHLD's handler back.

    torch's handler raises the error of a dead worker at whatever line the main thread is. Without it, the error is
    raised where the next block is awaited: torch checks its workers whenever none has come for five seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        return iter(loader)  # torch sets no handler
    handler = signal.getsignal(signal.SIGCHLD)
    with _user_error_for_killed_worker():
        try:
            return iter(loader)
        finally:
            signal.signal(signal.SIGCHLD, handler)


@contextmanager
def _user_error_for_killed_worker() -> Iterator[None]:
    """Raise UserError if a worker process was killed: torch says so, or the connection to the worker broke."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith(("DataLoader worker", "Pin memory thread")):
            raise
        raise UserError("--workers: a process that read images was killed; run again, or with fewer workers") from error


def _begin_worker(number: int) -> None:
    end_with_parent()


def _unchanged(block: Block | UserError) -> Block | UserError:
    return block


def _fitting_workers(loading: Loading, request: Request, workers: int) -> int:
    """Return as many workers as shared memory has room for, at most `workers`; full shared memory ends a process."""
    first = loading[request.first_image()]
    if isinstance(first, UserError):
        raise first
    of_image = sum(each.images.nbytes for sizes in first.prepared[0] for each in sizes)
    size = sum(map(len, request.passes)) * of_image
    if not size or not _SHARED_MEMORY.exists():
        return workers
    status = os.statvfs(_SHARED_MEMORY)
    fitting = min(workers, status.f_bavail * status.f_frsize // (_BLOCKS_PER_WORKER * size))
    if fitting < workers:
        log(
            f"{_SHARED_MEMORY}: has room for the images of {fitting} workers, not of {workers}; give a container more "
            "shared memory (docker run --shm-size)"
        )
    return fitting
