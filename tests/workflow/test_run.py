"""workflow/run.py: one run at a time in a folder, whatever an earlier run left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.project import run

pytestmark = pytest.mark.slow

RUNNER = ["python", ROOT / "workflow" / "run.py", "--cores", "1", "--snakefile"]
SLOW = """
rule all:
    input:
        "done",


rule slow:
    output:
        "done",
    shell:
        "touch started; sleep 3; echo $PPID > {output}"
"""


def wait_for(path: Path, seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.05)):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def start_slow(folder: Path, *command) -> subprocess.Popen:
    """A run that is at work on its only job when this returns."""
    (folder / "slow.smk").write_text(SLOW, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = [str(word) for word in (*command, "slow.smk")]
    process = subprocess.Popen(words, cwd=folder, env=os.environ | {"PATH": path}, stderr=subprocess.DEVNULL)
    wait_for(folder / "started")
    return process


def test_second_run_at_the_same_time_is_refused(tmp_path):
    first = start_slow(tmp_path, *RUNNER)
    second = run(*RUNNER, "slow.smk", folder=tmp_path)
    assert second.returncode == 1
    assert second.stderr == "run: another run is active in this folder; wait until it ends, or stop it first\n"
    assert first.wait(timeout=60) == 0


def test_snakemake_started_by_hand_keeps_its_lock(tmp_path):
    first = start_slow(tmp_path, "snakemake", "--cores", "1", "--snakefile")
    second = run(*RUNNER, "slow.smk", folder=tmp_path)
    assert second.returncode == 1
    assert second.stderr == (
        f"run: another run is active in this folder (process {first.pid}); wait until it ends, or stop it first\n"
    )
    assert first.wait(timeout=60) == 0


def test_run_goes_on_after_a_killed_run(tmp_path):
    killed = start_slow(tmp_path, *RUNNER)
    killed.kill()
    killed.wait()
    assert any((tmp_path / ".snakemake" / "locks").iterdir())
    again = run(*RUNNER, "slow.smk", "--rerun-incomplete", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "done").read_text(encoding="utf-8").strip()
