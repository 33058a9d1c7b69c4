"""Run Snakemake in this folder as the only run, clearing stale locks: python workflow/run.py SNAKEMAKE-ARGUMENTS

A killed run leaves Snakemake's own lock files, which block every later run. This script holds a kernel lock that ends
with its process, and removes Snakemake's lock files if no other run is active. With a SLURM profile it also adds the
settings that depend on the cluster (workflow/slurm.py).
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # a script only finds modules in its own folder

from dmgan.errors import UserError
from workflow.slurm import require_plugin, slurm_flags

FOLDER = Path(".snakemake")
_NO_SNAKEMAKE = "run: snakemake is not on PATH; run `make setup`, and put .venv/bin first on PATH"
_ALIVE = "run: another run is active in this folder{}; wait until it ends, or stop it first"


def hold_folder() -> int:
    """Lock this folder and return the open descriptor, which the Snakemake process inherits but its jobs do not."""
    try:
        FOLDER.mkdir(exist_ok=True)
        descriptor = os.open(FOLDER / "run.lock", os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(_ALIVE.format(""))
    except OSError as error:
        sys.exit(f"run: {FOLDER / 'run.lock'}: cannot be locked ({error.strerror}); fix the permissions of this folder")
    os.set_inheritable(descriptor, True)
    return descriptor


def live_snakemake() -> int | None:
    """Return the id of an active Snakemake process in this folder; None if none is found, or not on Linux."""
    here = os.getcwd()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            same_folder = os.readlink(process / "cwd") == here
        except OSError:  # the process has ended, or belongs to another user
            continue
        if same_folder and any(os.path.basename(word) == b"snakemake" for word in words[:3]):
            return int(process.name)
    return None


def main() -> None:
    """Take the lock, clear Snakemake's stale lock files, and replace this process by Snakemake."""
    hold_folder()
    arguments = sys.argv[1:]
    try:
        require_plugin(arguments)
        arguments += slurm_flags(arguments)
    except UserError as error:
        sys.exit(f"run: {error}")
    locks = FOLDER / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        if (process := live_snakemake()) is not None:
            sys.exit(_ALIVE.format(f" (process {process})"))
        try:
            cleared = subprocess.run(["snakemake", *arguments, "--unlock"], capture_output=True, text=True)
        except FileNotFoundError:
            sys.exit(_NO_SNAKEMAKE)
        if cleared.returncode:
            sys.exit(cleared.stderr.strip() or cleared.stdout.strip())
    try:
        os.execvp("snakemake", ["snakemake", *arguments])
    except FileNotFoundError:
        sys.exit(_NO_SNAKEMAKE)


if __name__ == "__main__":
    main()
