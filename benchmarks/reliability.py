"""Record of injected faults, tried inputs and cluster jobs, results/reliability.csv, and its page, reliability.md.

`make chaos` injects faults, `make fuzz` tries inputs, `make test-slurm` runs jobs on SLURM. Each appends rows to one
file as they come, and the page is written from all rows. Imports nothing of the project, so that a fault in the project
cannot change what is counted.
"""

import csv
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "results" / "reliability.csv"
PAGE = Path(__file__).parent / "reliability.md"
COMMANDS = {"chaos": "make chaos", "fuzz": "make fuzz", "slurm": "make test-slurm"}  # source -> command
FAILURES = {
    "results_lost": "results lost",
    "silently_wrong": "results that are wrong without a message",
    "code_executed": "code executed from data",
    "tracebacks": "tracebacks",
}


@dataclass(frozen=True)
class Outcome:
    """Result of one fault, or of `tried` inputs or jobs of one kind.

    source: key of COMMANDS. kind: the fault, the kind of input, or the kind of cluster run. target: the job, or the
    reader of the input. survived: faults after which the results are bit-exact or one line names what is wrong; inputs
    that are read correctly or refused in one line; jobs that finished. steps_lost: training steps computed again.
    test: for a failure that is fixed, the test that holds the fix; its failures are listed, but not in the totals.
    date (UTC, ISO 8601), commit: set by `record`.
    """

    source: str
    kind: str
    target: str
    tried: int
    survived: int
    retried: int = 0
    steps_lost: int = 0
    results_lost: int = 0
    silently_wrong: int = 0
    code_executed: int = 0
    tracebacks: int = 0
    detail: str = ""
    test: str = ""
    date: str = ""
    commit: str = ""

    def __post_init__(self):
        if self.source not in COMMANDS:
            raise ValueError(f"source {self.source!r}: unknown; known sources are {', '.join(COMMANDS)}")
        counts = {field.name: getattr(self, field.name) for field in fields(self) if field.type is int}
        if odd := [name for name, value in counts.items() if type(value) is not int]:
            raise ValueError(f"{odd[0]}: must be an integer, not {counts[odd[0]]!r}")
        if negative := [name for name, value in counts.items() if value < 0]:
            raise ValueError(f"{negative[0]}: must be 0 or more, not {counts[negative[0]]}")
        if self.survived > self.tried:
            raise ValueError(f"survived: {self.survived} of {self.tried} is impossible")

    @property
    def failures(self) -> int:
        """Number of failures of the kinds in FAILURES."""
        return sum(getattr(self, name) for name in FAILURES)


COLUMNS = [field.name for field in fields(Outcome)]


def record(outcome: Outcome, file: Path | None = None) -> None:
    """Append a row to the file, under a lock: several commands may record at the same time. Default file: FILE."""
    file = file or FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with open(file, "a", encoding="utf-8", newline="") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if os.fstat(stream.fileno()).st_size == 0:
            writer.writeheader()
        writer.writerow(asdict(replace(outcome, date=date, commit=_commit())))


@cache
def _commit() -> str:
    """Return the abbreviated commit of the project, with "+" if tracked files are changed; "" outside git.

    The record and its page do not count: every command changes them.
    """
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        own = [f":(exclude,top){path.relative_to(FILE.parents[2])}" for path in (FILE, PAGE)]
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *own)
    except FileNotFoundError:
        return ""
    return f"{commit}+" if changed else commit


def _git(*words: str) -> str:
    """Return the output of a git command in the project; "" if the project is no repository."""
    return subprocess.run(["git", *words], cwd=FILE.parent, capture_output=True, text=True).stdout.strip()


def read(file: Path | None = None) -> list[Outcome]:
    """Return all recorded rows, in their order; an empty list without a file."""
    file = file or FILE
    if not file.exists():
        return []
    with open(file, encoding="utf-8", newline="") as stream:
        return [_outcome(cells, f"{file}:{number}") for number, cells in enumerate(csv.DictReader(stream), start=2)]


def _outcome(cells: dict[str, str], place: str) -> Outcome:
    """Return the outcome of a line's cells; raise ValueError naming the line if it is malformed."""
    if list(cells) != COLUMNS or None in cells.values():
        raise ValueError(f"{place}: does not have the columns {', '.join(COLUMNS)}; restore the file")
    try:
        return Outcome(**{field.name: field.type(cells[field.name]) for field in fields(Outcome)})
    except ValueError as error:
        raise ValueError(f"{place}: {error}; restore the file") from error


def write_page(file: Path | None = None, page: Path | None = None) -> None:
    """Write the page from all recorded rows. Default page: PAGE."""
    (page or PAGE).write_text(page_of(read(file)), encoding="utf-8")


def page_of(rows: list[Outcome]) -> str:
    """Return the page as Markdown."""
    parts = [_INTRODUCTION, _totals(rows)]
    parts += [_section(*section, rows) for section in _SECTIONS if any(row.source == section[0] for row in rows)]
    parts += [_failures(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


_INTRODUCTION = """\
# Reliability

`make chaos` kills jobs at random moments, fills the disk, makes folders read-only, moves the clock, deletes and damages
MLflow's database, and flips bits in stored files. Then it runs each job again until it finishes, and compares every
result with that of an uninterrupted run, byte by byte. `make fuzz` gives damaged and hostile files to every reader.
`make test-slurm` starts a one-node SLURM cluster and runs the workflow on it. Each command appends its outcomes to
`results/reliability.csv`, from which this page is written.

A fault is survived if the results have the same bits as those of an uninterrupted run, or if a one-line message names
the file and what is wrong with it. An input is survived if it is read correctly or refused in one line. Steps lost are
training steps that were computed a second time, because they came after the last checkpoint."""

# source, heading, column names (kind, target, tried, survived), further columns (name -> attribute)
_SECTIONS: list[tuple[str, str, tuple[str, str, str, str], dict[str, str]]] = [
    ("chaos", "Faults", ("fault", "job", "injected", "survived"), {"steps lost": "steps_lost"}),
    ("fuzz", "Inputs", ("input", "reader", "tried", "read or refused in one line"), {}),
    ("slurm", "SLURM", ("run", "kinds of job", "jobs", "finished"), {"retried": "retried", "steps lost": "steps_lost"}),
]


def _sum(rows: Iterable[Outcome], name: str) -> int:
    return sum(getattr(row, name) for row in rows)


def _totals(rows: list[Outcome]) -> str:
    """Return the table of totals; failures that are fixed are not counted."""
    of = {source: [row for row in rows if row.source == source] for source in COMMANDS}
    lines = {
        "faults injected": _sum(of["chaos"], "tried"),
        "of these survived": _sum(of["chaos"], "survived"),
        "training steps lost": _sum(of["chaos"], "steps_lost"),
        "inputs tried": _sum(of["fuzz"], "tried"),
        "of these read or refused in one line": _sum(of["fuzz"], "survived"),
        "SLURM jobs run": _sum(of["slurm"], "tried"),
        "of these retried": _sum(of["slurm"], "retried"),
    }
    open_rows = [row for row in rows if not row.test]
    lines |= {name: _sum(open_rows, attribute) for attribute, name in FAILURES.items()}
    return _table(["all commands", "number"], [[name, f"{value:,}"] for name, value in lines.items()])


def _section(source: str, heading: str, names: tuple[str, ...], further: dict[str, str], rows: list[Outcome]) -> str:
    """Return the section of one command: a row for each kind and target, sorted."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    of = [row for row in rows if row.source == source]
    for row in of:
        groups.setdefault((row.kind, row.target), []).append(row)
    attributes = ["tried", "survived", *further.values()]
    lines = [[*key, *(f"{_sum(group, name):,}" for name in attributes)] for key, group in sorted(groups.items())]
    commits = ", ".join(dict.fromkeys(row.commit for row in of if row.commit))
    when = f"`{COMMANDS[source]}`, {of[0].date[:10]} to {of[-1].date[:10]}, commits {commits or 'unknown'}."
    return f"## {heading}\n\n{when}\n\n{_table([*names, *further], lines)}"


def _failures(rows: list[Outcome]) -> str:
    """Return the lists of open failures and of failures that are fixed."""
    failed = [row for row in rows if row.failures or row.survived < row.tried]
    wanted: list[tuple[str, Callable[[Outcome], bool]]] = [
        ("Open failures", lambda row: not row.test),
        ("Failures found and fixed", lambda row: bool(row.test)),
    ]
    parts = []
    for heading, chosen in wanted:
        if listed := [row for row in failed if chosen(row)]:
            parts.append(f"## {heading}\n\n" + "\n".join(map(_failure, listed)))
    return "\n\n".join(parts)


def _failure(row: Outcome) -> str:
    """Return the list item of one failure."""
    counts = [f"{getattr(row, name)} {word}" for name, word in FAILURES.items() if getattr(row, name)]
    words = ", ".join(counts) or f"{row.tried - row.survived} of {row.tried} not survived"
    fixed = f" Test: `{row.test}`." if row.test else ""
    return f"- {row.kind}, {row.target} ({row.commit}): {words}. {row.detail}{fixed}"


def _table(names: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table whose cells that are numbers are aligned to the right."""
    numeric = [all(line[i].replace(",", "").isdigit() for line in lines) for i in range(len(names))]
    rule = ["--:" if right else "---" for right in numeric]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [names, rule, *lines])
