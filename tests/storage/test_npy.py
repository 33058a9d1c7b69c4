"""Arrays on disk, written row by row: what numpy reads, and a full disk in time."""

import os
import resource

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.storage.npy import NpyWriter


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
