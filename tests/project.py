"""Commands of the project, and a copy of it for tests that change its files or write results."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT


def run(*command, folder: Path = ROOT, **environment) -> subprocess.CompletedProcess:
    """Run a command in `folder` with this Python's programs first on PATH, and return its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PATH": path, "COLUMNS": "200"}
    command = [str(word) for word in command]
    return subprocess.run(
        command, cwd=folder, env=os.environ | settings | environment, capture_output=True, text=True, timeout=1800
    )


def copy_of_project(folder: Path) -> Path:
    """Copy the files that a run needs, without results, and return `folder`."""
    for name in ("workflow", "dmgan", "baselines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "environment.yml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder
