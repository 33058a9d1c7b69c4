"""Copies of sampled images from the device to the host."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

Pixels = dict[str, np.ndarray]  # {file-name suffix: (B, s, s, 3) uint8}


def copied_to_host(
    batches: Iterable[tuple[Sequence[int], Mapping[str, Tensor]]], device: torch.device
) -> Iterator[tuple[Sequence[int], Pixels]]:
    """Yield batches of (image numbers, pixels by suffix) with pixels on the host, in the same order.

    On a GPU a batch is yielded when the next batch is launched, so that the GPU generates while the host waits for the
    copy and writes the files.
    """
    start, behind = (_start_on_gpu(device), 1) if device.type == "cuda" else (_start_on_cpu, 0)
    copies: deque[tuple[Sequence[int], Callable[[], Pixels]]] = deque()
    for numbers, pixels in batches:
        copies.append((numbers, start(pixels)))
        if len(copies) > behind:
            numbers, finish = copies.popleft()
            yield numbers, finish()
    for numbers, finish in copies:
        yield numbers, finish()


def _start_on_cpu(pixels: Mapping[str, Tensor]) -> Callable[[], Pixels]:
    return lambda: {suffix: each.numpy() for suffix, each in pixels.items()}


def _start_on_gpu(device: torch.device) -> Callable[[Mapping[str, Tensor]], Callable[[], Pixels]]:
    """Return a function that starts to copy pixels to pinned memory on a side stream, and returns the end of the copy.

    torch keeps freed pinned memory, so that a new copy reuses the memory of a copy that was written.
    """
    side = torch.cuda.Stream(device)

    def start(pixels: Mapping[str, Tensor]) -> Callable[[], Pixels]:
        side.wait_stream(torch.cuda.current_stream(device))
        done = torch.cuda.Event()
        with torch.cuda.stream(side):
            copies = {}
            for suffix, each in pixels.items():
                each.record_stream(side)  # or the next batch would reuse the memory before it is copied
                copies[suffix] = torch.empty(each.shape, dtype=each.dtype, pin_memory=True)
                copies[suffix].copy_(each, non_blocking=True)
            done.record(side)

        def finish() -> Pixels:
            done.synchronize()
            return {suffix: each.numpy() for suffix, each in copies.items()}

        return finish

    return start
