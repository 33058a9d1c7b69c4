"""Programs whose reader ends early, as in `... | head`, end without a traceback."""

import os
import subprocess
import sys

import pytest

from dmgan.runtime.output import exit_at_closed_pipe
from tests.paths import ROOT


@pytest.mark.parametrize("words", [["workflow/plan.py"], ["-m", "dmgan", "fetch", "--list"]])
def test_a_program_whose_reader_has_ended_prints_no_traceback(words):
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_an_error_message_that_nobody_reads_prints_no_traceback():
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "workflow/plan.py", "--configfile", "nowhere.yaml"]
    assert subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=write).returncode == 141
    os.close(write)


def test_a_closed_pipe_between_processes_is_an_error():
    with pytest.raises(BrokenPipeError), exit_at_closed_pipe():
        raise BrokenPipeError
