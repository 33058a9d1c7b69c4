"""Captions of images of any program: lines that are wrong are named, and a pipe is not waited for."""

import json
import os

import pytest

from dmgan.errors import UserError
from dmgan.evaluation.captions_file import Faults, read_captions_file


@pytest.mark.parametrize(
    "line",
    [
        "x", "[]", '{"image": "a.png"}', '{"image": "a.png", "caption": 5}', '{"image": "a.png", "caption": NaN}',
        '{"image": "a.png", "caption": "a bird \\ud83d"}', '{"image": "a\\ud800b.png", "caption": "a bird"}',
        '{"image": "a.png", "caption": "a bird", "other": "x"}', "[" * 100_000,
    ],
    ids=lambda each: each[:60],
)  # fmt: skip
def test_a_line_of_another_form_is_named(line, tmp_path):
    right = json.dumps({"image": "b.png", "caption": "a red bird\u2028"}, ensure_ascii=False)
    (tmp_path / "captions.jsonl").write_text(f"{right}\n{line}\n", encoding="utf-8")
    faults = Faults()
    assert list(read_captions_file(tmp_path / "captions.jsonl", faults)) == ["b.png"]
    with pytest.raises(UserError, match="lines that are not of the form .*: line 2 of captions.jsonl. Fix them, and"):
        faults.refuse(tmp_path)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "captions.jsonl")
    with pytest.raises(UserError, match="captions.jsonl: cannot be read .it is not a regular file.; give a file with"):
        read_captions_file(tmp_path / "captions.jsonl", Faults())
