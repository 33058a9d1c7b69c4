"""Arrays on disk, written row by row: what numpy reads, and a full disk in time."""

import io
import os
import resource
import zipfile

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.storage.npy import NpyWriter, open_array, read_arrays


def test_an_array_file_is_what_numpy_writes_and_takes_rows_in_any_order(tmp_path):
    rows = np.random.default_rng(0).random((5, 3, 2), dtype=np.float32)
    array = NpyWriter(tmp_path / "a.npy", rows.shape, np.float32)
    array.write(3, rows[3:])
    array.write(0, rows[:2])
    array.close()
    expected = rows.copy()
    expected[2] = 0
    np.save(tmp_path / "b.npy", expected)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve")
def test_the_whole_file_is_reserved_before_a_row_is_written(tmp_path):
    """A file-size limit stands in for the full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UserError, match=r"a.npy: 8,000,128 bytes could not be reserved \(File too large\); free"):
            NpyWriter(tmp_path / "a.npy", (1000, 2000), np.float32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    array = NpyWriter(tmp_path / "a.npy", (1000, 2000), np.float32)
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 8_000_000  # not a file of holes
    array.close()


def test_a_system_that_cannot_reserve_makes_a_file_of_the_length(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    NpyWriter(tmp_path / "a.npy", (7, 3), np.int64).close()
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.zeros((7, 3), np.int64))


def npy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_the_arrays_of_a_file_are_read_in_either_order(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.asfortranarray(np.eye(3)[:2]), "c": np.array("text")}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    read = read_arrays(tmp_path / "a.npz", "fix it")
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)
        read[name][...] = array  # not read-only


HUGE = npy_bytes(np.zeros(3)).replace(b"(3,)", b"(9999999999,)").replace(b"           \n", b"\n")


@pytest.mark.parametrize("member", [
    npy_bytes(np.array([{}, None], dtype=object)), HUGE, npy_bytes(np.zeros(9))[:-1], b"", b"\x93NUMPY\x09\x00",
    npy_bytes(np.zeros(2)).replace(b"'<f8'", b"'<f9'"), npy_bytes(np.zeros(2)).replace(b"(2,)", b"(-2)"),
])  # fmt: skip
def test_an_array_that_is_broken_or_larger_than_its_bytes_is_refused(member, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", member)
    with pytest.raises(UserError, match="a.npz: is damaged .*; fix it"):
        read_arrays(tmp_path / "a.npz", "fix it")
    (tmp_path / "a.npy").write_bytes(member)
    with pytest.raises(ValueError):
        open_array(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"PK", npy_bytes(np.zeros(3))])
def test_another_file_than_an_archive_of_arrays_is_refused(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(UserError, match="a.npz: is damaged"):
        read_arrays(tmp_path / "a.npz", "fix it")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="it is not a regular file"):
        read_arrays(tmp_path / "pipe", "fix it")
