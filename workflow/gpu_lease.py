"""Run a command with exclusive use of N GPUs: python workflow/gpu_lease.py --gpus N -- COMMAND ...

Snakemake counts GPUs but does not assign them; the lease sets CUDA_VISIBLE_DEVICES. A lease is a kernel lock on one
file per GPU, so it ends when the last process that holds the lock ends or is killed. All workflows of one user on one
machine share the locks. Without a GPU, or with --gpus 0, the command runs on the CPU. Inside a SLURM job only the GPUs
that SLURM assigned are leased, so that two commands in one allocation get different GPUs, also in two job steps.

DMGAN_GPU_IDS names the GPUs to lease (default: CUDA_VISIBLE_DEVICES, else every GPU of nvidia-smi);
DMGAN_GPU_LOCKS is the folder of the lock files (default: one per user in /tmp, whatever TMPDIR is).
"""

import argparse
import fcntl
import itertools
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

_NONE = ("-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES that hide all GPUs
_ID = re.compile(r"[\w:./-]+")  # an index, GPU-UUID, or MIG-UUID, which may contain slashes
_POLL_SECONDS = 0.2
_MOMENT = 1.0  # seconds after which a command says that it waits for another command's choice
_ANSWER_SECONDS = 20  # within which nvidia-smi must answer


def refuse(message: str) -> NoReturn:
    """End with status 1 and one line on standard error."""
    sys.exit(f"gpu_lease: {message}")


def available_gpus() -> list[str]:
    """Return the ids of the GPUs that may be leased; empty on a machine without GPUs."""
    for name in ("DMGAN_GPU_IDS", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            return _named_gpus(name, os.environ[name])
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    hint = "name the GPUs by DMGAN_GPU_IDS=0,1 or run on the CPU by DMGAN_GPU_IDS="
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=_ANSWER_SECONDS)
    except FileNotFoundError:
        return []
    except (OSError, subprocess.TimeoutExpired) as error:
        refuse(f"nvidia-smi: gives no answer ({error}); {hint}")
    lines = [line.strip() for line in (listed.stdout + listed.stderr).splitlines() if line.strip()]
    if any(line.startswith("No devices were found") for line in lines):
        return []
    if listed.returncode or not all(line.isdigit() for line in lines):
        refuse(f"nvidia-smi: failed ({lines[0] if lines else f'status {listed.returncode}'}); {hint}")
    return lines


def _named_gpus(variable: str, value: str) -> list[str]:
    """Return the ids in a comma-separated list; end with one line if an id is malformed or named twice."""
    ids = [each for each in (each.strip() for each in value.split(",")) if each]
    ids = list(itertools.takewhile(lambda each: each not in _NONE, ids))  # CUDA reads no further
    if odd := [each for each in ids if not _ID.fullmatch(each)]:
        refuse(f"{variable}: {odd[0]!r} is no id of a GPU; separate ids by commas, as in 0,1")
    if twice := [each for number, each in enumerate(ids) if each in ids[:number]]:
        refuse(f"{variable}: names GPU {twice[0]} twice; name every GPU once")
    return ids


def lock_folder() -> Path:
    """Return the folder of the lock files, shared by all workflows of this user."""
    return Path(os.environ.get("DMGAN_GPU_LOCKS", f"/tmp/dmgan-gpu-lease-{os.getuid()}"))


def private_folder(folder: Path) -> Path:
    """Create `folder` for this user alone; end with one line if it is a link or belongs to another user."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.lstat()
    except OSError as error:
        refuse(f"{folder}: cannot be created ({error.strerror}); set DMGAN_GPU_LOCKS to a folder of yours")
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or shared:
        refuse(f"{folder}: is not a folder that only you can write; delete it, or set DMGAN_GPU_LOCKS to another")
    return folder


def _open_lock(path: Path) -> int:
    """Open a lock file without following a link and without changing its content."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        refuse(f"{path}: cannot be opened ({error.strerror}); delete it")


def _try_lock(descriptor: int, path: Path) -> bool:
    """Lock a file if no other process holds its lock; end with one line if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        refuse(f"{path}: cannot be locked ({error.strerror}); set DMGAN_GPU_LOCKS to a folder on a local disk")
    return True


def acquire(ids: list[str], count: int, folder: Path) -> dict[str, int]:
    """Wait for `count` of the GPUs, lock them and return {id: open descriptor of the lock file}.

    Either all `count` GPUs or none are locked, so that two commands cannot wait for each other.
    """
    private_folder(folder)
    path, waiting, started = folder / "all.lock", False, time.monotonic()
    while True:
        everyone = _open_lock(path)
        chosen = _try_lock(everyone, path)  # another command holds it for a moment, or is stopped while it does
        held = _free(ids, count, folder) if chosen else {}
        os.close(everyone)  # releases the lock
        if len(held) == count:
            return held
        for descriptor in held.values():
            os.close(descriptor)
        if not waiting and (chosen or time.monotonic() - started > _MOMENT):
            waiting = True
            print(f"gpu_lease: waiting for {count} of the GPUs {', '.join(ids)}", file=sys.stderr, flush=True)
        time.sleep(_POLL_SECONDS if chosen else _POLL_SECONDS / 10)


def _free(ids: list[str], count: int, folder: Path) -> dict[str, int]:
    """Lock up to `count` free GPUs and return {id: open descriptor of the lock file}."""
    held = {}
    for gpu, name in zip(ids, _lock_names(ids), strict=True):
        if len(held) == count:
            break
        path = folder / f"{name}.lock"
        descriptor = _open_lock(path)
        if _try_lock(descriptor, path):
            held[gpu] = descriptor
        else:
            os.close(descriptor)
    return held


def _lock_names(ids: list[str]) -> list[str]:
    """Return the names of the GPUs' lock files, without suffix.

    SLURM may number the GPUs of every job step from 0, so inside a SLURM job a lock file has the number that the GPU
    has on its node, or the step's number if SLURM does not state it.
    """
    names = [quote(gpu, safe="") for gpu in ids]
    if "SLURM_JOB_ID" not in os.environ:
        return [f"gpu-{name}" for name in names]
    job = f"slurm-{os.environ['SLURM_JOB_ID']}"
    stated = os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS", "")
    of_node = [each for each in stated.split(",") if each]
    if len(of_node) == len(ids):
        return [f"{job}-gpu-{quote(each, safe='')}" for each in of_node]
    return [f"{job}.{os.environ.get('SLURM_STEP_ID', '')}-gpu-{name}" for name in names]


def visible_devices(count: int) -> str | None:
    """Lease `count` GPUs and return CUDA_VISIBLE_DEVICES for the command; None: unchanged."""
    if count == 0:
        return ""
    if "SLURM_JOB_ID" in os.environ and "CUDA_VISIBLE_DEVICES" not in os.environ:
        return None  # SLURM hides the other GPUs, or has assigned none
    ids = available_gpus()
    if not ids:
        return ""
    if count > len(ids):
        refuse(f"{count} GPUs requested, {len(ids)} available ({', '.join(ids)}); request fewer")
    held = acquire(ids, count, lock_folder())
    for descriptor in held.values():
        os.set_inheritable(descriptor, True)  # the lease lasts as long as the command
    return ",".join(held)


def processes(command: list[str]) -> int:
    """Return the number of processes that need a GPU: --nproc-per-node of a launcher, 1 for all other commands."""
    if command[0] != "torchrun" and "dmgan.runtime.launch" not in command:
        return 1
    words = list(itertools.takewhile(lambda word: word != "--", command))  # those behind it are the command's own
    for word, following in itertools.pairwise([*words, ""]):
        name, equals, value = word.replace("_", "-").partition("=")
        if name == "--nproc-per-node":
            count = value if equals else following
            return int(count) if re.fullmatch(r"[0-9]{1,9}", count) else 1  # torchrun also takes words, such as gpu
    return 1


def main() -> None:
    """Lease the GPUs, then replace this process by the command."""
    parser = argparse.ArgumentParser(description="Run a command with exclusive use of N GPUs.")
    parser.add_argument("--gpus", type=int, required=True, help="GPUs to lease; 0 hides all GPUs")
    parser.add_argument("command", nargs="+", help="the command, after --")
    arguments = parser.parse_args()
    if arguments.gpus < 0:
        refuse(f"--gpus {arguments.gpus}: must be 0 or more")
    wanted = processes(arguments.command)
    if 1 < wanted > arguments.gpus:  # Snakemake reduces --gpus to its --resources
        offer = f"give Snakemake --resources gpu={wanted}"
        refuse(f"--gpus {arguments.gpus} is too few for {wanted} processes; {offer}")
    devices = visible_devices(arguments.gpus)
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    try:
        os.execvp(arguments.command[0], arguments.command)
    except OSError as error:
        refuse(f"{arguments.command[0]}: cannot be run ({error.strerror})")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("gpu_lease: interrupted; no GPU is leased", file=sys.stderr)
        sys.exit(130)
