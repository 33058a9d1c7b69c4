"""The GPU lease: a GPU belongs to one command at a time."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.project import run
from workflow import gpu_lease

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
    hidden = (*names, "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
    return {name: value for name, value in os.environ.items() if name not in hidden}


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
        (1, {"CUDA_VISIBLE_DEVICES": "4,-1,5"}, "4"),  # CUDA reads no further than -1
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


@pytest.mark.parametrize("launcher", [["torchrun", "--standalone"], ["python", "-m", "dmgan.runtime.launch"]])
def test_lease_refuses_more_processes_than_gpus(launcher, tmp_path):
    command = [*launcher, "--nproc-per-node", 4, "-m", "dmgan", "train"]
    refused = run(*LEASE, "--gpus", 1, "--", *command, DMGAN_GPU_IDS="0,1", DMGAN_GPU_LOCKS=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr == "gpu_lease: --gpus 1 is too few for 4 processes; give Snakemake --resources gpu=4\n"
    assert list(tmp_path.iterdir()) == []


def refused(tmp_path, *words, **environment) -> str:
    """Return the one line with which the lease refuses; `true` must not run."""
    ended = run(*LEASE, *words, "--", "true", DMGAN_GPU_LOCKS=str(tmp_path / "locks"), **environment)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    "gpus, ids, message",
    [
        (2, "0,0", "DMGAN_GPU_IDS: names GPU 0 twice"),
        (1, "0;1", "DMGAN_GPU_IDS: '0;1' is no id of a GPU"),
        (-1, "0", "--gpus -1: must be 0 or more"),
    ],
)
def test_odd_numbers_and_ids_are_refused_in_one_line(gpus, ids, message, tmp_path):
    assert message in refused(tmp_path, "--gpus", gpus, DMGAN_GPU_IDS=ids)


def test_ids_with_slashes_have_a_lock_of_their_own(tmp_path):
    ids = "MIG-GPU-6f5a/7/0,MIG-GPU-6f5a/8/0"
    job = start_lease(2, SHOW, tmp_path, DMGAN_GPU_IDS=ids)
    assert job.communicate(timeout=60)[0].strip() == ids
    assert len(list(tmp_path.glob("gpu-*.lock"))) == 2


def nvidia_smi(folder: Path, script: str) -> str:
    """Return a PATH on which nvidia-smi is a shell script."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    "script, seen",
    [("printf '0\\n1\\n'", "0"), ("echo 'No devices were found'; exit 6", ""), ("exit 0", "")],
    ids=["two", "none", "empty"],
)
def test_the_gpus_are_those_of_nvidia_smi(script, seen, tmp_path):
    job = start_lease(1, SHOW, tmp_path / "locks", PATH=nvidia_smi(tmp_path, script))
    assert job.communicate(timeout=60)[0].strip() == seen


def test_a_broken_nvidia_smi_is_no_machine_without_gpus(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    path = nvidia_smi(tmp_path, "echo 'Driver/library version mismatch'; exit 18")
    assert "nvidia-smi: failed (Driver/library version mismatch); name the GPUs by" in refused(
        tmp_path, "--gpus", 1, PATH=path
    )


def test_a_hanging_nvidia_smi_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(gpu_lease, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(SystemExit, match="nvidia-smi: gives no answer"):
        gpu_lease.available_gpus()


@pytest.mark.parametrize("kind", ["link", "writable by all"])
def test_a_lock_folder_that_others_can_change_is_refused(kind, tmp_path):
    folder, precious = tmp_path / "locks", tmp_path / "precious"
    precious.mkdir()
    if kind == "link":
        folder.symlink_to(precious)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    assert "is not a folder that only you can write" in refused(tmp_path, "--gpus", 1, DMGAN_GPU_IDS="0")
    assert not list(precious.iterdir())


def test_a_lock_file_that_is_a_link_leaves_its_target_unchanged(tmp_path):
    (tmp_path / "locks").mkdir(mode=0o700)
    (tmp_path / "precious").write_text("content")
    (tmp_path / "locks" / "all.lock").symlink_to(tmp_path / "precious")
    assert "all.lock: cannot be opened" in refused(tmp_path, "--gpus", 1, DMGAN_GPU_IDS="0")
    assert (tmp_path / "precious").read_text() == "content"


def test_the_locks_do_not_depend_on_tmpdir(tmp_path, monkeypatch):
    monkeypatch.delenv("DMGAN_GPU_LOCKS", raising=False)
    before = gpu_lease.lock_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert gpu_lease.lock_folder() == before


def test_two_commands_in_one_slurm_job_get_different_gpus_and_one_that_waits_says_so(tmp_path):
    inside = {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "9"}
    script = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(600)"
    first, second = (start_lease(1, [sys.executable, "-c", script], tmp_path, **inside) for _ in range(2))
    try:
        assert {first.stdout.readline().strip(), second.stdout.readline().strip()} == {"0", "1"}
        words = [str(word) for word in (*LEASE, "--gpus", 1, "--", "true")]
        settings = without() | inside | {"DMGAN_GPU_LOCKS": str(tmp_path)}
        third = subprocess.Popen(words, env=settings, stderr=subprocess.PIPE, text=True)
        assert third.stderr.readline() == "gpu_lease: waiting for 1 of the GPUs 0, 1\n"
        other_job = start_lease(1, SHOW, tmp_path, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="10")
        assert other_job.communicate(timeout=60)[0].strip() == "0"  # SLURM numbers the GPUs of every job from 0
        first.kill()
        assert third.wait(timeout=60) == 0
    finally:
        for job in (first, second):
            job.kill()
            job.wait()
            job.stdout.close()


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        # two steps that share the GPUs of their job
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_GPUS": "2,3"}, {"SLURM_STEP_ID": "1", "SLURM_STEP_GPUS": "2,3"}, True),
        ({"SLURM_STEP_ID": "0", "SLURM_JOB_GPUS": "2,3"}, {"SLURM_STEP_ID": "1", "SLURM_STEP_GPUS": "2,3"}, True),
        # two steps with different GPUs, which SLURM numbers from 0 in each
        ({"SLURM_STEP_ID": "0", "SLURM_STEP_GPUS": "0,1"}, {"SLURM_STEP_ID": "1", "SLURM_STEP_GPUS": "2,3"}, False),
        ({"SLURM_STEP_ID": "0"}, {"SLURM_STEP_ID": "1"}, False),
    ],
)
def test_job_steps_share_locks_if_they_share_gpus(first, second, shared, monkeypatch):
    for name in ("SLURM_STEP_ID", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        monkeypatch.delenv(name, raising=False)
    names = []
    for step in (first, second):
        with monkeypatch.context() as patch:
            for name, value in ({"SLURM_JOB_ID": "9"} | step).items():
                patch.setenv(name, value)
            names.append(set(gpu_lease._lock_names(["0", "1"])))
    assert (names[0] == names[1]) is shared
    assert shared or not names[0] & names[1]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("torchrun --nproc-per-node 4 -m dmgan train", 4), ("torchrun --nproc_per_node=4 -m dmgan train", 4),
        ("torchrun --nproc-per-node gpu -m dmgan train", 1), ("torchrun --nproc-per-node", 1),
        ("python -m dmgan.runtime.launch --nproc-per-node=2 -- train", 2),
        ("python -m dmgan.runtime.launch -- train --nproc-per-node 9", 1), ("python -m dmgan --nproc-per-node 9", 1),
    ],
)  # fmt: skip
def test_the_processes_of_a_launcher_are_counted_however_they_are_written(words, count):
    assert gpu_lease.processes(words.split()) == count


def test_a_command_that_waits_for_another_s_choice_says_so(tmp_path):
    """A command that was stopped while it chose its GPUs holds the lock of all of them."""
    tmp_path.chmod(0o700)
    with open(tmp_path / "all.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = [str(word) for word in (*LEASE, "--gpus", 1, "--", "true")]
        settings = without() | {"DMGAN_GPU_LOCKS": str(tmp_path), "DMGAN_GPU_IDS": "0"}
        waiting = subprocess.Popen(
            words, env=settings, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores Ctrl-C
        )  # fmt: skip
        assert waiting.stderr.readline() == "gpu_lease: waiting for 1 of the GPUs 0\n"
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=120)
        assert (said, waiting.returncode) == ("gpu_lease: interrupted; no GPU is leased\n", 130)


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def flock(*given):
        raise OSError(errno.ENOLCK, "No locks available")

    tmp_path.chmod(0o700)
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(SystemExit, match="all.lock: cannot be locked .No locks available.; set DMGAN_GPU_LOCKS to"):
        gpu_lease.acquire(["0"], 1, tmp_path)
