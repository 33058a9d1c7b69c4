"""The numbers that the papers print, read from published.csv.

Column `source` names the paper: 001 is the KVM-GAN draft, 002 the memory-driven semi-parametric model (Li et al., BMVC
2022), 003 DM-GAN (Zhu et al., CVPR 2019), 004 a student reproduction of DM-GAN. `note` is written to the CSV tables
only; `remark` explains the cell in a note under the table.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

# Source -> name in tables (PAPERS) and authors (AUTHORS).
PAPERS = {"001": "KVM-GAN", "002": "Memory-Driven", "003": "DM-GAN", "004": "Student reproduction"}
AUTHORS = {
    "001": "in a draft",
    "002": "Li et al., BMVC 2022",
    "003": "Zhu et al., CVPR 2019",
    "004": "Menon and Martin, course report CS6910",
}
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
    remark: str

    @property
    def origin(self) -> str:
        """Value of the table column `source`: paper and table of the number."""
        return f"published: {PAPERS[self.source]} {self.table}"


@cache
def published_rows() -> tuple[Published, ...]:
    """Return all published numbers that this project shows, in the order of the papers."""
    with open(_FILE, encoding="utf-8", newline="") as file:
        return tuple(Published(**row) for row in csv.DictReader(file))


def published(source: str, table: str) -> dict[tuple[str, str, str], Published]:
    """Return the cells of one table, by (method, dataset, metric)."""
    rows = (row for row in published_rows() if (row.source, row.table) == (source, table))
    return {(row.method, row.dataset, row.metric): row for row in rows}
