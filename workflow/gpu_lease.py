"""Run a command with exclusive use of N GPUs: python workflow/gpu_lease.py --gpus N -- COMMAND ...

Snakemake counts GPUs but does not assign them; the lease sets CUDA_VISIBLE_DEVICES. A lease is a kernel lock on one
file per GPU, so it ends when the last process that holds the lock ends or is killed. All workflows of one user on one
machine share the locks. Without a GPU, or with --gpus 0, the command runs on the CPU; inside a SLURM job the command
keeps the GPUs that SLURM assigned.

DMGAN_GPU_IDS names the GPUs to lease (default: CUDA_VISIBLE_DEVICES, else every GPU of nvidia-smi);
DMGAN_GPU_LOCKS is the folder of the lock files (default: one per user in the temporary folder).
"""

import argparse
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_NONE = ("-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES that hide all GPUs
_POLL_SECONDS = 0.2


def available_gpus() -> list[str]:
    """Return the ids of the GPUs that may be leased; empty on a machine without GPUs."""
    for name in ("DMGAN_GPU_IDS", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            ids = [each.strip() for each in os.environ[name].split(",")]
            return [each for each in ids if each and each not in _NONE]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        return []
    return listed.stdout.split() if listed.returncode == 0 else []


def lock_folder() -> Path:
    """Return the folder of the lock files, shared by all workflows of this user."""
    default = Path(tempfile.gettempdir()) / f"dmgan-gpu-lease-{os.getuid()}"
    return Path(os.environ.get("DMGAN_GPU_LOCKS", default))


def acquire(ids: list[str], count: int, folder: Path) -> dict[str, int]:
    """Wait for `count` of the GPUs, lock them and return {id: open descriptor of the lock file}.

    Either all `count` GPUs or none are locked, so that two commands cannot wait for each other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        with open(folder / "all.lock", "w") as everyone:
            fcntl.flock(everyone, fcntl.LOCK_EX)
            held = _free(ids, count, folder)
        if len(held) == count:
            return held
        for descriptor in held.values():
            os.close(descriptor)
        time.sleep(_POLL_SECONDS)


def _free(ids: list[str], count: int, folder: Path) -> dict[str, int]:
    """Lock up to `count` free GPUs and return {id: open descriptor of the lock file}."""
    held = {}
    for gpu in ids:
        if len(held) == count:
            break
        descriptor = os.open(folder / f"gpu-{gpu}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            held[gpu] = descriptor
    return held


def visible_devices(count: int) -> str | None:
    """Lease `count` GPUs and return CUDA_VISIBLE_DEVICES for the command; None: unchanged."""
    if count == 0:
        return ""
    if "SLURM_JOB_ID" in os.environ:
        return None
    ids = available_gpus()
    if not ids:
        return ""
    if count > len(ids):
        sys.exit(f"gpu_lease: {count} GPUs requested, {len(ids)} available ({', '.join(ids)}); request fewer")
    held = acquire(ids, count, lock_folder())
    for descriptor in held.values():
        os.set_inheritable(descriptor, True)  # the lease lasts as long as the command
    return ",".join(held)


def processes(command: list[str]) -> int:
    """Return the number of processes that need a GPU: --nproc-per-node of torchrun, 1 for other commands."""
    option = "--nproc-per-node"
    return int(command[command.index(option) + 1]) if command[0] == "torchrun" and option in command else 1


def main() -> None:
    """Lease the GPUs, then replace this process by the command."""
    parser = argparse.ArgumentParser(description="Run a command with exclusive use of N GPUs.")
    parser.add_argument("--gpus", type=int, required=True, help="GPUs to lease; 0 hides all GPUs")
    parser.add_argument("command", nargs="+", help="the command, after --")
    arguments = parser.parse_args()
    wanted = processes(arguments.command)
    if 1 < wanted > arguments.gpus:  # Snakemake reduces --gpus to its --resources
        offer = f"give Snakemake --resources gpu={wanted}"
        sys.exit(f"gpu_lease: --gpus {arguments.gpus} is too few for {wanted} processes; {offer}")
    devices = visible_devices(arguments.gpus)
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    try:
        os.execvp(arguments.command[0], arguments.command)
    except OSError as error:
        sys.exit(f"gpu_lease: {arguments.command[0]}: cannot be run ({error.strerror})")


if __name__ == "__main__":
    main()
