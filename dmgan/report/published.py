"""The numbers that the papers print, read from published.csv.

Column `source` names the paper: 003 is DM-GAN (Zhu et al., CVPR 2019); a note may speak of 002, the memory-driven
semi-parametric model (Li et al., BMVC 2022), which quotes some of the same cells.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

PAPERS = {"003": "DM-GAN"}  # source -> how a table names it
_FILE = Path(__file__).with_name("published.csv")


class Published(NamedTuple):
    """One cell of a paper's table; `value` and `std` are the printed digits, "" where the paper has none."""

    source: str
    table: str
    dataset: str
    method: str
    metric: str
    value: str
    std: str
    note: str

    @property
    def origin(self) -> str:
        """Where the number stands, as a table's source column gives it."""
        return f"published: {PAPERS[self.source]} {self.table}"


@cache
def published_rows() -> tuple[Published, ...]:
    """Every published number this project shows, in the order of the papers."""
    with open(_FILE, encoding="utf-8", newline="") as file:
        return tuple(Published(**row) for row in csv.DictReader(file))


def published(source: str, table: str) -> dict[tuple[str, str, str], Published]:
    """The cells of one table, by (method, dataset, metric)."""
    rows = (row for row in published_rows() if (row.source, row.table) == (source, table))
    return {(row.method, row.dataset, row.metric): row for row in rows}
