"""A child process that is killed before a chosen file operation."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from dmgan.storage import files

_STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
KILLED, FAILED = 9, 1


def contents(folder: Path) -> dict[str, bytes]:
    """Return name -> content of every file below a folder."""
    return {name: (folder / name).read_bytes() for name in files.files_below(folder)}


def killed_before(step: int, function: Callable[[], object]) -> bool:
    """Call a function in a child process that is killed before this step, and return whether it was.

    A step opens, renames or deletes a file. As after a real kill, buffers are not written.
    """
    child = os.fork()
    if not child:
        steps = iter(range(step + 1))

        def count(event: str, _) -> None:
            if event in _STEPS and next(steps) == step:
                os._exit(KILLED)

        try:
            sys.addaudithook(count)
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(FAILED)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED
