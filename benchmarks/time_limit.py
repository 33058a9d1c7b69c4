"""A time limit of a benchmark: it ends early, and what was measured until then is written."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class TimeLimit:
    """Whether the measurements inside `time_limit` were cut short."""

    cut_short = False


class _Ended(BaseException):
    """Not an Exception, so that no measured code handles it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[TimeLimit]:
    """Leave the block after `seconds` (0: no limit) or at SIGTERM, without an error; main thread only."""

    def end(number: int, frame: object) -> None:
        raise _Ended(signal.Signals(number).name)

    limit = TimeLimit()
    handlers = {number: signal.signal(number, end) for number in (signal.SIGALRM, signal.SIGTERM)}
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield limit
    except _Ended as reason:
        limit.cut_short = True
        print(f"cut short by {reason}: writing what was measured", file=sys.stderr, flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
