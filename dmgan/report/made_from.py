"""Provenance of tables and figures: NAME.provenance.json beside them, with the hashes of what they were made from."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dmgan.runtime.cost import Cost
from dmgan.runtime.provenance import provenance
from dmgan.storage import files


@contextmanager
def recorded(out: Path, name: str, inputs: Iterable[Path] = ()) -> Iterator[None]:
    """Write OUT/NAME.provenance.json after the block, which writes tables or figures into `out`.

    inputs: results that they are made from, such as metrics.json, whose own provenance leads further.
    """
    cost = Cost()
    yield
    made_from = {os.path.relpath(path, out): files.file_sha256(path) for path in inputs}
    content = {"made_from": made_from, "provenance": provenance(cost.measured())}
    files.write_json(Path(out) / f"{name}.provenance.json", content)
