"""Preparation of photographs: reported decisions, output folders, resumption after a kill, full disks."""

import json
import os
import pickle
import resource
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dmgan.__main__ import main
from dmgan.data import prepare
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prepare import prepare_photographs
from dmgan.data.sources.folder import list_folder
from dmgan.errors import UserError
from dmgan.storage.files import file_sha256
from tests.data.made_photographs import jpeg
from tests.data.made_sources import found, make_odd_folder
from tests.storage.full_disk import check_full_disk
from tests.storage.killed_steps import contents, killed_before


def test_every_decision_is_recorded_and_strict_makes_it_an_error(tmp_path, capsys):
    root, out = make_odd_folder(tmp_path), tmp_path / "out"
    prepared = ["prepare", "--source", "folder", "--root", str(root), "--out", str(out), "--image-size", "32"]
    assert main([*prepared, "--strict", "--workers", "1"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "--strict: decisions: " in line and "1 x truncated or corrupt file (image left out)" in line
    named = json.loads((tmp_path / "out.decisions.json").read_text())
    assert sorted(each["image"] for each in named) == ["grey.jpg", "tiny.png", "torn.jpg"]
    assert not out.exists()
    assert main([*prepared, "--workers", "1"]) == 0
    log = capsys.readouterr().err
    assert "resuming after 12 of 12 photographs" in log and "11 images kept of 12" in log
    description = PreparedDataset(out).description
    assert description["decisions"] == named and sum(description["images"].values()) == 11
    assert description["inputs"]["images"]["count"] == 12
    assert {path.name for path in out.iterdir()} == {*description["sha256"], "dataset.json"}
    assert description["sha256"] == {p.name: file_sha256(p) for p in out.iterdir() if p.name != "dataset.json"}


def test_unusable_images_are_left_out_before_the_split_is_drawn(tmp_path):
    root = make_odd_folder(tmp_path)
    drawn = [each.name for each in list_folder(root).images if each.split == "test"]
    assert len(drawn) == 1  # of twelve: a broken file, or an image without a caption, must not be all of the test
    for spoil in (lambda: (root / drawn[0]).write_bytes(b""), lambda: (root / drawn[0]).with_suffix(".txt").unlink()):
        spoil()
        prepare_photographs(list_folder(root), tmp_path / "out", 32, workers=1)
        assert PreparedDataset(tmp_path / "out").description["images"] == {"train": 9, "test": 1}


def test_both_splits_are_checked_with_the_summary_before_photographs_are_read(tmp_path, monkeypatch):
    rows = [{"image": f"{n}.jpg", "captions": ["a bird" if n else "..."], "split": "train" if n else "test"}
            for n in range(3)]  # fmt: skip
    for row in rows:
        (tmp_path / row["image"]).write_bytes(jpeg())
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(prepare, "_Photographs", None)  # nothing is read
    with pytest.raises(UserError, match="has no test image, and both splits are needed; decisions: 1 x caption with"):
        prepare_photographs(list_folder(tmp_path), tmp_path / "out", 32, workers=1)
    for row in rows:
        row.pop("split")
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows[:2])))
    with pytest.raises(UserError, match="has one image, too few for a training and a test split; decisions: "):
        prepare_photographs(list_folder(tmp_path), tmp_path / "out", 32, workers=1)
    (tmp_path / "captions.jsonl").write_text(json.dumps(rows[0]))
    with pytest.raises(UserError, match="has no image to prepare; decisions: .*1 x caption without a word"):
        prepare_photographs(list_folder(tmp_path), tmp_path / "out", 32, workers=1)


def test_a_split_that_loses_its_photographs_is_refused_with_the_cause(tmp_path):
    for number, split in enumerate(("train", "train", "test")):
        (tmp_path / split).mkdir(exist_ok=True)
        (tmp_path / split / f"{number}.jpg").write_bytes(jpeg() if split == "train" else b"")
        (tmp_path / split / f"{number}.txt").write_text("a bird\n")
    with pytest.raises(UserError, match="has no test image, .* 1 x no image file of a known kind .image left out."):
        prepare_photographs(list_folder(tmp_path), tmp_path / "out", 32, workers=1)


def test_a_photograph_of_both_splits_is_recorded(tmp_path):
    for name in ("train/a", "train/b", "test/copy_of_a", "test/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(colour=(0, 0, 99) if name.endswith("a") else (ord(name[-1]), 0, 0)))
        (tmp_path / f"{name}.txt").write_text("a bird\n")
    prepare_photographs(list_folder(tmp_path), tmp_path / "out" / "set", 32, workers=1)
    (decision,) = PreparedDataset(tmp_path / "out" / "set").description["decisions"]
    assert (decision["image"], decision["detail"]) == ("test/copy_of_a.jpg", "train/a.jpg")
    assert decision["found"] == "test image that is also a training image"


def test_what_is_enlarged_shared_or_lost_is_said(tmp_path, capsys):
    root = make_odd_folder(tmp_path)
    for name in ("0", "1"):
        (root / f"{name}.txt").write_text("ein grüner Käfer\n")
    prepared = ["prepare", "--source", "folder", "--root", str(root), "--image-size", "64", "--workers", "1", "--out"]
    assert main([*prepared, str(tmp_path / "folded")]) == 0
    log = capsys.readouterr().err
    assert "12 of 12 images or crops are smaller than 76 px and were enlarged" not in log  # the torn file was not
    assert "11 of 12 images or crops are smaller than 76 px and were enlarged" in log
    assert "2 of 11 captions are captions of several images; " in log and "lose letters" not in log
    assert "kafer" in PreparedDataset(tmp_path / "folded").vocabulary.words
    assert main([*prepared, str(tmp_path / "dropped"), "--letters", "released"]) == 0
    assert "4 words of captions lose letters that are not ASCII, such as 'grüner', which becomes 'grner', " in (
        capsys.readouterr().err
    )
    assert "kfer" in PreparedDataset(tmp_path / "dropped").vocabulary.words


def test_a_preparation_replaces_only_its_own_folder(tmp_path, capsys):
    root, out = make_odd_folder(tmp_path), tmp_path / "out"
    photographs = {path: path.read_bytes() for path in root.iterdir()}
    prepared = ["prepare", "--source", "folder", "--root", str(root), "--image-size", "32", "--workers", "1", "--out"]
    out.mkdir()  # as Snakemake does
    assert main([*prepared, str(out)]) == 0 and main([*prepared, str(out)]) == 0
    for over in (root, tmp_path):
        assert main([*prepared, str(over)]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert f"--out {over}: would replace --root {root}; give another folder" in line
    captions = tmp_path / "elsewhere" / "captions.jsonl"
    captions.parent.mkdir()
    captions.write_text(json.dumps({"image": "0.jpg", "captions": ["a bird"]}) + "\n")
    assert main([*prepared, str(captions.parent), "--captions", str(captions)]) == 1
    assert "would replace --captions" in capsys.readouterr().err
    with pytest.raises(UserError, match="mine: holds 0.jpg, which prepare did not write"):
        prepare_photographs(list_folder(root), root, 32, workers=1)
    (out / "notes.md").write_text("mine")
    assert main([*prepared, str(out)]) == 1
    log = capsys.readouterr().err
    assert "out: holds notes.md, which prepare did not write" in log and "photographs" not in log
    assert {path: path.read_bytes() for path in root.iterdir()} == photographs
    assert captions.exists() and (out / "notes.md").read_text() == "mine" and len(PreparedDataset(out)) == 11


def test_an_interrupted_preparation_resumes_with_the_same_bytes(tmp_path, monkeypatch, capsys):
    listing = list_folder(make_odd_folder(tmp_path))
    monkeypatch.setattr(prepare, "_CHUNK", 2)
    prepare_photographs(listing, tmp_path / "whole", 32, name="out", workers=2)
    append, appended = prepare._Photographs._append, []

    def killed(self, chunk, pixels, lines):
        if len(appended) == 3:
            pixels.write(b"half an image")  # interrupted in the middle of a write
            raise KeyboardInterrupt
        appended.append(len(chunk))
        append(self, chunk, pixels, lines)

    with monkeypatch.context() as patch:
        patch.setattr(prepare._Photographs, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_photographs(listing, tmp_path / "torn", 32, name="out", workers=1)
    assert not (tmp_path / "torn").exists()
    capsys.readouterr()
    prepare_photographs(listing, tmp_path / "torn", 32, name="out", workers=1)
    assert "resuming after 6 of 12 photographs" in capsys.readouterr().err
    for path in (tmp_path / "whole").iterdir():
        assert file_sha256(path) == file_sha256(tmp_path / "torn" / path.name), path.name


@pytest.mark.slow
def test_a_killed_preparation_leaves_neither_workers_nor_a_lock(tmp_path, monkeypatch, capsys):
    listing = list_folder(make_odd_folder(tmp_path))
    monkeypatch.setattr(prepare, "_CHUNK", 1)
    append = prepare._Photographs._append
    child = os.fork()
    if not child:
        try:  # the child: read slowly until it is killed
            prepare._Photographs._append = lambda *arguments: (time.sleep(0.3), append(*arguments))
            prepare_photographs(listing, tmp_path / "out", 32, workers=2)
        finally:
            os._exit(0)
    lines, deadline = tmp_path / ".out.partial" / "read.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and not (lines.exists() and lines.read_text().count("\n") >= 4):
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not (tmp_path / "out").exists()
    prepare_photographs(listing, tmp_path / "out", 32, workers=1)
    assert "of 12 photographs" in capsys.readouterr().err
    prepare_photographs(listing, tmp_path / "whole", 32, name="out", workers=1)
    for path in (tmp_path / "whole").iterdir():
        assert file_sha256(path) == file_sha256(tmp_path / "out" / path.name), path.name


@pytest.mark.slow
def test_a_preparation_killed_at_any_step_of_the_final_rename_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "sync", lambda: None)
    root, home = make_odd_folder(tmp_path), tmp_path / "home"
    prepare_photographs(list_folder(root), tmp_path / "old", 24, workers=1)
    prepare_photographs(list_folder(root), tmp_path / "whole", 32, name="out", workers=1)
    old, whole = contents(tmp_path / "old"), contents(tmp_path / "whole")
    stopped = []

    def stop(photographs) -> None:
        stopped.append(photographs)
        raise KeyboardInterrupt

    step, going = 0, True
    while going:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(tmp_path / "old", home / "out")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(prepare._Photographs, "publish", stop)
            prepare_photographs(list_folder(root), home / "out", 32, workers=1)
        going = killed_before(step, stopped[-1].publish)
        if (home / "out").exists():
            found = contents(home / "out")
            assert found in (old, whole) or whole.items() <= found.items(), step
        else:
            assert whole.items() <= contents(stopped[-1].folder).items(), step
        capsys.readouterr()
        prepare_photographs(list_folder(root), home / "out", 32, workers=1)
        assert ("resuming after 12 of 12 photographs" in capsys.readouterr().err) == going, step
        assert contents(home / "out") == whole and sorted(os.listdir(home)) == [".out.lock", "out"], step
        step += 1
    assert step > 5


@pytest.mark.parametrize("name", ["captions.json", "index.npz"])
def test_a_full_disk_is_one_error_line_and_the_preparation_resumes(name, tmp_path, capsys):
    """A file-size limit stands in for the full disk."""
    root = make_odd_folder(tmp_path)
    for path in root.glob("*.txt"):
        path.write_text("a b c d e f g h\n" * 60)
    prepared = ["prepare", "--source", "folder", "--root", str(root), "--image-size", "8", "--workers", "1", "--out"]
    assert main([*prepared, str(tmp_path / "whole"), "--name", "out"]) == 0
    limit = (tmp_path / "whole" / name).stat().st_size - 1
    assert (tmp_path / "whole" / "images.bin").stat().st_size < limit
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        assert main([*prepared, str(tmp_path / "out")]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log = capsys.readouterr().err
    assert "out: could not be read or written (File too large); free space or fix the permissions, then run" in log
    assert "Traceback" not in log and not (tmp_path / "out").exists()
    assert main([*prepared, str(tmp_path / "out")]) == 0
    assert "resuming after 12 of 12 photographs" in capsys.readouterr().err
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_vanished_photograph_or_an_unwritable_folder_is_one_error_line(tmp_path):
    listing = list_folder(make_odd_folder(tmp_path))
    (tmp_path / ".out.partial").write_text("in the way")
    with pytest.raises(UserError, match=r"partial: could not be read or written \(.*\); .* run the same command again"):
        prepare_photographs(listing, tmp_path / "out", 32, workers=1)
    listing.images[3].path.unlink()
    with pytest.raises(UserError, match=r"3.jpg: could not be read or written \(No such file or directory\)"):
        prepare_photographs(listing, tmp_path / "out", 32, workers=1)


def test_photographs_lost_by_a_power_cut_are_read_again(tmp_path, capsys):
    listing = list_folder(make_odd_folder(tmp_path))
    with pytest.raises(UserError, match="--strict"):
        prepare_photographs(listing, tmp_path / "out", 32, workers=1, strict=True)
    lines = tmp_path / ".out.partial" / "read.jsonl"
    text = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(b"".join(text[:6]) + bytes(20) + text[6][20:] + b"".join(text[7:]))
    capsys.readouterr()
    prepare_photographs(listing, tmp_path / "out", 32, workers=1)
    assert "resuming after 5 of 12 photographs" in capsys.readouterr().err
    prepare_photographs(listing, tmp_path / "whole", 32, name="out", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_photograph_that_changed_is_read_again(tmp_path, capsys):
    root = make_odd_folder(tmp_path)
    with pytest.raises(UserError, match="--strict"):
        prepare_photographs(list_folder(root), tmp_path / "out", 32, workers=1, strict=True)
    (root / "torn.jpg").write_bytes(jpeg())
    capsys.readouterr()
    prepare_photographs(list_folder(root), tmp_path / "out", 32, workers=1)
    assert "resuming" not in capsys.readouterr().err
    assert sum(PreparedDataset(tmp_path / "out").description["images"].values()) == 12


def test_captions_are_encoded_in_the_released_vocabulary(tmp_path, capsys):
    root = make_odd_folder(tmp_path)
    words = ["<end>", "grey", "bird", "tiny"]
    content = [[], [], dict(enumerate(words)), {word: number for number, word in enumerate(words)}]
    (tmp_path / "captions.pickle").write_bytes(pickle.dumps(content, 2))
    (root / "0.txt").write_text("nothing known\n")
    flags = ["--root", str(root), "--image-size", "32", "--test-share", "0.3"]
    flags += ["--captions-pickle", str(tmp_path / "captions.pickle")]
    assert main(["prepare", "--source", "folder", "--out", str(tmp_path / "out"), "--workers", "1", *flags]) == 0
    opened = PreparedDataset(tmp_path / "out")
    assert list(opened.vocabulary.words) == words
    assert found(opened.description["decisions"])["captions without a word of captions.pickle"] == 1
    grey = next(i for i in range(len(opened)) if opened.name(i) == "grey.jpg")
    assert list(opened.tokens(grey, 0)) == [2, 1]
    folded = ["prepare", "--source", "folder", "--out", str(tmp_path / "out"), *flags, "--letters", "folded"]
    assert main(folded) == 1
    assert "--letters folded: the vocabulary of --captions-pickle was made by the rule" in capsys.readouterr().err


def test_flags_of_another_source_are_refused(tmp_path, capsys):
    assert main(["prepare", "--source", "coco", "--out", str(tmp_path / "out"), "--num-species", "3"]) == 1
    assert "--num-species: is not used with --source coco; leave it out" in capsys.readouterr().err
    assert main(["prepare", "--source", "coco", "--out", str(tmp_path / "out")]) == 1
    assert "--source coco: needs --root" in capsys.readouterr().err


def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_next_call_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "ProcessPoolExecutor", ThreadPoolExecutor)  # the test limits this process only
    monkeypatch.setattr(prepare, "end_with_parent", lambda: None)
    listing, folder = list_folder(make_odd_folder(tmp_path)), tmp_path / "here"
    writes = check_full_disk(folder, lambda: prepare_photographs(listing, folder / "out", 32, workers=1))
    assert writes > 8
