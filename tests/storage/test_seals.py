"""Seals of results in JSON."""

import json

import pytest

from dmgan.errors import UserError
from dmgan.storage.json_hash import seal_is_whole
from dmgan.storage.reading import read_json, read_object
from dmgan.storage.seals import FILES, write_sealed_json


def test_a_seal_is_of_the_content_and_of_the_files_beside_it(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    write_sealed_json(tmp_path / "a.json", {"b": (1.5, None), "a": {2: "é", 10: []}}, ["a.txt"])
    content = json.loads((tmp_path / "a.json").read_text())
    assert content[FILES] == {"a.txt": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}
    assert seal_is_whole(content) and seal_is_whole(dict(reversed(content.items())))
    assert not seal_is_whole(content | {"b": [1.25, None]})
    assert not seal_is_whole({key: each for key, each in content.items() if key != FILES})
    assert seal_is_whole({"b": 1})  # of an earlier version


def test_a_reader_refuses_a_result_that_was_altered_until_its_seal_is_deleted(tmp_path):
    path = tmp_path / "a.json"
    write_sealed_json(path, {"epochs": 600})
    assert read_object(path, "train it again", {"epochs": int})["epochs"] == 600
    path.write_text(path.read_text().replace("600", "60"))
    for read in (lambda: read_json(path, "train it again"), lambda: read_object(path, "train it again", {})):
        with pytest.raises(UserError, match="a.json: was altered after it was written: content_sha256 is .*; train it"):
            read()
    assert read_json(path, "", check=False)["epochs"] == read_object(path, "", {}, check=False)["epochs"] == 60
    path.write_text('{"epochs": 60}')
    assert read_json(path, "") == {"epochs": 60}


def test_a_result_that_is_nested_too_deep_is_refused(tmp_path):
    for depth in range(900, 1000):  # one of them can be read, and not written again
        (tmp_path / "a.json").write_text(f'{{"content_sha256": "", "a": {"[" * depth}{"]" * depth}}}')
        with pytest.raises(UserError, match="a.json: (was altered|its JSON is nested too deep)"):
            read_json(tmp_path / "a.json", "")
