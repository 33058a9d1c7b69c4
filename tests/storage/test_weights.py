"""State dicts that other versions of Python and torch wrote."""

import torch

from dmgan.storage.weights import read_state_dict


def test_a_state_dict_with_python_2_byte_strings_is_read(tmp_path):
    """Python 2 pickled parameter names as byte strings."""
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "x.pth").read_bytes()
    assert data.count(b"X\x01\x00\x00\x00a") == 1
    (tmp_path / "x.pth").write_bytes(data.replace(b"X\x01\x00\x00\x00a", b"U\x01a"))
    assert torch.equal(read_state_dict(tmp_path / "x.pth")["a"], torch.ones(2))
