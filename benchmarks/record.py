"""Results of benchmarks: results/NAME.json with figures, machine and command, and results/NAME.png."""

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.runtime.provenance import commit, versions
from dmgan.storage import files

RESULTS = Path(__file__).parent / "results"


class Figure(NamedTuple):
    """One measured number; with a bound also a claim that holds or does not hold."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the value is within its bounds; None without a bound."""
        if self.at_least is None and self.at_most is None:
            return None
        low = -float("inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= self.value <= high

    @property
    def bound(self) -> str:
        """The bound in words; empty without one."""
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


class Result(NamedTuple):
    """Result of a benchmark, as stored in JSON."""

    name: str
    title: str
    figures: list[Figure]
    machine: dict[str, object]
    date: str  # UTC, ISO 8601
    command: str
    commit: str
    versions: dict[str, str]
    details: dict[str, object]  # data of the benchmark from which the figures were computed


def machine(device: str = "cpu") -> dict[str, object]:
    """Return a description of the machine; `load` shows whether other programs ran at the start."""
    described = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(terse=True),
        "load": [round(load, 2) for load in os.getloadavg()],
        "device": device,
    }
    if device.startswith("cuda"):
        import torch

        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def write(
    name: str,
    title: str,
    figures: list[Figure],
    described: dict[str, object],
    details: dict[str, object],
    file: str | None = None,
) -> Result:
    """Write results/NAME.json and log the figures; `described`: result of `machine` before the first measurement.

    `file`: name of the JSON file, if it differs from the benchmark's, such as for a run on another device.
    """
    command = " ".join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]])
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    result = Result(name, title, figures, described, date, command, commit(), versions(), details)
    content = result._asdict() | {"figures": [figure._asdict() for figure in figures]}
    files.write_json(RESULTS / f"{file or name}.json", content)
    for figure in figures:
        bound = {None: "", True: f" ({figure.bound}: holds)", False: f" ({figure.bound}: DOES NOT HOLD)"}
        print(f"{figure.name}: {figure.value:.4g} {figure.unit}{bound[figure.holds]}", flush=True)
    return result


def read(path: Path) -> Result:
    """Read results/NAME.json; raise UserError if the file was not written by `write`."""
    hint = f"run it again: python -m benchmarks.{path.stem}"
    content = files.read_json(path, hint)
    try:
        figures = [Figure(**figure) for figure in content["figures"]]
        return Result(**content | {"figures": figures})
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: is not a benchmark's result ({error}); {hint}") from error
