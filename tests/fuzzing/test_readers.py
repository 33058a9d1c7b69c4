"""Every reader on mutated files: it reads them, or refuses them in one line, within a second."""

import ast
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing.readers import NOT_TRIED, READERS
from tests.fuzzing.seeds import make_seeds
from tests.fuzzing.trying import Trial
from tests.paths import ROOT

INPUTS = 2000  # of all readers together
FOUND = Path(__file__).parent / "found"  # inputs at which a reader failed, in folders of its name
_SHARE = INPUTS / sum(reader.weight for reader in READERS.values())
_LOW = {  # what functions that read files call
    "read_regular_file", "open_regular_file", "read_text", "read_json", "read_object", "read_yaml", "parse_json",
    "read_arrays", "read_header", "open_array", "read_lines", "load_plain_pickle", "check_weights", "load_weights",
    "build_network", "read_state_dict", "safe_open", "DictReader", "safe_load",
}  # fmt: skip
_LOW_OF = {("torch", "load"), ("np", "load"), ("json", "loads"), ("csv", "reader"), ("Image", "open")}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    """Valid files of every format."""
    folder = tmp_path_factory.mktemp("fuzzing") / "seeds"
    make_seeds(folder)
    return folder


@pytest.fixture
def trial(name, seeds, tmp_path) -> Trial:
    return Trial(READERS[name], seeds, tmp_path / "copy")


@pytest.mark.parametrize("name", READERS)
def test_a_reader_reads_a_wrong_file_or_refuses_it_in_one_line(name, trial):
    assert trial.try_input(trial.valid) is None and trial.result.read == 1, "the valid file is not read"

    @settings(
        max_examples=max(3, round(_SHARE * READERS[name].weight)), derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def check(random):
        finding = trial.try_mutation(random)
        assert finding is None, f"{finding.place}: {finding.what}: {finding.data[:300]!r}"

    check()


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_at_which_a_reader_failed_is_read_or_refused(path, seeds, tmp_path):
    finding = Trial(READERS[path.parent.name], seeds, tmp_path / "copy").try_input(path.read_bytes())
    assert finding is None, f"{finding.place}: {finding.what}"


def functions_that_read() -> dict[tuple[str, int], str]:
    """Return file and line -> name of all functions of the project that call a function of _LOW or _LOW_OF."""
    found = {}
    for path in [*ROOT.glob("dmgan/**/*.py"), *ROOT.glob("workflow/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(map(_reads, ast.walk(node))):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                found[str(path), first] = f"{path.relative_to(ROOT).with_suffix('')}:{node.name}"
    return found


def _reads(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id in _LOW
    of = getattr(getattr(called, "value", None), "id", None)
    return isinstance(called, ast.Attribute) and (called.attr in _LOW or (of, called.attr) in _LOW_OF)


def test_every_function_that_reads_files_is_reached_by_a_reader_of_the_table(seeds, tmp_path):
    wanted, reached = functions_that_read(), set()

    def watch(frame, event, argument):
        if event == "call" and (place := (frame.f_code.co_filename, frame.f_code.co_firstlineno)) in wanted:
            reached.add(place)

    for number, reader in enumerate(READERS.values()):
        trial = Trial(reader, seeds, tmp_path / str(number))
        sys.setprofile(watch)
        try:
            reader.read(trial.path)
        finally:
            sys.setprofile(None)
    missing = {name for place, name in wanted.items() if place not in reached}
    assert missing == set(NOT_TRIED), "add a reader to tests/fuzzing/readers.py, or the reason to NOT_TRIED"
