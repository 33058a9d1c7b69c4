"""Check of a prepared data set's files against the hashes that `prepare` recorded.

A job checks every file up to WHOLE bytes completely. Of a larger file, which would take minutes to read, it checks
BLOCKS blocks spread evenly, and the complete file if it is newer than dataset.json. `verify` checks complete files.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from dmgan.errors import UserError
from dmgan.storage.files import file_sha256

WHOLE = 4 << 30  # bytes
BLOCK, BLOCKS = 1 << 20, 256


def sampled_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's size and of blocks spread evenly from its first to its last."""
    size = path.stat().st_size
    sha256 = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for number in range(BLOCKS):
            file.seek((size - BLOCK) * number // (BLOCKS - 1))
            sha256.update(file.read(BLOCK))
    return sha256.hexdigest()


def sampled_hashes(folder: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Return the sampled hashes of the files that are larger than WHOLE, by name."""
    return {name: sampled_sha256(folder / name) for name in names if (folder / name).stat().st_size > WHOLE}


def altered_files(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """Return the names of files that are missing or whose bytes have another hash than recorded."""
    return [name for name, sha256 in recorded.items() if not _has_hash(folder / name, sha256)]


def _has_hash(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def check_files(folder: Path, recorded: Mapping[str, str], sampled: Mapping[str, str], hint: str) -> None:
    """Raise UserError that ends with `hint` if a file's bytes are not those that were prepared.

    recorded, sampled: hashes of complete and of large files; see the module.
    """
    prepared = (folder / "dataset.json").stat().st_mtime_ns
    for name, sha256 in recorded.items():
        path = folder / name
        status = path.stat()
        if name in sampled and status.st_size > WHOLE and status.st_mtime_ns <= prepared:
            same = sampled_sha256(path) == sampled[name]
        else:
            same = _has_hash(path, sha256)
        if not same:
            raise UserError(f"{path}: its bytes changed after they were prepared; restore the file, or {hint}")
