"""Training batches read ahead by threads, so that a device never waits for them."""

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from dmgan.data.batches import Batch, TrainingBatches

WORKERS = 2
# A GPU takes up to 50 batches a second, and the file that pixels are mapped from may exceed the memory (COCO's: 47 GB):
# 64 batches bridge a second in which the disk stalls. Large batches are fewer, for all of them wait in memory.
AHEAD = 64
AHEAD_BYTES = 256 << 20


def batches_ahead(batches: TrainingBatches) -> int:
    """How many batches are read ahead: AHEAD, or what AHEAD_BYTES hold of their uint8 pixels; one a worker at least."""
    rows = len(range(batches.batch_size)[batches.part])
    pixels = rows * 3 * sum(side * side for side in batches.sizes)  # bytes of a batch
    return max(WORKERS, min(AHEAD, AHEAD_BYTES // pixels))


class PrefetchedBatches:
    """`batches[step]` for growing steps, on `device`, the steps behind it being read meanwhile.

    `ahead`: how many, else `batches_ahead`. A batch is a pure function of (seed, step), so neither threads, nor how
    far ahead they read, nor where a run was interrupted changes a bit; any step may be asked for, at the price of
    waiting. Threads suffice: copying, mirroring and resizing leave Python's lock. What reading raises is raised by
    `batches[step]`.
    """

    def __init__(
        self, batches: TrainingBatches, device: torch.device, workers: int = WORKERS, ahead: int | None = None
    ):
        self.batches, self.device, self.steps_per_epoch = batches, device, batches.steps_per_epoch
        self._ahead = batches_ahead(batches) if ahead is None else ahead
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        self._waiting: dict[int, Future] = {}

    def __enter__(self) -> "PrefetchedBatches":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __getitem__(self, step: int) -> Batch:
        return self.read(step).to(self.device)

    def read(self, step: int) -> Batch:
        """The same as it was read: uint8, in host memory."""
        wanted = range(step, step + 1 + self._ahead)
        for passed in [each for each in self._waiting if each not in wanted]:
            self._waiting.pop(passed).cancel()
        for each in wanted:
            if each not in self._waiting:
                self._waiting[each] = self._pool.submit(self._read, each)
        return self._waiting.pop(step).result()

    def _read(self, step: int) -> Batch:
        batch = self.batches.read(step)
        return batch.pinned() if self.device.type == "cuda" else batch
