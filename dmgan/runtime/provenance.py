"""Provenance of a result: commit, command line, package versions, machine, cost."""

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGES = (
    "torch", "torchvision", "numpy", "pillow", "nltk", "safetensors", "torch-fidelity", "clean-fid", "open-clip-torch",
    "timm",
)  # fmt: skip

_UNKNOWN, _CHANGED = "unknown", "+changes"


def commit() -> str:
    """Return the git commit of the code, with "+changes" if files differ from it; "unknown" outside a checkout."""
    folder = Path(__file__).parent
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + (_CHANGED if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return _UNKNOWN


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def provenance(cost: Mapping[str, object]) -> dict[str, object]:
    """Return commit, command line, versions, machine and cost, for every result; cost: by dmgan/runtime/cost.py.

    `dirty`: whether files differ from the commit; None outside a checkout.
    """
    code = commit()
    return {
        "commit": code,
        "dirty": None if code == _UNKNOWN else code.endswith(_CHANGED),
        "command": ["python", "-m", "dmgan", *sys.argv[1:]],
        "versions": versions(),
        "machine": {"system": platform.system(), "processor": platform.machine()},
        "cost": dict(cost),
    }
