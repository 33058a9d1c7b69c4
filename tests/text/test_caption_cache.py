"""Captions encoded once: a full disk is one line, and nothing stays of a killed job."""

import os
import resource

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.runtime.distributed import SINGLE_PROCESS
from dmgan.text.caption_cache import CachedCaptions
from dmgan.text.damsm import Damsm


def test_no_room_for_the_features_is_one_line_that_names_the_bytes(dataset, damsm_folder, tmp_path):
    """A file-size limit stands in for the full disk."""
    damsm = Damsm.read(damsm_folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            UserError, match=r"words.npy: [\d,]+ bytes could not be had for it \(File too large\); free"
        ):
            CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert all(name.endswith(".lock") for name in os.listdir(tmp_path))


def test_what_a_killed_job_left_is_deleted_by_the_next(dataset, damsm_folder, tmp_path):
    damsm = Damsm.read(damsm_folder)
    folder = CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS).folder
    whole = np.load(folder / "words.npy")
    folder.rename(tmp_path / f".{folder.name}.abcd_123")
    CachedCaptions(damsm, dataset, tmp_path, 12, SINGLE_PROCESS)
    assert np.array_equal(np.load(folder / "words.npy"), whole)
    assert sorted(os.listdir(tmp_path)) == [f".{folder.name}.lock", folder.name]
