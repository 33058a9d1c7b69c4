"""Measurements in fresh processes, so that memory state left by a setting does not influence the next setting."""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.time_limit import time_limit
from dmgan.errors import UserError


def report(measured: Mapping[str, object]) -> None:
    """Pass `measured`, numbers by name, from the fresh process to `measure` in the calling process."""
    print(json.dumps(dict(measured)), flush=True)


def peak_mb() -> float:
    """Return the peak memory of this process since its start, MB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, object]:
    """Run `python -m module arguments` and return what it passed to `report`; raise UserError if it fails."""
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, env=os.environ | dict(environment or {}), capture_output=True, text=True)
    if ended.returncode:
        raise UserError(f"{' '.join(command[1:])}: ended with status {ended.returncode}\n{ended.stderr.strip()}")
    return json.loads(ended.stdout.splitlines()[-1])


def interleaved(
    module: str,
    settings: Mapping[str, Sequence[str]],
    rounds: int,
    environments: Mapping[str, Mapping[str, str]] | None = None,
    seconds: float = 0,
) -> dict[str, list[dict[str, object]]]:
    """Measure every setting once per round, so that slow periods of the machine affect all settings equally.

    seconds: time limit, 0 for none. If it or SIGTERM cuts the measurements short, settings without a measurement are
    left out.
    """
    measured = {name: [] for name in settings}
    with time_limit(seconds):
        for number in range(rounds):
            for name, arguments in settings.items():
                measured[name].append(measure(module, arguments, (environments or {}).get(name)))
                print(f"round {number + 1}/{rounds}  {name}: {line(measured[name][-1])}", file=sys.stderr, flush=True)
    return {name: runs for name, runs in measured.items() if runs}


def median(runs: Sequence[Mapping[str, object]], key: str) -> float:
    """Return the median over rounds of a measured number."""
    return statistics.median(run[key] for run in runs)


def ratio(fast: Sequence[Mapping[str, object]], slow: Sequence[Mapping[str, object]], key: str) -> float:
    """Return the median over the rounds of both of the quotient fast / slow of the same round."""
    return statistics.median(one[key] / other[key] for one, other in zip(fast, slow))


def line(run: Mapping[str, object]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in run.items() if isinstance(value, int | float))
