"""Seals: a result in JSON states the SHA-256 of its own content and of the files beside it, for `verify`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from dmgan.storage import files

SEAL, FILES = "content_sha256", "files_sha256"  # entries of a sealed result


def write_sealed_json(path: Path, content: Mapping[str, object], beside: Iterable[str] = ()) -> None:
    """Write `content` as JSON to `path`, atomically, with its hash and the hashes of the files `beside` it."""
    hashes = {name: files.file_sha256(Path(path).parent / name) for name in beside}
    content = {**content, **({FILES: hashes} if hashes else {})}
    files.write_json(path, {**content, SEAL: _sha256(content)})


def seal_is_whole(content: Mapping[str, object]) -> bool:
    """Return whether the content that was read is the content that was written; true if it has no seal."""
    return SEAL not in content or content[SEAL] == _sha256({key: each for key, each in content.items() if key != SEAL})


def is_unaltered(folder: Path, content: Mapping[str, object]) -> bool:
    """Return whether a sealed result in `folder` and all files whose hashes it states are those that were written.

    False if a file is missing or cannot be read, or if the result has no seal.
    """
    hashes = content.get(FILES, {})
    if SEAL not in content or not seal_is_whole(content) or not isinstance(hashes, Mapping):
        return False
    try:
        return all(files.file_sha256(folder / name) == sha256 for name, sha256 in hashes.items())
    except OSError:
        return False


def _sha256(content: Mapping[str, object]) -> str:
    """Return the hash of `content` as it is read back: JSON makes lists of tuples and text of keys."""
    return files.json_sha256(json.loads(json.dumps(content)))
