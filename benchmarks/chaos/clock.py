"""A clock that jumps while a job is at work, by libfaketime (Debian: apt-get install faketime)."""

from pathlib import Path

from benchmarks.chaos.cases import Case, Skipped
from benchmarks.reliability import Outcome

_DAYS = (-3650, -1, 1, 3650)


def jump(case: Case) -> Outcome:
    """Move the clock by a day or ten years, forwards or backwards, at a random moment."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        raise Skipped("needs libfaketime: apt-get install faketime")
    case.prepare()
    clock = case.folder.parent / "clock"
    clock.write_text("+0")
    started = case.start(
        variables={
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # the kernel's monotonic clock does not jump
        }
    )
    at_work = case.reach_moment(started)
    days = case.random.choice(_DAYS)
    clock.write_text(f"{days:+}d")
    case.note_injection(f"{days:+} days" if at_work else "after the end")
    status = started.wait()
    case.read_output(started)
    if status:
        case.notes.append(f"the job ended with status {status}")
        return case.outcome(lost=1)
    return case.finish()
