"""Standard output and standard error whose reader, such as `head`, ends before this process does."""

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_EXIT_CODE = 141  # 128 + SIGPIPE, as shells report a program that this signal ended


@contextmanager
def exit_at_closed_pipe() -> Iterator[None]:
    """Exit without a traceback, with code 141, if the reader of standard output or standard error has ended.

    A BrokenPipeError of any other pipe, such as that of a worker process, is raised as it is.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _reader_has_ended(stream.fileno())]
        if not closed:
            raise
        for stream in closed:  # the interpreter writes what is left in the buffers when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(_EXIT_CODE) from None


def _reader_has_ended(descriptor: int) -> bool:
    """Return whether `descriptor` is a pipe that no process reads."""
    poll = select.poll()
    poll.register(descriptor, select.POLLERR)
    return any(event & select.POLLERR for _, event in poll.poll(0))
