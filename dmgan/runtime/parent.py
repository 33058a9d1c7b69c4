"""Worker processes that end with their parent. This module does not import torch, so that workers start fast."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1  # sys/prctl.h


def end_with_parent() -> None:
    """End this process when its parent ends, even if the parent is killed.

    Without this call, a worker of a killed parent would keep its locks and wait for work forever. In a multiprocessing
    worker, a thread watches the parent, for every start method. A process that torchrun started asks the kernel
    for a signal instead, which also ends a process that waits inside NCCL; Linux only.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    elif sys.platform.startswith("linux"):
        started_by = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != started_by:  # the parent ended before the call of prctl
            os.kill(os.getpid(), signal.SIGKILL)
