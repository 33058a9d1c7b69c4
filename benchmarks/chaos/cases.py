"""One fault in one job: the folder it works in, the moment of the fault, and the outcome."""

import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chaos.jobs import Job
from benchmarks.chaos.running import Started, differences, fresh_copy, start, steps_done
from benchmarks.reliability import Outcome

ATTEMPTS = 6  # runs without a fault in which a job must finish; an orphan of a killed run may hold its lock for a while
_RESUMED = re.compile(r"resuming from step (\d+)")
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\)|this is a fault of the program", re.MULTILINE)


class Skipped(Exception):
    """The fault cannot be injected on this machine."""


@dataclass
class Case:
    """A job, a folder of its own, and what has happened to it."""

    job: Job
    fault: str
    reference: Path
    folder: Path
    cpu_seconds: float  # of an uninterrupted run
    random: random.Random
    injected: int = 0
    steps_lost: int = 0
    tracebacks: int = 0
    notes: list[str] = field(default_factory=list)

    def __post_init__(self):
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def prepare(self) -> None:
        """Copy what the job reads into its folder."""
        fresh_copy(self.reference, self.folder, self.job)

    def start(self, **others) -> Started:
        """Start the job (see running.start)."""
        return start(self.job, self.folder, **others)

    def reach_moment(self, started: Started) -> bool:
        """Wait until the job has used a random part of its CPU time; return whether it is still at work."""
        moment = self.random.uniform(0.02, 0.98) * self.cpu_seconds
        while started.cpu_seconds() < moment and not started.ended:
            time.sleep(0.01)
        return not started.ended

    def note_injection(self, words: str = "") -> None:
        """Count one injected fault, at the step that the job has reached."""
        self.injected += 1
        self.notes.append(f"{words} at step {steps_done(self.folder)}".strip())

    def read_output(self, started: Started) -> str:
        """Return the output of a run that has ended, and count its tracebacks."""
        output = started.output()
        self.tracebacks += len(_TRACEBACK.findall(output))
        return output

    def finish(self, done: int | None = None) -> Outcome:
        """Run the job until it finishes, compare its results with the reference's, and return the outcome.

        done: training steps that a killed run had finished; those after the checkpoint are lost.
        """
        status, output = 1, ""
        for attempt in range(ATTEMPTS):
            started = self.start()
            status, output = started.wait(), self.read_output(started)
            if done is not None:
                self.count_lost_steps(done, output)
                done = None
            if status == 0:
                break
            time.sleep(attempt)
        if status:
            self.notes.append(f"does not finish (status {status}): {_last_line(output)}")
            return self.outcome(lost=1)
        differing = differences(self.reference, self.folder, self.job)
        if differing:
            self.notes.append(f"{len(differing)} results differ: {', '.join(differing[:3])}")
        return self.outcome(wrong=int(bool(differing)))

    def count_lost_steps(self, done: int, output: str) -> None:
        """Count the steps between those that a killed run had done and the step from which the next run resumes."""
        if self.job.trains:
            found = _RESUMED.search(output)
            finished = "steps are finished already" in output
            self.steps_lost += 0 if finished else max(0, done - (int(found[1]) if found else 0))

    def outcome(self, lost: int = 0, wrong: int = 0) -> Outcome:
        """Return the outcome to record."""
        failed = lost or wrong or self.tracebacks
        return Outcome(
            "chaos", self.fault, self.job.name, max(1, self.injected), 0 if failed else max(1, self.injected),
            steps_lost=self.steps_lost, results_lost=lost, silently_wrong=wrong, tracebacks=self.tracebacks,
            detail="; ".join(self.notes),
        )  # fmt: skip

    def refusal(self, started: Started, *names: str) -> str | None:
        """Return the message of a run that has refused to work in one line that holds one of `names`; else None."""
        status, output = started.wait(), self.read_output(started)
        line = _last_line(output)
        return line if status == 1 and any(name in line for name in names) else None


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1][:300] if lines else "no output"


@dataclass(frozen=True)
class Fault:
    """A kind of fault: its name, the jobs it is injected into, and the function that injects it."""

    name: str
    jobs: tuple[str, ...]
    inject: Callable[[Case], Outcome]
