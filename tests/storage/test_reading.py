"""Files of unknown origin: pipes, devices, huge files, byte order marks, deeply nested JSON."""

import json
import os

import pytest

from dmgan.errors import UserError
from dmgan.storage.plain_pickle import load_plain_pickle
from dmgan.storage.reading import (
    decode_text,
    parse_json,
    read_json,
    read_object,
    read_regular_file,
    read_text,
    read_yaml,
)


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opened in the ordinary way it waits for ever
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "itself").symlink_to("itself")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(3 << 30)
    reasons = {
        "pipe": "not a regular file", "zero": "not a regular file", "itself": "symbolic links",
        "sparse": "holds 3,221,225,472 bytes, more than 100", ".": "Is a directory", "nowhere": "No such file",
        "a\0b": "cannot be a file name", "a\ud83d": "cannot be a file name", "n" * 300: "name too long",
    }  # fmt: skip
    for name, reason in reasons.items():
        with pytest.raises(OSError) as raised:
            read_regular_file(tmp_path / name, 100)
        assert reason in raised.value.strerror
    for read in (lambda path: read_text(path, "fix it"), lambda path: read_json(path, "fix it"), load_plain_pickle):
        with pytest.raises(UserError, match="pipe: cannot be read .it is not a regular file.; "):
            read(tmp_path / "pipe")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_byte_order_mark_states_the_encoding(encoding):
    assert decode_text("naïve \u2028".encode(encoding)) == "naïve \u2028"


def test_other_text_is_refused_where_it_is_read(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_bytes("a bird".encode("utf-16-le"))
    with pytest.raises(UserError, match="captions.csv: is not text: it holds NUL characters; save it as UTF-8; fix it"):
        read_text(path, "fix it")
    path.write_bytes(b"a na\xefve bird")
    with pytest.raises(UserError, match="captions.csv: is not text in UTF-8 .invalid continuation byte at byte 4.; "):
        read_text(path, "fix it")


@pytest.mark.parametrize(("text", "reason"), [("[" * 100_000, "nested too deep"), ("{", "not valid JSON"),
                                              ("1" * 5000, "not valid JSON")])  # fmt: skip
def test_invalid_json_is_one_error(text, reason, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=f"a.json: .*{reason}.*; fix it"):
        read_json(tmp_path / "a.json", "fix it")
    with pytest.raises(UserError, match=f"line 3: .*{reason}"):
        parse_json(text, "line 3", "fix it")


def test_json_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes(json.dumps({"a": "ü"}, ensure_ascii=False).encode("utf-8-sig"))
    assert read_json(tmp_path / "a.json", "") == {"a": "ü"}


def test_a_whole_number_that_no_float_holds_is_refused(tmp_path):
    for digits, wanted in (("9" * 300, int("9" * 300)), (f"-{'9' * 300}", -int("9" * 300))):
        (tmp_path / "a.json").write_text(f'{{"a": {digits}}}')
        assert read_json(tmp_path / "a.json", "") == {"a": wanted}
    for digits in ("9" * 301, f"-{'9' * 301}", "9" * 5000):
        (tmp_path / "a.json").write_text(f'{{"a": [{digits}]}}')
        with pytest.raises(
            UserError, match="a.json: is not valid JSON .a whole number has more than 300 digits.; fix it"
        ):
            read_json(tmp_path / "a.json", "fix it")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "its aliases expand to more than 100,000 values"),
        ("a: &a {b: *a}\n", "line 1: an alias contains itself"),
        (f"a: 1\nb: {'9' * 400}\n", "line 2: a whole number has more than 300 digits"),
        (f"a: 0x{'f' * 5000}\n", "line 1: a whole number has more than 300 digits"),
        ("a: 1\nb: {c: 1}\na: 2\n", "line 3: the key a occurs more than once"),
        ("a: {<<: {b: 1}, b: 2, b: 3}\n", "line 1: the key b occurs more than once"),
        ("a: [\n", "is not YAML"), ("a: !!python/object:os.system {}\n", "is not YAML"),
        ("[" * 10_000, "its YAML is nested too deep"), ("a: 1\n---\nb: 2\n", "is not YAML"),
        ("a: \x1b\n", "is not YAML"), ("[" * 3000 + "]" * 3000, "its YAML is nested too deep"),  # took seconds
    ],
)  # fmt: skip
def test_yaml_that_misleads_is_refused(text, reason, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=f"a.yaml: .*{reason}.*; fix it"):
        read_yaml(tmp_path / "a.yaml", "fix it")


def test_presets_of_yaml_are_merged(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: {<<: [*a, {f: 4}]}\n")
    read = read_yaml(tmp_path / "a.yaml", "")
    assert read["d"] == {"b": 1, "c": 3} and read["e"] == {"b": 1, "c": 2, "f": 4}
    (tmp_path / "a.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "a.yaml", "") is None


ENTRIES = {"step": int, "lr": float, "name": str, "of": {"a": [int], "b?": bool}, "seed": (int, None)}
WHOLE = {"step": 1, "lr": 1, "name": "x", "of": {"a": [1, 2]}, "seed": None, "other": [{}]}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""), ({"of": {"a": [], "b": True}}, ""), ({"step": 1.0}, "step is not a whole number"),
        ({"step": True}, "step is not a whole number"), ({"lr": float("nan")}, "lr is not a finite number"),
        ({"lr": float("inf")}, "lr is not a finite number"), ({"name": "\ud800"}, "name is not text"),
        ({"of": []}, "of is not an object"), ({"of": {}}, "no entry of.a"),
        ({"of": {"a": [1, "x"]}}, r"of.a\[1\] is not a whole number"), ({"seed": "x"}, "seed is not a whole number"),
        ({"of": {"a": [1], "b": None}}, "of.b is not true or false"),
    ],
)  # fmt: skip
def test_an_entry_that_is_missing_or_of_another_type_is_named(changed, reason, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(WHOLE | changed))
    if not reason:
        assert read_object(path, "fix it", ENTRIES) == WHOLE | changed
        return
    with pytest.raises(UserError, match=f"a.json: is damaged .{reason}.; fix it"):
        read_object(path, "fix it", ENTRIES)
    path.write_text("[]")
    with pytest.raises(UserError, match="a.json: is damaged .its content is not an object.; fix it"):
        read_object(path, "fix it", ENTRIES)


def test_a_message_is_one_printable_line():
    assert (
        str(UserError("a\nb\x1b[31m\ud800.json: é 鳥 is\u2028wrong")) == r"a\nb\x1b[31m\ud800.json: é 鳥 is\u2028wrong"
    )
