"""Output folders: other people's files are kept, and a run killed at any step is repaired by the same command."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from dmgan.errors import UserError
from dmgan.storage import files
from tests.reading import read_csv
from tests.storage.killed_steps import contents, killed_before

MADE = files.OwnFiles("sample", ("manifest.json", "unfinished.json"), r"(manifest|unfinished)\.json|\d+\.png")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Do not wait for the disk."""
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
def test_only_an_empty_folder_or_one_of_the_same_subcommand_is_replaced(found, named, tmp_path):
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


def test_a_link_a_file_or_a_folder_without_a_name_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photographs")
    (tmp_path / "file").write_text("mine")
    for name in ("link", "file"):
        with pytest.raises(UserError, match=f"{name}: is a file or a link, not a folder"):
            files.refuse_overwrite(tmp_path / name, MADE)
    monkeypatch.chdir(tmp_path)
    for name in (".", ".."):
        with pytest.raises(UserError, match="cannot be replaced .* give a path that ends in a folder name"):
            files.refuse_overwrite(Path(name), MADE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").touch()
    (tmp_path / "out" / "letters").symlink_to(tmp_path / "photographs")
    with pytest.raises(UserError, match="out: holds letters, which"):
        files.refuse_overwrite(tmp_path / "out", MADE)


def test_a_file_that_appears_during_the_work_is_kept(tmp_path):
    with (
        pytest.raises(UserError, match="out: holds letter.txt, which sample did not write"),
        files.atomic_folder(tmp_path / "out", MADE) as new,
    ):
        (new / "manifest.json").write_text("new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "letter.txt").write_text("mine")
    assert contents(tmp_path) == {"out/letter.txt": b"mine"}


@pytest.mark.slow
def test_a_replacement_killed_at_any_step_is_repaired_by_the_same_command(tmp_path):
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


def _killed_while_writing(path: Path) -> None:
    child = os.fork()
    if not child:
        with files.atomic_file(path) as file:
            file.write(b"half")
            file.flush()
            os._exit(0)
    os.waitpid(child, 0)


def test_temporaries_of_killed_jobs_are_deleted_and_those_in_use_are_kept(tmp_path):
    """By the next write of the same file, and by the next job that locks the folder."""
    mine = tmp_path / "run" / ".options.json.backup_1x"  # nine letters: no temporary
    for name in ("options.json", "options.json.copy", "history.csv"):
        _killed_while_writing(tmp_path / "run" / name)
    mine.touch()
    assert len(os.listdir(tmp_path / "run")) == 4
    files.write_text(tmp_path / "run" / "options.json", "whole")
    assert sorted(each.rpartition(".")[0] for each in os.listdir(tmp_path / "run") if each[-5:] != ".json") == [
        ".history.csv", ".options.json", ".options.json.copy",
    ]  # fmt: skip
    with files.atomic_file(tmp_path / "run" / "metrics.json") as file:  # by a job that does not lock the folder
        file.write(b"all")
        with files.locked(tmp_path / "run"):
            pass
    assert sorted(os.listdir(tmp_path / "run")) == [mine.name, "metrics.json", "options.json"]
    assert (tmp_path / "run" / "metrics.json").read_bytes() == b"all"


def test_temporary_folders_of_killed_jobs_are_deleted_and_those_in_use_are_kept(tmp_path):
    child = os.fork()
    if not child:
        with files.atomic_folder(tmp_path / "out", MADE):
            os._exit(0)
    os.waitpid(child, 0)
    (tmp_path / ".out.replaced").mkdir()  # an old folder that a killed job renamed
    assert len(os.listdir(tmp_path)) == 2
    with files.atomic_folder(tmp_path / "out", MADE) as first:
        (first / "manifest.json").write_text("first")
        assert sorted(os.listdir(tmp_path)) == sorted([first.name, ".out.replaced"])
        with files.locked(tmp_path / "out"), files.atomic_folder(tmp_path / "out", MADE) as second:
            (second / "manifest.json").write_text("second")
    assert contents(tmp_path / "out") == {"manifest.json": b"first"}


def test_folders_are_flushed_after_a_rename(tmp_path, monkeypatch):
    done = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda *paths: (replace(*paths), done.append("rename")))
    monkeypatch.setattr(os, "fsync", lambda each: (fsync(each), done.append(os.readlink(f"/proc/self/fd/{each}"))))
    files.write_text(tmp_path / "a.txt", "a")
    assert done[-2:] == ["rename", str(tmp_path)]
    with files.atomic_folder(tmp_path / "out", MADE) as folder:
        (folder / "manifest.json").touch()
    assert done[-2:] == ["rename", str(tmp_path)]


def test_no_cell_of_a_csv_is_a_formula_or_holds_a_control_character(tmp_path):
    cells = {
        "=cmd|' /C calc'!A1": "'=cmd|' /C calc'!A1", "@SUM(1)": "'@SUM(1)", "-x": "'-x", "+1x": "'+1x", "-1.5": "-1.5",
        "+3e-4": "+3e-4", "\x1b[31mred\nbird": r"\x1b[31mred\nbird", "\t=1": r"\t=1", "half \ud83d": r"half \ud83d",
        "grün, 鳥": "grün, 鳥",
    }  # fmt: skip
    files.write_csv(tmp_path / "a.csv", [{"text": text, "number": -1} for text in cells])
    assert [row["text"] for row in read_csv(tmp_path / "a.csv")] == list(cells.values())
    assert {row["number"] for row in read_csv(tmp_path / "a.csv")} == {"-1"}


def test_only_regular_files_are_hashed(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opened in the ordinary way it waits for ever
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(OSError, match="not a regular file"):
            files.file_sha256(tmp_path / name)


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def flock(*given):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with (
        pytest.raises(UserError, match="out.lock: cannot be locked .No locks available.; give a folder on a file sys"),
        files.locked(tmp_path / "out"),
    ):
        raise AssertionError("locked")


def test_a_lock_file_that_is_a_link_leaves_its_target_unchanged(tmp_path):
    (tmp_path / "precious").write_text("content")
    (tmp_path / ".out.lock").symlink_to(tmp_path / "precious")
    with (
        pytest.raises(UserError, match="out.lock: could not be created .*; fix the permissions"),
        files.locked(tmp_path / "out"),
    ):
        raise AssertionError("locked")
    assert (tmp_path / "precious").read_text() == "content"
