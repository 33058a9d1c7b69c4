"""The record of reliability and its page."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from benchmarks import reliability
from benchmarks.reliability import Outcome

KILL = Outcome("chaos", "kill -9 of the process", "train", tried=1, survived=1, steps_lost=3, detail="seed 7, 2.5 s")
BROKEN = Outcome("chaos", "flipped bits", "sample", tried=2, survived=1, silently_wrong=1, detail="seed 8: index.npz")
INPUTS = Outcome("fuzz", "cut PNG", "prepare", tried=12345, survived=12345)
JOBS = Outcome("slurm", "smoke DAG", "train", tried=5, survived=4, retried=1)


def test_rows_are_read_back(tmp_path):
    file = tmp_path / "results" / "reliability.csv"
    assert reliability.read(file) == []
    for outcome in (KILL, INPUTS):
        reliability.record(outcome, file)
    rows = reliability.read(file)
    assert [replace(row, date="", commit="") for row in rows] == [KILL, INPUTS]
    assert rows[0].date.endswith("Z") and rows[0].commit


def test_the_record_itself_is_no_change_of_the_project(tmp_path, monkeypatch):
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    record, page, code = tmp_path / "benchmarks/results/x.csv", tmp_path / "benchmarks/x.md", tmp_path / "code.py"
    record.parent.mkdir(parents=True)
    for path in (record, page, code):
        path.write_text("1\n")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    monkeypatch.setattr(reliability, "FILE", record)
    monkeypatch.setattr(reliability, "PAGE", page)
    record.write_text("2\n")
    page.write_text("2\n")
    assert re.fullmatch("[0-9a-f]{12}", reliability._commit.__wrapped__())
    code.write_text("2\n")
    assert re.fullmatch("[0-9a-f]{12}[+]", reliability._commit.__wrapped__())


def test_commands_record_at_the_same_time(tmp_path):
    file = tmp_path / "reliability.csv"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: reliability.record(KILL, file), range(80)))
    assert [replace(row, date="", commit="") for row in reliability.read(file)] == [KILL] * 80


def test_page_sums_rows_and_lists_failures():
    page = reliability.page_of([KILL, KILL, BROKEN, INPUTS, JOBS])
    for line in (
        "| faults injected | 4 |",
        "| of these survived | 3 |",
        "| training steps lost | 6 |",
        "| inputs tried | 12,345 |",
        "| SLURM jobs run | 5 |",
        "| of these retried | 1 |",
        "| results that are wrong without a message | 1 |",
        "| kill -9 of the process | train | 2 | 2 | 6 |",
        "| cut PNG | prepare | 12,345 | 12,345 |",
        "## Open failures",
    ):
        assert line in page.splitlines()
    assert "- flipped bits, sample (): 1 results that are wrong without a message. seed 8: index.npz" in page
    assert "- smoke DAG, train (): 1 of 5 not survived." in page


def test_a_fixed_failure_is_listed_and_not_in_the_totals():
    page = reliability.page_of([replace(BROKEN, test="tests/data/test_packed.py")])
    assert "| results that are wrong without a message | 0 |" in page
    assert "## Failures found and fixed" in page and "Test: `tests/data/test_packed.py`." in page
    assert "Open failures" not in page and "## Inputs" not in page


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"source": "monkey"}, "source 'monkey': unknown"),
        ({"survived": 2}, "survived: 2 of 1 is impossible"),
        ({"results_lost": False}, "results_lost: must be an integer, not False"),
        ({"steps_lost": -1}, "steps_lost: must be 0 or more, not -1"),
    ],
)
def test_impossible_outcomes_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(KILL, **changed)


def test_a_damaged_file_is_refused_by_line(tmp_path):
    file = tmp_path / "reliability.csv"
    reliability.record(KILL, file)
    file.write_text(file.read_text() + "chaos,kill\n")
    with pytest.raises(ValueError, match=r"reliability.csv:3: does not have the columns source, kind"):
        reliability.read(file)
    file.write_text(file.read_text().replace("chaos,kill\n", "").replace(",1,1,0,", ",1,none,0,"))
    with pytest.raises(ValueError, match="reliability.csv:2: invalid literal"):
        reliability.read(file)


def test_the_page_is_that_of_the_file():
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.page_of(reliability.read())
