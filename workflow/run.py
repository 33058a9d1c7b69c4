"""Run Snakemake in this folder, alone, whatever an earlier run left: python workflow/run.py SNAKEMAKE-ARGUMENTS

A run that was killed leaves Snakemake's own lock behind, which would refuse every later run. Here a kernel lock,
which ends with its process, says whether a run is alive; if none is, Snakemake's lock is cleared.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(".snakemake")
_ALIVE = "run: a run is at work in this folder{}; wait for its end, or stop it first"


def hold_folder() -> int:
    """Lock this folder's runs; the open descriptor, which the Snakemake process inherits but its jobs do not."""
    FOLDER.mkdir(exist_ok=True)
    descriptor = os.open(FOLDER / "run.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(_ALIVE.format(""))
    os.set_inheritable(descriptor, True)
    return descriptor


def live_snakemake() -> int | None:
    """Process id of a Snakemake at work in this folder that was started by hand (Linux; None elsewhere)."""
    here = os.getcwd()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            same_folder = os.readlink(process / "cwd") == here
        except OSError:  # it has ended meanwhile, or belongs to somebody else
            continue
        if same_folder and any(os.path.basename(word) == b"snakemake" for word in words[:3]):
            return int(process.name)
    return None


def main() -> None:
    """Take the lock, clear what a killed run left, and become Snakemake."""
    hold_folder()
    locks = FOLDER / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        if (process := live_snakemake()) is not None:
            sys.exit(_ALIVE.format(f" (process {process})"))
        cleared = subprocess.run(["snakemake", *sys.argv[1:], "--unlock"], capture_output=True, text=True)
        if cleared.returncode:
            sys.exit(cleared.stderr.strip() or cleared.stdout.strip())
    try:
        os.execvp("snakemake", ["snakemake", *sys.argv[1:]])
    except FileNotFoundError:
        sys.exit("run: snakemake is not on PATH; run `make setup`, and put .venv/bin first on PATH")


if __name__ == "__main__":
    main()
