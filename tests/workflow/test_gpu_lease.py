"""The GPU lease: a GPU belongs to one command at a time."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.project import run

LEASE = [sys.executable, ROOT / "workflow" / "gpu_lease.py"]
HOLDER = """
import os, sys, time
from pathlib import Path
for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(","):
    note = Path(sys.argv[1], gpu)
    note.touch(exist_ok=False)
    time.sleep(0.2)
    note.unlink()
    print(gpu)
"""


def without(*names) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in (*names, "SLURM_JOB_ID")}


def start_lease(count, command, folder, **environment):
    settings = without("CUDA_VISIBLE_DEVICES") | {"DMGAN_GPU_LOCKS": str(folder)} | environment
    words = [*LEASE, "--gpus", count, "--", *command]
    return subprocess.Popen([str(word) for word in words], env=settings, stdout=subprocess.PIPE, text=True)


def test_lease_gives_a_gpu_to_one_command_at_a_time(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    holder = [sys.executable, "-c", HOLDER, notes]
    counts = [1, 1, 2, 1, 1, 2, 1, 1]
    jobs = [start_lease(count, holder, tmp_path / "locks", DMGAN_GPU_IDS="0,7") for count in counts]
    printed = [job.communicate(timeout=120)[0].split() for job in jobs]
    assert all(job.returncode == 0 for job in jobs)  # a shared GPU would make touch() fail
    assert [len(gpus) for gpus in printed] == counts
    assert {gpu for gpus in printed for gpu in gpus} == {"0", "7"}


def test_lease_ends_with_a_killed_command(tmp_path):
    sleeper = start_lease(1, ["sleep", "600"], tmp_path, DMGAN_GPU_IDS="0")
    lock = tmp_path / "gpu-0.lock"
    while not (lock.exists() and is_locked(lock)):
        time.sleep(0.05)
    sleeper.kill()
    sleeper.communicate()
    follower = start_lease(1, [sys.executable, "-c", "print('mine')"], tmp_path, DMGAN_GPU_IDS="0")
    assert follower.communicate(timeout=60)[0] == "mine\n"


def is_locked(path: Path) -> bool:
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


SHOW = [sys.executable, "-c", "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'unset'))"]


@pytest.mark.parametrize(
    "count, environment, seen",
    [
        (1, {"DMGAN_GPU_IDS": ""}, ""),  # no GPU: the CPU
        (0, {"DMGAN_GPU_IDS": "0,1"}, ""),
        (2, {"DMGAN_GPU_IDS": "3, 4"}, "3,4"),
        (1, {"CUDA_VISIBLE_DEVICES": "5"}, "5"),
        (1, {"CUDA_VISIBLE_DEVICES": "-1"}, ""),
        (1, {"CUDA_VISIBLE_DEVICES": "2", "SLURM_JOB_ID": "9"}, "2"),  # SLURM has assigned it
    ],
)
def test_lease_names_the_gpus(count, environment, seen, tmp_path):
    job = start_lease(count, SHOW, tmp_path, **environment)
    assert job.communicate(timeout=60)[0].strip() == seen


def test_lease_refuses_more_gpus_than_there_are(tmp_path):
    words = [*LEASE, "--gpus", 3, "--", "true"]
    refused = run(*words, DMGAN_GPU_IDS="0,1", DMGAN_GPU_LOCKS=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr == "gpu_lease: 3 GPUs requested, 2 available (0, 1); request fewer\n"


def test_lease_refuses_more_processes_than_gpus(tmp_path):
    command = ["torchrun", "--standalone", "--nproc-per-node", 4, "-m", "dmgan", "train"]
    refused = run(*LEASE, "--gpus", 1, "--", *command, DMGAN_GPU_IDS="0,1", DMGAN_GPU_LOCKS=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr == "gpu_lease: --gpus 1 is too few for 4 processes; give Snakemake --resources gpu=4\n"
    assert list(tmp_path.iterdir()) == []
