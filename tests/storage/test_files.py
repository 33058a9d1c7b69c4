"""Folders that are replaced: nobody else's is touched, and a kill at any moment is repaired by the same command."""

import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from dmgan.errors import UserError
from dmgan.storage import files

MADE = files.OwnFiles("sample", ("manifest.json", "unfinished.json"), r"(manifest|unfinished)\.json|\d+\.png")
_STEPS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
KILLED, FAILED = 9, 1


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files.files_below(folder)}


def killed_before(step: int, function: Callable[[], object]) -> bool:
    """Call a function in a child process that ends at once before its step of that number; whether it came to it.

    A step opens, renames or deletes a file. Nothing that a kill would leave undone is done: buffers are not written.
    """
    child = os.fork()
    if not child:
        steps = iter(range(step + 1))

        def count(event: str, _) -> None:
            if event in _STEPS and next(steps) == step:
                os._exit(KILLED)

        try:
            sys.addaudithook(count)
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(FAILED)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without waiting for the disk."""
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ({}, None),
        ({"manifest.json": "", "1.png": "", "2.png": ""}, None),
        ({"manifest.json": "", ".snakemake_timestamp": "", ".manifest.json.ab12_xyz": ""}, None),
        ({".manifest.json.ab12_xyz": ""}, None),
        ({"unfinished.json": ""}, None),
        ({"manifest.json": "", "1.png": "", "a.tex": "", "b.tex": ""}, "a.tex"),
        ({"manifest.json": "", "letters/a.tex": ""}, "letters/a.tex"),
        ({"manifest.json": "", ".git/config": ""}, ".git/config"),
        ({"manifest.json": "", "1.png.txt": ""}, "1.png.txt"),
        ({"1.png": "", "2.png": ""}, "1.png"),
    ],
)
def test_a_folder_is_replaced_that_is_empty_or_of_the_verb_alone(found, named, tmp_path):
    folder = tmp_path / "out"
    (folder / "empty").mkdir(parents=True)
    for name, text in found.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if named is None:
        files.refuse_overwrite(folder, MADE)
        with files.atomic_folder(folder, MADE) as new:
            (new / "manifest.json").write_text("new")
        assert contents(folder) == {"manifest.json": b"new"}
    else:
        with (
            pytest.raises(UserError, match=f"out: holds {named}, which sample did not write, and would be replaced"),
            files.atomic_folder(folder, MADE),
        ):
            raise AssertionError("not before the check")
        assert contents(folder) == {name: text.encode() for name, text in found.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_a_file_and_a_folder_without_a_name_are_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photographs")
    (tmp_path / "file").write_text("mine")
    for name in ("link", "file"):
        with pytest.raises(UserError, match=f"{name}: is no folder but a file or a link"):
            files.refuse_overwrite(tmp_path / name, MADE)
    monkeypatch.chdir(tmp_path)
    for name in (".", ".."):
        with pytest.raises(UserError, match="cannot be replaced .* give a folder with a name of its own"):
            files.refuse_overwrite(Path(name), MADE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").touch()
    (tmp_path / "out" / "letters").symlink_to(tmp_path / "photographs")
    with pytest.raises(UserError, match="out: holds letters, which"):
        files.refuse_overwrite(tmp_path / "out", MADE)


def test_a_file_that_comes_during_the_work_is_not_lost(tmp_path):
    with (
        pytest.raises(UserError, match="out: holds letter.txt, which sample did not write"),
        files.atomic_folder(tmp_path / "out", MADE) as new,
    ):
        (new / "manifest.json").write_text("new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "letter.txt").write_text("mine")
    assert contents(tmp_path) == {"out/letter.txt": b"mine"}


def test_a_replacement_killed_at_any_step_is_mended_by_the_same_command(tmp_path):
    old = {"manifest.json": b"old", "1.png": b"old", "2.png": b"old"}
    new = {"manifest.json": b"new", "1.png": b"new"}

    def replace() -> None:
        with files.atomic_folder(tmp_path / "out", MADE) as folder:
            for name, content in new.items():
                (folder / name).write_bytes(content)

    step, going = 0, True
    while going:
        shutil.rmtree(tmp_path)
        (tmp_path / "out").mkdir(parents=True)
        for name, content in old.items():
            (tmp_path / "out" / name).write_bytes(content)
        going = killed_before(step, replace)
        assert any(contents(folder) in (old, new) for folder in tmp_path.iterdir()), step
        if (tmp_path / "out").exists():
            assert contents(tmp_path / "out") in (old, new), step
        replace()
        assert contents(tmp_path / "out") == new and not (tmp_path / ".out.replaced").exists(), step
        step += 1
    assert step > 10
