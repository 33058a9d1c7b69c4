"""Weights: changed bytes and values that are not finite are refused; state dicts of other versions are read."""

import pytest
import torch
from safetensors.torch import save_file

from dmgan.errors import UserError
from dmgan.storage.weights import load_weights, read_state_dict, save_weights


def test_every_changed_byte_of_weights_is_found(tmp_path):
    network, path = torch.nn.Linear(30, 4), tmp_path / "x.safetensors"
    save_weights(network, path)
    content = path.read_bytes()
    load_weights(network, path, "train again")
    header = 8 + int.from_bytes(content[:8], "little")
    for place in range(header, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(UserError, match="x.safetensors: its values changed after they were written; train again"):
            load_weights(network, path, "train again")


def test_weights_of_other_programs_are_read_but_not_if_a_value_is_not_finite(tmp_path):
    network, path = torch.nn.Linear(3, 2), tmp_path / "x.safetensors"
    save_file(network.state_dict(), path)
    load_weights(network, path, "train again")
    save_file({**network.state_dict(), "bias": torch.tensor([0.0, float("nan")])}, path)
    with pytest.raises(UserError, match="x.safetensors: bias is not finite; train again"):
        load_weights(network, path, "train again")


def test_a_state_dict_with_python_2_byte_strings_is_read(tmp_path):
    """Python 2 pickled parameter names as byte strings."""
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "x.pth").read_bytes()
    assert data.count(b"X\x01\x00\x00\x00a") == 1
    (tmp_path / "x.pth").write_bytes(data.replace(b"X\x01\x00\x00\x00a", b"U\x01a"))
    assert torch.equal(read_state_dict(tmp_path / "x.pth")["a"], torch.ones(2))
