"""The injected faults: their tables, and that a fault which changes a result is noticed."""

import json
import random
import sys
from pathlib import Path

import pytest

from benchmarks.chaos import running
from benchmarks.chaos.cases import Case
from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.jobs import APART, JOBS, Job
from benchmarks.chaos.references import References
from dmgan.__main__ import SUBCOMMANDS

ALL = JOBS | APART


def test_every_fault_has_jobs_and_every_job_has_kills():
    assert all(fault.jobs and set(fault.jobs) <= set(ALL) for fault in FAULTS.values())
    killed = {name for fault in FAULTS.values() if fault.name.startswith("kill") for name in fault.jobs}
    assert killed == set(ALL)


def test_jobs_are_subcommands_that_read_what_earlier_jobs_make():
    made = set()
    for job in JOBS.values():
        assert job.words[0] in SUBCOMMANDS
        assert all(any(read == each or each.startswith(f"{read}/") for each in made) for read in job.reads), job.name
        made |= set(job.makes)


def small_job(command: str) -> Job:
    return Job("small", (), ("results/out",), program=(sys.executable, "-c", command))


WRITE = "import json, pathlib as p; d = p.Path('results/out'); d.mkdir(); (d / 'a.bin').write_bytes(b'one');"
WRITE += "(d / 'a.json').write_text(json.dumps({'value': 1, 'provenance': {'commit': 'x'}}))"


@pytest.fixture
def reference(tmp_path) -> Path:
    """The results of an uninterrupted run of the small job."""
    folder = tmp_path / "reference" / "work"
    (folder / "results" / "out").mkdir(parents=True)
    (folder / "results" / "out" / "a.bin").write_bytes(b"one")
    (folder / "results" / "out" / "a.json").write_text(json.dumps({"value": 1, "provenance": {"commit": "y"}}))
    return folder


def small_case(reference: Path, command: str) -> Case:
    case = Case(small_job(command), "kill", reference, reference.parent.parent / "case" / "work", 1.0, random.Random(0))
    case.prepare()
    return case


def test_equal_results_survive(reference):
    outcome = small_case(reference, WRITE).finish()
    assert (outcome.survived, outcome.failures) == (1, 0)


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        (WRITE.replace("one", "two"), "silently_wrong"),
        (WRITE.replace("'value': 1", "'value': 2"), "silently_wrong"),
        (f"{WRITE}; (d / 'more').touch()", "silently_wrong"),
        (f"import traceback\n{WRITE}\ntry: 1 / 0\nexcept Exception: traceback.print_exc()", "tracebacks"),
        ("import time; raise SystemExit('small: fails')", "results_lost"),
    ],
)
def test_other_results_and_tracebacks_are_failures(reference, command, failure, monkeypatch):
    monkeypatch.setattr("benchmarks.chaos.cases.ATTEMPTS", 1)
    outcome = small_case(reference, command).finish()
    assert outcome.survived == 0 and getattr(outcome, failure) == 1


def test_steps_after_the_checkpoint_are_lost(reference):
    case = small_case(reference, WRITE)
    case.job = JOBS["train"]
    case.count_lost_steps(70, "resuming from step 60 of 108")
    case.count_lost_steps(15, "steps 108/108")  # no checkpoint yet
    case.count_lost_steps(108, "all 108 steps are finished already; nothing is trained")
    assert case.steps_lost == 10 + 15


def test_a_killed_group_leaves_no_process(reference):
    case = small_case(reference, "import os, time; os.fork() or os.setsid(); time.sleep(600)")
    started = case.start()
    while len(started.processes()) < 2:
        assert not started.ended
    started.kill_group()
    assert started.wait() == -9 and started.processes() == {}


def test_the_program_counts_its_steps_for_the_record(tmp_path, monkeypatch):
    from dmgan.runtime.progress import Progress

    monkeypatch.setenv(running.PROGRESS, str(tmp_path / "progress"))
    monkeypatch.setattr(Progress, "step", Progress.step)  # restored at the end
    running.probe_progress()
    with Progress(5, "steps") as progress:
        progress.step(3)
    assert running.steps_done(tmp_path / "work") == 3


def test_references_of_other_code_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.chaos.references.commit", lambda: "a" * 40)
    (tmp_path / "reference" / "work").mkdir(parents=True)
    (tmp_path / f"cpu-seconds-{'a' * 12}.json").write_text("{}")
    References(tmp_path)
    assert (tmp_path / "reference").exists()
    for other in ("a" * 40 + "+changes", "b" * 40):
        (tmp_path / "reference").mkdir(exist_ok=True)
        monkeypatch.setattr("benchmarks.chaos.references.commit", lambda other=other: other)
        References(tmp_path)
        assert not (tmp_path / "reference").exists()
