"""Pickles: plain data is read, everything else is refused and never executed."""

import collections
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.storage.plain_pickle import load_plain_pickle
from tests.storage.pickled_command import PickledCommand

PLAIN = [[[1, 300, 70000]], [[]], {0: "<end>", 1: "naïve"}, {"<end>": 0, "naïve": 1}, (1.5, -(2**40), None, True)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_plain_data_are_read_in_every_protocol(protocol, tmp_path):
    (tmp_path / "plain").write_bytes(pickle.dumps(PLAIN, protocol))
    assert load_plain_pickle(tmp_path / "plain") == PLAIN


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]q\x00(U\x05<end>q\x01T\x05\x00\x00\x00na\xefveq\x02e.",
        b"(lp0\nS'<end>'\np1\naS'na\\xefve'\np2\na.",
    ],
)
def test_byte_strings_of_python_2_are_decoded(data, tmp_path):
    (tmp_path / "old").write_bytes(data)
    assert load_plain_pickle(tmp_path / "old") == ["<end>", "naïve"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps(PickledCommand(Path("/tmp/never")), 0), "GLOBAL at byte 0 is not plain data"),
        (pickle.dumps(PickledCommand(Path("/tmp/never")), 4), "STACK_GLOBAL at byte .* is not plain data"),
        (pickle.dumps([np.array(["a", None], dtype=object)], 2), "GLOBAL at byte .* is not plain data"),
        (pickle.dumps(collections.OrderedDict(a=1), 2), "GLOBAL at byte .* is not plain data"),
        (pickle.dumps({1, 2}, 4), "EMPTY_SET at byte .* is not plain data"),
        (b"ios\nsystem\n.", "the opcode INST at byte 0"),
        (b"Pabc\n.", "the opcode PERSID at byte 0"),
        (b"\x82\x01.", "the opcode EXT1 at byte 0"),
        (b"\x80\x04" + b"]" * 100 + b"a" * 99 + b".", "nest deeper than 32"),
        (b"\x80\x04" + b"(" * 1000 + b"l" * 1000 + b".", "nest deeper than 32"),
        (b"\x80\x04]q\x00" + b"h\x00a" * 50 + b".", "nest deeper than 32"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 10 * 2**30) + b"abc.", "10,737,418,240 bytes are needed, 4 are left"),
        (b"\x80\x02T" + struct.pack("<I", 2**31) + b"abc.", "2,147,483,648 bytes are needed"),
        (b"\x8b" + struct.pack("<i", 2**30) + b".", "LONG4 at byte 0 is not plain data"),
        (b"L" + b"9" * 10**6 + b"L\n.", "more than 20 digits"),
        (b"Nr\xff\xff\xff\x7f", "the file is truncated"),
        (pickle.dumps(PLAIN, 2)[:-7], "the file is truncated|is damaged"),
        (b"", "the file is truncated"),
        (b"N" * 9 + b".", "more than one object"),
        (b"a.", "the opcode APPEND at byte 0 is damaged"),
        (b"](s.", "is damaged"),
        (b"}](N" + b"u.", "is damaged"),
        (b"\x80\x02h\x05.", "BINGET at byte 2 is damaged"),
        (b"<html>", "byte 0x3c at byte 0 is not plain data"),
    ],
    ids=range(24),
)
def test_pickles_with_code_or_damage_are_refused(data, message, tmp_path):
    (tmp_path / "x.pickle").write_bytes(data)
    with pytest.raises(UserError, match=message) as refused:
        load_plain_pickle(tmp_path / "x.pickle")
    assert "\n" not in str(refused.value) and "no code in it was executed" in str(refused.value)


def test_pickles_above_the_size_limit_are_refused(tmp_path, monkeypatch):
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(PLAIN, 2))
    monkeypatch.setattr("dmgan.storage.plain_pickle.MAX_BYTES", 10)
    with pytest.raises(UserError, match="more than 10"):
        load_plain_pickle(tmp_path / "x.pickle")
    monkeypatch.undo()
    monkeypatch.setattr("dmgan.storage.plain_pickle._MAX_OBJECTS", 3)
    with pytest.raises(UserError, match="more than 3"):
        load_plain_pickle(tmp_path / "x.pickle")
    monkeypatch.undo()
    (tmp_path / "x.pickle").write_bytes(b"(" + b"N" * 101 + b"l.")  # 64 MB of None filled a gigabyte
    monkeypatch.setattr("dmgan.storage.plain_pickle._MAX_VALUES", 100)
    with pytest.raises(UserError, match="the file holds more than 100 values .byte 101.; give the captions.pickle"):
        load_plain_pickle(tmp_path / "x.pickle")
