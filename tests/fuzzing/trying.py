"""Trial of one reader on many inputs: exceptions, time and memory are watched."""

import hashlib
import os
import resource
import shutil
import signal
import traceback
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from dmgan.errors import UserError
from tests.fuzzing.readers import Reader

CPU_SECONDS = 1.0  # of one input
WALL_SECONDS = 60.0  # of one input that waits, such as for a pipe, on a busy machine
GROWTH_BYTES = 4 << 20  # Python objects that a reader may keep after thousands of inputs


class TooLong(BaseException):
    """Raised in a reader that took too long; no `except Exception` of the reader stops it."""


@dataclass
class Finding:
    """An input at which a reader failed, and the last line of its traceback."""

    data: bytes
    what: str
    place: str  # file and line that raised the exception

    def save(self, folder: Path, reader: str) -> Path:
        """Write the input into `folder`; return its path."""
        name = "".join(each if each.isalnum() else "-" for each in reader)
        path = folder / f"{name}-{hashlib.sha256(self.data).hexdigest()[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        return path


@dataclass
class Result:
    """Numbers of inputs that were read and refused, and the failures, one for each place."""

    read: int = 0
    refused: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)
    failed: int = 0

    @property
    def tried(self) -> int:
        return self.read + self.refused + self.failed


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise TooLong in the block after CPU_SECONDS of computing or WALL_SECONDS of waiting."""

    def stop(signum, frame):
        raise TooLong

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, CPU_SECONDS), (signal.SIGALRM, signal.ITIMER_REAL, WALL_SECONDS))
    before = [signal.signal(number, stop) for number, _, _ in timers]
    try:
        for _, timer, seconds in timers:
            signal.setitimer(timer, seconds)
        yield
    finally:
        for (number, timer, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


class Trial:
    """One reader with a copy of its valid files, in which the file is replaced by one input after the other."""

    def __init__(self, reader: Reader, seeds: Path, copy: Path):
        """Copy the reader's folder of `seeds` into `copy`, with links to the other folders."""
        self.reader, top = reader, Path(reader.file).parts[0]
        shutil.copytree(seeds / top, copy / top)
        for other in seeds.iterdir():
            if other.name != top:
                (copy / other.name).symlink_to(other)
        self.path = copy / reader.file
        self.valid = self.path.read_bytes()
        self.result = Result()

    def try_mutation(self, random: Random) -> Finding | None:
        """Try a mutation of the valid file."""
        return self.try_input(self.reader.mutate(random, self.valid))

    def try_input(self, data: bytes) -> Finding | None:
        """Read `data`; return and record the failure if the reader raises another exception than it may."""
        self.path.unlink(missing_ok=True)  # a reader that maps the file keeps the old one
        self.path.write_bytes(data)
        try:
            with time_limit(), open(os.devnull, "w") as null, redirect_stderr(null):
                self.reader.read(self.path)
        except self.reader.refusals as error:
            if len(str(error).splitlines()) <= 1 or not isinstance(error, UserError):
                self.result.refused += 1
                return None
            return self._failed(data, error, "more than one line")
        except (Exception, TooLong) as error:
            return self._failed(data, error, "")
        self.result.read += 1
        return None

    def _failed(self, data: bytes, error: BaseException, what: str) -> Finding:
        last = traceback.extract_tb(error.__traceback__)
        own = [each for each in last if "/dmgan/" in each.filename or "/workflow/" in each.filename] or list(last)
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        what = what or f"{type(error).__name__}: {str(error)[:200]!r}"
        self.result.failed += 1
        return self.result.findings.setdefault(f"{place} {what.partition(':')[0]}", Finding(data, what, place))


def kept_bytes(trial: Trial, count: int, seed: int) -> int:
    """Return the bytes of Python objects that `count` inputs left behind, after as many to fill caches."""
    random = Random(seed)
    for _ in range(count):
        trial.try_mutation(random)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(count):
            trial.try_mutation(random)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def most_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
