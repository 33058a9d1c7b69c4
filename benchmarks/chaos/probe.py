"""The program's command line, with the number of finished steps in a file that `make chaos` reads."""

import sys

from benchmarks.chaos.running import probe_progress
from dmgan.__main__ import main

if __name__ == "__main__":
    probe_progress()
    sys.exit(main(sys.argv[1:]))
