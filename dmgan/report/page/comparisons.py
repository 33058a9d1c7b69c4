"""Paired comparisons of the page, from the CSV table of `compare`."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from dmgan.errors import UserError
from dmgan.report.page.content import Cell, Head, Paragraph, Row, Table
from dmgan.report.page.sources import Sources
from dmgan.report.results import Measured
from dmgan.report.tables.paper_tables import title_of
from dmgan.report.tables.structure import MINUS
from dmgan.storage.reading import read_text

_HEADS = (
    "first", "second", "difference [95 %]", "p over images (Holm)", "effect size", "p over seeds (Holm)", "result",
)  # fmt: skip


_COLUMNS = (
    "first", "second", "metric", "scorer", "first_value", "second_value", "difference", "interval_low", "interval_high",
    "p_value_holm", "effect_size", "seeds_p_value_holm", "claim", "note",
)  # fmt: skip


def read_table(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a CSV table of this project; raise UserError if it cannot be read or lacks a column."""
    hint = "delete it and run the workflow again"
    reader = csv.DictReader(io.StringIO(read_text(path, hint), newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{path}: is not a readable table ({error}); {hint}") from error
    if missing := [each for each in columns if each not in (reader.fieldnames or ())]:
        raise UserError(f"{path}: has no column {missing[0]}; {hint}")
    if any(None in row or None in row.values() for row in rows):
        raise UserError(f"{path}: a row has not as many cells as the first line; {hint}")
    return rows


def comparisons(path: Path, measured: Measured, sources: Sources) -> Iterator[Paragraph | Table]:
    """Yield the paired comparisons of a comparisons.csv, with the sources of both values."""
    rows = [row for row in read_table(path, _COLUMNS) if row["metric"]]
    if not rows:
        yield Paragraph("Only one model was run, so there is nothing to compare.")
        return
    files = {title_of(name): [each.file for each in runs] for name, runs in measured.models.items()}
    try:
        shown = [_row(row, files, sources) for row in rows]
    except (KeyError, ValueError) as error:
        hint = "make it again: python -m dmgan compare"
        raise UserError(f"{path}: is not a table of these models ({error}); {hint}") from error
    claimed = sum(row["claim"].endswith(row["first"]) or row["claim"].endswith(row["second"]) for row in rows)
    yield Paragraph(
        f"{len(rows)} comparisons of pairs of models, {claimed} of which show a difference. Image n of both models has "
        "the same caption and the same noise, and the models are compared image by image. All comparisons are one "
        "family: p-values are corrected for all of them (Holm)."
    )
    marked = tuple(dict.fromkeys(("†", row["note"]) for row in rows if row["note"]))
    heads = tuple(Head(title) for title in _HEADS)
    caption = "The difference is the first model's value minus the second's; intervals are of one comparison."
    yield Table("comparisons", "Paired comparisons", caption, "Pair and metric", heads, tuple(shown), marked)


def _row(row: dict[str, str], files: dict[str, list[Path]], sources: Sources) -> Row:
    metric = f"{row['metric']}({row['scorer']})"
    values = []
    for which in ("first", "second"):
        source = sources.of_files(metric, files[row[which]])
        values.append(Cell(f"{_number(row[f'{which}_value']):.4g}", source=source.anchor, altered=source.altered))
    over_seeds = row["seeds_p_value_holm"]
    cells = (
        *values,
        Cell(_signed(row["difference"]), f"[{_signed(row['interval_low'])}, {_signed(row['interval_high'])}]"),
        Cell(_p(row["p_value_holm"])),
        Cell(_signed(row["effect_size"])),
        Cell(_p(over_seeds) if over_seeds else "one seed", missing=not over_seeds),
        Cell(row["claim"], bold="better" in row["claim"] and not row["note"], marks=("†",) if row["note"] else ()),
    )
    return Row(f"{row['first']} − {row['second']}, {metric}", cells)


def _number(text: str) -> float:
    """Return the number of a cell; ValueError if it is not finite."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _signed(text: str) -> str:
    """Return a number with its sign, and a true minus sign."""
    return f"{_number(text):+.3g}".replace("-", MINUS)


def _p(text: str) -> str:
    return "<0.001" if _number(text) < 0.001 else f"{_number(text):.3f}"
