"""MLflow's database deleted, locked, damaged or replaced while a training is at work."""

import sqlite3
from collections.abc import Callable

from benchmarks.chaos.cases import Case
from benchmarks.chaos.jobs import MLFLOW_FILE
from benchmarks.reliability import Outcome


def delete(case: Case) -> Outcome:
    """Delete the database."""
    return _during(case, lambda: (case.folder / MLFLOW_FILE).unlink())


def damage(case: Case) -> Outcome:
    """Overwrite a part of the database with random bytes."""

    def overwrite() -> None:
        content = bytearray((case.folder / MLFLOW_FILE).read_bytes())
        start = case.random.choice([0, case.random.randrange(len(content))])
        content[start : start + 4096] = case.random.randbytes(len(content[start : start + 4096]))
        (case.folder / MLFLOW_FILE).write_bytes(content)

    return _during(case, overwrite)


def empty(case: Case) -> Outcome:
    """Cut the database to no bytes."""
    return _during(case, lambda: (case.folder / MLFLOW_FILE).write_bytes(b""))


def lock(case: Case) -> Outcome:
    """Lock the database until the job ends."""
    connection = None

    def hold() -> None:
        nonlocal connection
        connection = sqlite3.connect(case.folder / MLFLOW_FILE, timeout=60, isolation_level=None)
        connection.execute("begin exclusive")

    try:
        return _during(case, hold)
    finally:
        if connection is not None:
            connection.close()


def _during(case: Case, harm: Callable[[], object]) -> Outcome:
    """Harm the database before the job or at a random moment; the job must finish as if it had none."""
    case.prepare()
    before = case.random.random() < 0.3
    if before:
        harm()
    started = case.start()
    if not before:
        case.reach_moment(started)
        harm()
    case.note_injection("before the job" if before else "")
    status = started.wait()
    output = case.read_output(started)
    if status:
        case.notes.append(f"the job ended with status {status}: {output[-200:]}")
        return case.outcome(lost=1)
    return case.finish()
