"""A progress bar on a terminal, plain lines in a log."""

import sys
import time

from tqdm import tqdm


def log(message: str) -> None:
    """Print one line of progress, at once, without tearing a progress bar."""
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()


class Progress:
    """Progress of `total` steps: a bar when standard error is a terminal, else a line now and then."""

    def __init__(self, total: int, unit: str, done: int = 0, seconds_between_lines: float = 10.0):
        self._total, self._unit, self._done = total, unit, done
        self._started, self._started_at = time.monotonic(), done
        self._between, self._last_line = seconds_between_lines, time.monotonic()
        self._bar = tqdm(total=total, initial=done, unit=unit, file=sys.stderr) if sys.stderr.isatty() else None

    def step(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units as done; `note` is shown beside them."""
        self._done += count
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last_line >= self._between or self._done == self._total:
            self._last_line = time.monotonic()
            rate = (self._done - self._started_at) / max(self._last_line - self._started, 1e-9)
            log(f"{self._unit} {self._done}/{self._total}  {rate:.2f}/s  {note}".rstrip())

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
