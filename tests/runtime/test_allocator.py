"""Freed memory stays in the process, in every thread: large arrays do not fault their pages in again."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, threading
from dmgan.runtime.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def work():
    for _ in range(15):  # glibc hands back what is above 32 MB, and a thread's own heaps of 64 MB
        [b"x" * 40_000_000 for _ in range(3)]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=work)
    thread.start(), thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_a_thread_pays_the_faults_of_an_array_once():
    counts = {
        setting: int(subprocess.run([sys.executable, "-c", FAULTS, setting], capture_output=True, check=True).stdout)
        for setting in ("kept", "left")
    }
    assert counts["left"] > 10 * counts["kept"], counts
