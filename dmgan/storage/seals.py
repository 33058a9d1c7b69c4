"""Seals: a result in JSON states the SHA-256 of its own content and of the files beside it.

Every reader checks the first (`dmgan.storage.reading.read_json`), and `verify` checks both.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dmgan.storage import files
from dmgan.storage.json_hash import SEAL, content_sha256, seal_is_whole

FILES = "files_sha256"  # entry with the hashes of the files beside a sealed result


def write_sealed_json(path: Path, content: Mapping[str, object], beside: Iterable[str] = ()) -> None:
    """Write `content` as JSON to `path`, atomically, with its hash and the hashes of the files `beside` it."""
    hashes = {name: files.file_sha256(Path(path).parent / name) for name in beside}
    content = {**content, **({FILES: hashes} if hashes else {})}
    files.write_json(path, {**content, SEAL: content_sha256(content)})


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
