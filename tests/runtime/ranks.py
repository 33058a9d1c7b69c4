"""Module for the launcher: rank 1 ends as its first argument says, rank 0 waits; both leave their process ids."""

import os
import signal
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    end, folder = sys.argv[1], Path(sys.argv[2])
    rank = int(os.environ["RANK"])
    (folder / f"rank{rank}").write_text(str(os.getpid()))
    while not all((folder / f"rank{each}").exists() for each in range(int(os.environ["WORLD_SIZE"]))):
        time.sleep(0.01)
    if rank == 1 and end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 1 and end.isdigit():
        sys.exit(int(end))
    if end != "finish":
        time.sleep(300)
