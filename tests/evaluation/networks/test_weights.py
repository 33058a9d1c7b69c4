"""Weights of feature extractors: missing, wrong and harmful files."""

from pathlib import Path

import pytest
import torch

from dmgan.errors import UserError
from dmgan.evaluation.networks.base import find_weights, read_weights
from dmgan.storage import downloads


def test_missing_weights_are_one_line_with_file_address_and_hash(tmp_path, monkeypatch):
    def cut(asset, folder):
        raise UserError(f"{asset.name}: no connection")

    monkeypatch.setattr(downloads, "fetch", cut)
    for name in ("inception-2015", "inception"):
        asset = downloads.find(name)
        with pytest.raises(UserError) as caught:
            find_weights(name, tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        assert all(each in message for each in (str(tmp_path / asset.file), asset.url, asset.sha256))


def test_other_weights_are_refused(tmp_path):
    asset = downloads.find("inception-2015")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / asset.file)
    with pytest.raises(UserError, match="has SHA-256 .* expected: pt_inception"):
        find_weights("inception-2015", tmp_path)


def test_a_weights_file_runs_no_code(tmp_path):
    class Payload:
        def __reduce__(self):
            return Path(tmp_path / "ran").touch, ()

    torch.save({"fc.weight": Payload()}, tmp_path / "bad.pth")
    with pytest.raises(
        UserError, match="is refused, and no code in it was executed: it imports getattr, which weights do not need"
    ):
        read_weights(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()
