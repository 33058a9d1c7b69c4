"""Verification of tables: they are rendered again from their metrics.json files and compared."""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dmgan.errors import UserError
from dmgan.report.tables.claims import write_claims
from dmgan.report.tables.comparisons import write_comparisons
from dmgan.report.tables.render import write_tables

_SEED = 100  # of `compare`, if --seed is left out


def table_findings(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield state, path and reason of every file of a folder that `tables` and `compare` wrote."""
    try:
        metrics = _metrics_of(folder)
    except (OSError, ValueError, csv.Error) as error:
        yield "altered", folder, f"a table cannot be read ({error})"
        return
    for path in metrics:
        if not path.exists():
            yield "orphaned", folder, f"{path}, which a table names, is not there, as seen from the current folder"
    metrics = [path for path in metrics if path.exists()]
    if not metrics:
        return
    with tempfile.TemporaryDirectory(prefix="dmgan-verify-") as temporary:
        again = Path(temporary)
        try:
            write_tables(metrics, again)
            if (folder / "comparisons.csv").exists():
                write_comparisons(metrics, again, _SEED)
            if (folder / "claims.csv").exists():
                compared = again / "comparisons.csv"
                write_claims(metrics, compared if compared.exists() else None, again)
        except UserError as error:
            yield "stale", folder, f"its tables cannot be rendered again: {error}"
            return
        newest = max(path.stat().st_mtime_ns for path in metrics)
        for path in sorted(again.iterdir()):
            yield _compared(folder / path.name, path.read_bytes(), newest)


def _compared(path: Path, rendered: bytes, newest: int) -> tuple[str, Path, str]:
    """Return the finding on a table; newest: modification time of the newest metrics.json."""
    if not path.exists():
        return "stale", path, "the table is missing"
    if path.read_bytes() == rendered:
        return "ok", path, "table"
    if path.stat().st_mtime_ns < newest:
        return "stale", path, "a metrics.json is newer, and the table differs from it"
    return "altered", path, "the table differs from its metrics.json files"


def _metrics_of(folder: Path) -> list[Path]:
    """Return the metrics.json files that the tables name, in the order of their rows."""
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                found |= dict.fromkeys(each for each in (row.get("file") or "").split(";") if each)
    return [Path(each) for each in found]
