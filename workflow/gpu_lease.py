"""Run a command that holds N GPUs alone: python workflow/gpu_lease.py --gpus N -- COMMAND ...

Snakemake counts GPUs but names none; the lease names them in CUDA_VISIBLE_DEVICES. A lease is a kernel lock on
a file per GPU, so it ends with the last process that holds it, however that ends. It holds between all
workflows of one user on one machine. Without a GPU, or with --gpus 0, the command runs on the CPU; inside a
SLURM job it keeps the GPUs that SLURM assigned.

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

_NONE = ("-1", "NoDevFiles")  # how CUDA_VISIBLE_DEVICES hides every GPU
_POLL_SECONDS = 0.2


def available_gpus() -> list[str]:
    """Ids of the GPUs that may be leased; empty on a machine without one."""
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
    """The folder of the lock files, shared by all workflows of this user."""
    default = Path(tempfile.gettempdir()) / f"dmgan-gpu-lease-{os.getuid()}"
    return Path(os.environ.get("DMGAN_GPU_LOCKS", default))


def acquire(ids: list[str], count: int, folder: Path) -> dict[str, int]:
    """Wait for `count` of the GPUs and lock them; id -> open descriptor of its lock file.

    All or none are taken, so that two commands with several GPUs each cannot wait for one another.
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
    """Lock up to `count` GPUs that nobody holds."""
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
    """Lease `count` GPUs for this process; the CUDA_VISIBLE_DEVICES of its command (None: as it is)."""
    if count == 0:
        return ""
    if "SLURM_JOB_ID" in os.environ:
        return None
    ids = available_gpus()
    if not ids:
        return ""
    if count > len(ids):
        sys.exit(f"gpu_lease: {count} GPUs asked for, {len(ids)} here ({', '.join(ids)}); ask for fewer")
    held = acquire(ids, count, lock_folder())
    for descriptor in held.values():
        os.set_inheritable(descriptor, True)  # the lease lasts as long as the command
    return ",".join(held)


def processes(command: list[str]) -> int:
    """How many processes a command starts that want a GPU each: torchrun says so, another command starts one."""
    option = "--nproc-per-node"
    return int(command[command.index(option) + 1]) if command[0] == "torchrun" and option in command else 1


def main() -> None:
    """Lease the GPUs, then become the command."""
    parser = argparse.ArgumentParser(description="Run a command that holds N GPUs alone.")
    parser.add_argument("--gpus", type=int, required=True, help="GPUs to lease; 0 hides them all")
    parser.add_argument("command", nargs="+", help="the command, after --")
    arguments = parser.parse_args()
    wanted = processes(arguments.command)
    if 1 < wanted > arguments.gpus:  # Snakemake cuts --gpus down to what it is offered
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
