"""CPU threads: how many a process may use, and how they wait. Both must be set before torch is imported."""

import os
import re
from pathlib import Path

MOST_THREADS = 1024
_NUMBER = re.compile(r"0*[1-9][0-9]{0,8}")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: "200000 100000" is two CPUs, "max 100000" all


def available_threads() -> int:
    """Return how many threads this process may use: OMP_NUM_THREADS if set, else the CPUs that it may run on.

    CPUs that an affinity mask (taskset, SLURM) or the quota of a container withholds are not counted.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if _NUMBER.fullmatch(asked):
        return min(int(asked), MOST_THREADS)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota() or allowed))


def _quota() -> int | None:
    """Return the whole CPUs that the quota of a container allows; None without a quota."""
    try:
        most, period = _QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):  # no cgroups of version 2
        return None
    return None if most == "max" else max(1, int(most) // int(period))


def wait_without_spinning() -> None:
    """Let waiting OpenMP threads sleep, unless the environment says otherwise.

    By default they spin. If other programs use the CPUs, threads that spin keep those that compute from running, and a
    step takes tens of times as long (`python -m benchmarks starting`).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
