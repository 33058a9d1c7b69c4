"""The folder that images are sampled into: an interruption at any moment is resumed, and every file is checked."""

import json
import os
import resource
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.sampling.image_folder import ImageFolder
from dmgan.storage import files
from dmgan.storage.npy import NpyWriter
from tests.storage.full_disk import check_full_disk
from tests.storage.killed_steps import contents, killed_before

COUNT, SIDES = 4, {"_4": 4, "_8": 8}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Without waiting for the disk."""
    monkeypatch.setattr(os, "sync", lambda: None)


def pixels(number: int, side: int, seed: int) -> np.ndarray:
    return np.random.default_rng((number, side, seed)).integers(256, size=(side, side, 3), dtype=np.uint8)


def sample(out: Path, packed: bool = True, seed: int = 0, batch: int = 2, stop: int = COUNT) -> list[int]:
    """Write images as sampling does, up to number `stop`; which of them were made."""
    made = []
    with ImageFolder(out, {"seed": seed}, COUNT, SIDES, workers=0, packed=packed) as folder:
        left = [number for number in range(stop) if number not in folder.done]
        for start in range(0, len(left), batch):
            numbers = left[start : start + batch]
            made += numbers
            stages = {
                suffix: np.stack([pixels(n, side, seed) for n in numbers]) for suffix, side in SIDES.items()
            }  # fmt: skip
            folder.write(numbers, stages)
        if stop == COUNT:
            folder.finish({"seed": seed})
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """Of a sampling that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    sample(out)
    assert json.loads((out / "manifest.json").read_text())["packed"] == {
        "images_4.npy": [COUNT, 4, 4, 3], "images_8.npy": [COUNT, 8, 8, 3]
    }  # fmt: skip
    assert np.array_equal(np.load(out / "images_8.npy")[3], pixels(3, 8, 0))
    return contents(out)


@pytest.mark.slow
def test_a_sampling_killed_at_any_step_is_resumed_by_the_same_command(whole, tmp_path):
    sample(tmp_path / "old", seed=1)
    old = contents(tmp_path / "old")
    folder = tmp_path / "at work"
    step, going, made = 0, True, []
    while going:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "old", folder / "out")
        going = killed_before(step, lambda: sample(folder / "out"))
        there = [contents(each) for each in folder.iterdir() if each.is_dir()]
        done = [each for each in there if whole.items() <= each.items()]
        assert old in there or done, step
        if (folder / "out").exists():
            assert contents(folder / "out") in (old, *done), step
        made.append(sample(folder / "out"))
        assert contents(folder / "out") == whole, step
        assert sorted(os.listdir(folder)) == [".out.lock", "out"], step
        step += 1
    assert len(made) > 30 and made[0] == [0, 1, 2, 3] and [] in made[:-1] and [3] in made


@pytest.mark.parametrize("content", [None, b"", b"half"], ids=["missing", "empty", "half"])
def test_an_image_that_is_not_whole_is_made_anew(content, whole, tmp_path):
    """A power cut empties files that were written; people delete them."""
    sample(tmp_path / "out", stop=3)
    image = tmp_path / "out.part" / "000001_8.png"
    if content is None:
        image.unlink()
    else:
        image.write_bytes(content and image.read_bytes()[:-5])
    assert sample(tmp_path / "out") == [1, 3]
    assert contents(tmp_path / "out") == whole


def test_an_image_lost_during_the_work_is_named_and_made_anew(whole, tmp_path):
    with ImageFolder(tmp_path / "out", {"seed": 0}, COUNT, SIDES, workers=0, packed=True) as folder:
        for n in range(COUNT):
            folder.write([n], {suffix: pixels(n, side, 0)[None] for suffix, side in SIDES.items()})
        (tmp_path / "out.part" / "000002_4.png").write_bytes(b"")
        with pytest.raises(UserError, match="000002_4.png: is missing or truncated.* Run the same command again"):
            folder.finish({"seed": 0})
    assert not (tmp_path / "out").exists()
    assert sample(tmp_path / "out") == [2]
    assert contents(tmp_path / "out") == whole


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:128])  # the header alone


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("spoil", [Path.unlink, _cut, _zero])
def test_a_packed_file_is_made_anew_from_the_images(spoil, whole, tmp_path):
    sample(tmp_path / "out", stop=2)
    spoil(tmp_path / "out.part" / "images_8.npy")
    assert sample(tmp_path / "out") == [2, 3]
    assert contents(tmp_path / "out") == whole


def test_a_damaged_image_is_not_packed_but_made_anew(whole, tmp_path):
    sample(tmp_path / "out", stop=3)
    image = tmp_path / "out.part" / "000001_8.png"
    image.write_bytes(image.read_bytes()[:60] + bytes(40) + image.read_bytes()[100:])
    assert sample(tmp_path / "out") == [1, 3]
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("before", [False, True])
def test_packed_may_change_on_the_way(before, whole, tmp_path):
    sample(tmp_path / "out", packed=before, stop=2)
    assert sample(tmp_path / "out", packed=not before) == [2, 3]
    wanted = whole.keys() if not before else {name for name in whole if not name.endswith(".npy")}
    assert contents(tmp_path / "out").keys() == wanted
    assert before == ("packed" not in json.loads((tmp_path / "out" / "manifest.json").read_text()))


def test_images_with_other_inputs_are_replaced_and_logged(tmp_path, capsys):
    sample(tmp_path / "out", seed=1, stop=2)
    assert sample(tmp_path / "out") == [0, 1, 2, 3]
    assert "starting again; 4 images with other inputs (seed) are deleted" in capsys.readouterr().err


def test_no_room_for_the_packed_file_is_said_before_any_image_is_made(tmp_path):
    """A file-size limit stands in for the full disk."""
    sample(tmp_path / "out", packed=False, stop=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        with pytest.raises(UserError, match=r"images_8.npy: 896 bytes could not be reserved \(File too large\); free"):
            sample(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sample(tmp_path / "out") == [1, 2, 3]


def test_a_second_job_waits_for_the_first(whole, tmp_path, capsys):
    with ThreadPoolExecutor(1) as other:
        with files.locked(tmp_path / "out"):
            made = other.submit(sample, tmp_path / "out")
            while "out: is being written by another process; waiting" not in capsys.readouterr().err:
                time.sleep(0.01)
            assert os.listdir(tmp_path) == [".out.lock"]
        assert made.result() == [0, 1, 2, 3]
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
def test_a_thread_packs_the_rows_beside_the_workers(whole, tmp_path):
    with ImageFolder(tmp_path / "out", {"seed": 0}, COUNT, SIDES, workers=1, packed=True) as folder:
        for n in range(COUNT):
            folder.write([n], {suffix: pixels(n, side, 0)[None] for suffix, side in SIDES.items()})
        folder.finish({"seed": 0})
    assert contents(tmp_path / "out") == whole


def test_rows_that_cannot_be_packed_are_an_error(tmp_path, monkeypatch):
    """The thread that writes the rows passes its error on."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(NpyWriter, "write", full)
    with (
        pytest.raises(UserError, match=r"No space left on device.; complete images stay in .*out.part"),
        ImageFolder(tmp_path / "out", {"seed": 0}, COUNT, SIDES, workers=1, packed=True) as folder,
    ):
        folder.write([0], {suffix: pixels(0, side, 0)[None] for suffix, side in SIDES.items()})
        folder.finish({"seed": 0})


def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_next_call_resumes(whole, tmp_path):
    folder = tmp_path / "here"
    assert check_full_disk(folder, lambda: sample(folder / "out")) > 10
    assert contents(folder / "out") == whole
