"""The caption cache: its features, concurrent jobs, full disks and files of killed jobs."""

import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.runtime.distributed import SINGLE_PROCESS
from dmgan.text.caption_cache import CachedCaptions
from dmgan.text.damsm import Damsm
from tests.storage.full_disk import check_full_disk
from tests.storage.killed_steps import contents


def test_a_full_disk_is_one_line_that_names_the_missing_bytes(dataset, damsm_folder, tmp_path):
    """A file-size limit stands in for the full disk."""
    damsm = Damsm.read(damsm_folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match=r"words.npy: [\d,]+ bytes could not be reserved \(File too large\); free"):
            CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(name.endswith(".lock") for name in os.listdir(tmp_path))


def test_files_of_a_killed_job_are_deleted_by_the_next_job(dataset, damsm_folder, tmp_path):
    damsm = Damsm.read(damsm_folder)
    folder = CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS).folder
    whole = np.load(folder / "words.npy")
    folder.rename(tmp_path / f".{folder.name}.abcd_123")
    CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS)
    assert np.array_equal(np.load(folder / "words.npy"), whole)
    assert sorted(os.listdir(tmp_path)) == [f".{folder.name}.lock", folder.name]


def test_cached_features_are_those_of_the_encoder(dataset, damsm_folder, tmp_path):
    damsm = Damsm.read(damsm_folder)
    lengths = sorted(len(dataset.tokens(i, 0)) for i in dataset.indices("train"))
    limit = lengths[len(lengths) // 2]  # half of the captions are longer: these are not cached
    cached = CachedCaptions(damsm, dataset, tmp_path, limit, SINGLE_PROCESS)
    batch = TrainingBatches(dataset, [32], 12, limit, 0)[0]
    found, expected = (encoder.encode(batch.tokens, batch.lengths) for encoder in (cached, damsm))
    for name in expected._fields:
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), msg=lambda m, n=name: f"{n}: {m}")
    written = {path: path.stat().st_mtime_ns for path in cached.folder.iterdir()}
    again = CachedCaptions(damsm, dataset, tmp_path, limit, SINGLE_PROCESS)
    assert written == {path: path.stat().st_mtime_ns for path in again.folder.iterdir()}


def test_concurrent_jobs_encode_the_captions_once(dataset, damsm_folder, tmp_path, monkeypatch):
    written = []

    def write(self, *given):
        written.append(self)
        time.sleep(0.1)  # the other jobs start meanwhile
        of_one_job(self, *given)

    of_one_job = CachedCaptions._write
    monkeypatch.setattr(CachedCaptions, "_write", write)
    damsm = Damsm.read(damsm_folder)
    with ThreadPoolExecutor(3) as jobs:
        made = [jobs.submit(CachedCaptions, damsm, dataset, tmp_path, 12, SINGLE_PROCESS) for _ in range(3)]
    assert {each.result().folder for each in made} == {written[0].folder} and len(written) == 1


@pytest.mark.parametrize("name", ["words", "sentences", "tokens", "starts"])
@pytest.mark.parametrize("size", [0, 130])
def test_an_empty_or_cut_file_is_written_again(name, size, dataset, damsm_folder, tmp_path, capsys):
    damsm = Damsm.read(damsm_folder)
    folder = CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS).folder
    whole = contents(folder)
    os.truncate(folder / f"{name}.npy", size)
    CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS)
    assert contents(folder) == whole and "encoding the captions again" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["words", "sentences", "tokens", "starts"])
def test_a_changed_byte_is_found_and_the_captions_are_encoded_again(name, dataset, damsm_folder, tmp_path, capsys):
    damsm = Damsm.read(damsm_folder)
    folder = CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS).folder
    whole = contents(folder)
    content = whole[f"{name}.npy"]
    (folder / f"{name}.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS)
    said = capsys.readouterr().err
    assert contents(folder) == whole and "is damaged (its bytes are not those that were written); encoding" in said
    (folder / "sha256.json").unlink()  # as a cache of an earlier version
    CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS)
    assert "damaged" not in capsys.readouterr().err


def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_next_job_succeeds(dataset, damsm_folder, tmp_path):
    damsm, folder = Damsm.read(damsm_folder), tmp_path / "damsm"
    few = dataset.with_splits(dataset.indices("train")[:2], dataset.indices("test"), 0)
    assert check_full_disk(folder, lambda: CachedCaptions(damsm, few, folder, 40, SINGLE_PROCESS)) > 10
