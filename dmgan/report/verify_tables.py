"""Verification of tables: they are rendered again from their metrics.json files and compared."""

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dmgan.errors import UserError
from dmgan.report.evaluations import read_evaluation
from dmgan.report.tables.claims import write_claims
from dmgan.report.tables.comparisons import write_comparisons
from dmgan.report.tables.paper_tables import title_of
from dmgan.report.tables.render import write_tables
from dmgan.report.tables.retrieval import retrieval_files, write_retrieval
from dmgan.storage.reading import read_text

_SEED = 100  # of `compare`, if --seed is left out
_HINT = "make it again: python -m dmgan tables"


def table_findings(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield state, path and reason of every file of a folder that `tables` and `compare` wrote."""
    try:
        metrics = _metrics_of(folder)
    except (UserError, csv.Error) as error:
        yield "altered", folder, f"a table cannot be read ({error})"
        return
    for path in metrics:
        if not os.path.exists(path):
            yield "orphaned", folder, f"{path}, which a table names, is not there, as seen from the current folder"
    metrics = [path for path in metrics if os.path.exists(path)]  # also of a name that no file can have
    if not metrics:
        return
    with tempfile.TemporaryDirectory(prefix="dmgan-verify-") as temporary:
        again = Path(temporary)
        try:
            metrics = _as_compared(folder, metrics)
            write_tables(metrics, again, check=False)  # `verify` names the files that were altered
            if (folder / "comparisons.csv").exists():
                write_comparisons(metrics, again, _SEED, check=False)
            if (folder / "claims.csv").exists():
                compared = again / "comparisons.csv"
                write_claims(metrics, compared if compared.exists() else None, again, check=False)
        except UserError as error:
            yield "stale", folder, f"its tables cannot be rendered again: {error}"
            return
        yield from _compared_all(folder, again, metrics)


def retrieval_findings(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield state, path and reason of the files that `retrieval-table` wrote into the folder of a model."""
    try:
        of_methods, memorisation = retrieval_files(folder)
    except UserError as error:
        yield "altered", folder / "retrieval.csv", str(error)
        return
    inputs = [*of_methods.values(), *memorisation]
    if missing := [path for path in inputs if not os.path.exists(path)]:
        yield "orphaned", folder / "retrieval.csv", f"{missing[0]}, which it was made from, is not there"
        return
    with tempfile.TemporaryDirectory(prefix="dmgan-verify-") as temporary:
        again = Path(temporary)
        try:
            write_retrieval(list(of_methods.values()), memorisation, again, check=False)
        except UserError as error:
            yield "stale", folder / "retrieval.csv", f"it cannot be rendered again: {error}"
            return
        yield from _compared_all(folder, again, inputs)


def _compared_all(folder: Path, again: Path, inputs: Sequence[Path]) -> Iterator[tuple[str, Path, str]]:
    """Yield the findings on tables of `folder` that were rendered again, in `again`, from the files `inputs`."""
    newest = max(path.stat().st_mtime_ns for path in inputs)
    for path in sorted(again.iterdir()):
        yield _compared(folder / path.name, path.read_bytes(), newest)


def _as_compared(folder: Path, metrics: Sequence[Path]) -> list[Path]:
    """Return the metrics.json files in the order in which comparisons.csv names their models, if it is there.

    Notes and pairs name the models in the order in which the files were given.
    """
    if not (folder / "comparisons.csv").exists():
        return list(metrics)
    try:
        rows = csv.DictReader(io.StringIO(read_text(folder / "comparisons.csv", _HINT), newline=""))
        titles = list(dict.fromkeys(row[which] for row in rows for which in ("first", "second")))
    except (UserError, KeyError, csv.Error):  # the comparison with the rendered table tells
        return list(metrics)
    places = {title: place for place, title in enumerate(titles)}
    return sorted(metrics, key=lambda path: places.get(_title(path), len(places)))


def _title(path: Path) -> str:
    evaluation = read_evaluation(path, check=False)
    return evaluation.name if evaluation.kind == "control" else title_of(evaluation.name)


def _compared(path: Path, rendered: bytes, newest: int) -> tuple[str, Path, str]:
    """Return the finding on a table; newest: modification time of the newest metrics.json."""
    if not path.is_file():
        return "stale", path, "the table is missing"
    if path.stat().st_size == len(rendered) and path.read_bytes() == rendered:
        return "ok", path, "table"
    if path.stat().st_mtime_ns < newest:
        return "stale", path, "a metrics.json is newer, and the table differs from it"
    return "altered", path, "the table differs from its metrics.json files"


def _metrics_of(folder: Path) -> list[Path]:
    """Return the metrics.json files that the tables name, in the order of their rows."""
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.csv")):
        for row in csv.DictReader(io.StringIO(read_text(path, _HINT), newline=""), strict=True):
            found |= dict.fromkeys(each for each in (row.get("file") or "").split(";") if each)
    return [Path(each) for each in found]
