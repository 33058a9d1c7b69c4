"""Training batches prefetched by threads, so that the device does not wait for them."""

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from dmgan.data.batches import Batch, TrainingBatches

WORKERS = 2
# A GPU takes up to 50 batches a second, and the memory-mapped pixels may exceed the RAM (COCO's: 47 GB): 64 prefetched
# batches are enough if the disk stalls for a second. AHEAD_BYTES bounds the RAM for large batches.
AHEAD = 64
AHEAD_BYTES = 256 << 20


def batches_ahead(batches: TrainingBatches) -> int:
    """Return the number of batches to prefetch: AHEAD, or fewer to stay within AHEAD_BYTES, but one per worker."""
    rows = len(range(batches.batch_size)[batches.part])
    pixels = rows * 3 * sum(side * side for side in batches.sizes)  # bytes of a batch
    pixels *= 1 if batches.rules.wrong_images is None else 2
    return max(WORKERS, min(AHEAD, AHEAD_BYTES // pixels))


class PrefetchedBatches:
    """Batches by step, on `device`; threads read the batches of the following steps in the background.

    ahead: number of batches to prefetch; default `batches_ahead`. A batch is a pure function of (seed, step), so that
    threads, prefetching and interruptions do not change results. Threads suffice, because copying, mirroring and
    resizing release the GIL. `batches[step]` raises the exception of a reading thread.
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
        """Cancel queued batches and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __getitem__(self, step: int) -> Batch:
        return self.read(step).to(self.device)

    def read(self, step: int) -> Batch:
        """Return the batch of `step` with uint8 images in host memory."""
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
