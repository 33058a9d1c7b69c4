"""The launcher reports a killed or failed rank in one line, leaves no process, and passes the exit code on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dmgan.runtime import launch
from tests.paths import ROOT


def start(end: str, folder: Path) -> subprocess.Popen:
    """Start two ranks of tests/runtime/ranks.py."""
    command = [sys.executable, "-m", "dmgan.runtime.launch", "--nproc-per-node", "2", "--module", "tests.runtime.ranks"]
    return subprocess.Popen([*command, "--", end, str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def no_rank_is_alive(folder: Path) -> bool:
    return not any(Path("/proc", (folder / f"rank{rank}").read_text()).exists() for rank in range(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    "end, code, line",
    [
        ("finish", 0, ""),
        ("kill", 137, "tests.runtime.ranks kill: rank 1 was killed by SIGKILL; run the same command to resume\n"),
        ("3", 3, "tests.runtime.ranks 3: rank 1 ended with exit code 3; its own message is above\n"),
    ],
)
def test_a_rank_that_ends_is_one_line(end, code, line, tmp_path):
    job = start(end, tmp_path)
    _, messages = job.communicate(timeout=120)
    assert (job.returncode, messages) == (code, line)
    assert no_rank_is_alive(tmp_path)


@pytest.mark.slow
def test_an_interrupted_launcher_ends_its_ranks(tmp_path):
    job = start("wait", tmp_path)
    end = time.monotonic() + 120
    while not all((tmp_path / f"rank{rank}").exists() for rank in range(2)):
        assert time.monotonic() < end and job.poll() is None
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    _, messages = job.communicate(timeout=60)
    assert (job.returncode, messages) == (128 + signal.SIGTERM, "")
    assert no_rank_is_alive(tmp_path)


@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_odd_numbers_of_processes_are_refused(number, capsys):
    with pytest.raises(SystemExit):
        launch.main(["--nproc-per-node", number, "--", "train"])
    assert "argument --nproc-per-node" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="the name of the loopback interface is Linux's")
@pytest.mark.parametrize("chosen, expected", [({}, "lo"), ({"GLOO_SOCKET_IFNAME": "eth1"}, "eth1")])
def test_ranks_exchange_gradients_over_loopback(chosen, expected, monkeypatch):
    seen = {}
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_SOCKET_IFNAME")}
    monkeypatch.setattr(os, "environ", inherited | chosen)
    monkeypatch.setattr(launch.torchrun, "run", lambda arguments: seen.update(os.environ))
    launch.main(["--nproc-per-node", "2", "--", "train"])
    assert (seen["GLOO_SOCKET_IFNAME"], seen["NCCL_SOCKET_IFNAME"]) == (expected, "lo")
