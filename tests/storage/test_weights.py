"""Weights: changed bytes and values that are not finite are refused; state dicts of other versions are read."""

import zipfile

import pytest
import torch
from safetensors.torch import save_file

from dmgan.errors import UserError
from dmgan.storage.weights import build_network, load_weights, read_state_dict, save_weights


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


def test_a_compressed_member_is_refused_before_it_is_unpacked(tmp_path):
    """A deflated data.pkl of 1 MB took 90 s and 2.5 GB."""
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as old, zipfile.ZipFile(tmp_path / "y.pth", "w") as new:
        for name in old.namelist():
            kind = zipfile.ZIP_DEFLATED if name.endswith("data.pkl") else zipfile.ZIP_STORED
            new.writestr(name, old.read(name), kind)
    with pytest.raises(UserError, match="y.pth: is refused: .*data.pkl is compressed, which torch.save never does"):
        read_state_dict(tmp_path / "y.pth")


def test_a_network_is_planned_before_it_takes_memory(tmp_path):
    path = tmp_path / "x.safetensors"
    network = torch.nn.Linear(3, 2)
    save_weights(network, path)
    torch.manual_seed(0)
    drawn = torch.nn.Linear(3, 2), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(build_network(lambda: torch.nn.Linear(3, 2), path, "").weight, network.weight)
    assert torch.equal(torch.rand(1), drawn[1])  # the plan draws no random number
    with pytest.raises(UserError, match="x.safetensors: does not hold the weights of a Linear .*; train again"):
        build_network(lambda: torch.nn.Linear(1 << 30, 1 << 12), path, "train again")  # 16 TB
    with pytest.raises(
        UserError, match="x.safetensors: its network cannot be built with these options .*; train again"
    ):
        build_network(lambda: torch.nn.Linear(-1, 2), path, "train again")
