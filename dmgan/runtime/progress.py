"""A progress bar on a terminal, plain lines in a log."""

import sys
import time

from tqdm import tqdm

from dmgan.errors import one_line


def log(message: str) -> None:
    """Print one line to standard error immediately, above any progress bar; control characters are escaped."""
    tqdm.write(one_line(message), file=sys.stderr)
    sys.stderr.flush()


class Progress:
    """Progress of `total` steps: a bar if standard error is a terminal, else a line every few seconds.

    shown=False prints nothing. A KeyboardInterrupt inside the block gets a note with the number of finished steps and
    the text `kept`, which says what survives the interrupt.
    """

    def __init__(self, total: int, unit: str, done: int = 0, seconds_between_lines: float = 10.0, shown: bool = True):
        self._total, self._unit, self._done, self._shown = total, unit, done, shown
        self._started, self._started_at = time.monotonic(), done
        self._between, self._last_line = seconds_between_lines, time.monotonic()
        bar = shown and sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, unit=unit, file=sys.stderr) if bar else None
        self.kept = ""  # says what survives an interrupt

    def step(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units as done and show `note` beside the count."""
        self._done += count
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._last_line >= self._between or self._done == self._total:
            self._last_line = time.monotonic()
            rate = (self._done - self._started_at) / max(self._last_line - self._started, 1e-9)
            if self._shown:
                log(f"{self._unit} {self._done}/{self._total}  {rate:.2f}/s  {note}".rstrip())

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind, error: BaseException | None, traceback) -> None:
        if self._bar is not None:
            self._bar.close()
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"at {self._unit} {self._done}/{self._total}{f'; {self.kept}' if self.kept else ''}")
