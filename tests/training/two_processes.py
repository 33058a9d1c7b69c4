"""Trainings with two processes, and the processes of its session that are alive."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(sys.executable).parent


def torchrun(*words) -> subprocess.Popen:
    """Start two processes by torchrun, in a session of their own."""
    return _start(PROGRAMS / "torchrun", "--standalone", "--nproc-per-node", 2, *words)


def launch(*words) -> subprocess.Popen:
    """Start two processes of the program by its own launcher, in a session of their own."""
    return _start(sys.executable, "-m", "dmgan.runtime.launch", "--nproc-per-node", 2, "--", *words)


def ranks_of(launcher: int) -> list[int]:
    """Return the process ids of a launcher's ranks, by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rsplit(")", 1)[1].split()[1]) == launcher:
                environment = (process / "environ").read_bytes().decode().split("\0")
                found.update({int(each[5:]): int(process.name) for each in environment if each.startswith("RANK=")})
        except OSError:  # the process has ended
            continue
    return [found[rank] for rank in sorted(found)]


def _start(*command) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [str(word) for word in command]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def alive(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _session(path) == session]


def _session(process: Path) -> int | None:
    try:
        state, *_, session = (process / "stat").read_text().rsplit(")", 1)[1].split()[:4]
    except OSError:
        return None
    return None if state in "ZX" else int(session)
