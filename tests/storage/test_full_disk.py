"""A disk that is full at any write: one line, and the same command with room makes the same bytes."""

import numpy as np

from dmgan.storage import files
from dmgan.storage.npy import NpyWriter
from tests.storage.full_disk import check_full_disk

MADE = files.OwnFiles("sample", ("a.npy",), r".*\.npy")


def test_files_and_arrays(tmp_path):
    folder = tmp_path / "out"

    def write() -> None:
        files.write_json(folder / "a.json", {"a": 1})
        files.write_csv(folder / "a.csv", [{"a": 1}])
        arrays = {f"a{number}": np.arange(5000) for number in range(2)}
        files.write_with(folder / "a.npz", lambda file: np.savez_compressed(file, **arrays))

    assert check_full_disk(folder, write) > 10


def test_folders_of_arrays(tmp_path):
    folder = tmp_path / "out"

    def write() -> None:
        with files.atomic_folder(folder / "arrays", MADE) as new:
            array = NpyWriter(new / "a.npy", (3, 2), np.float32)
            with files.user_error_for_disk_errors(folder):
                array.write(0, np.ones((3, 2)))
                array.close()
            np.save(new / "b.npy", np.arange(10))

    assert check_full_disk(folder, write) > 5
