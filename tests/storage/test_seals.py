"""Seals of results in JSON."""

import json

from dmgan.storage.seals import FILES, seal_is_whole, write_sealed_json


def test_a_seal_is_of_the_content_and_of_the_files_beside_it(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    write_sealed_json(tmp_path / "a.json", {"b": (1.5, None), "a": {2: "é", 10: []}}, ["a.txt"])
    content = json.loads((tmp_path / "a.json").read_text())
    assert content[FILES] == {"a.txt": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}
    assert seal_is_whole(content) and seal_is_whole(dict(reversed(content.items())))
    assert not seal_is_whole(content | {"b": [1.25, None]})
    assert not seal_is_whole({key: each for key, each in content.items() if key != FILES})
    assert seal_is_whole({"b": 1})  # of an earlier version
