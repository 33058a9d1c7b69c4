"""Conflicts of the literature: one method, data set and metric printed with different numbers."""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from dmgan.report.literature.published import SAME_DOCUMENT, Published, published_rows
from dmgan.report.tables.paper_tables import LAYOUTS


class Conflict(NamedTuple):
    """Different printed numbers of one quantity."""

    method: str
    datasets: tuple[str, ...]
    metric: str
    rows: tuple[Published, ...]  # in the order of the file

    @property
    def values(self) -> dict[str, list[str]]:
        """The places of every printed value."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            found.setdefault(row.value, []).append(row.place)
        return found

    @property
    def documents(self) -> str:
        """Whether one document contradicts itself or several disagree."""
        return "one document" if len({row.source for row in self.rows}) == 1 else "several documents"

    @property
    def difference(self) -> str:
        """The largest difference of two values, and its share of the first value; "" if a value is not a number."""
        if not all(row.is_number for row in self.rows):
            return ""
        values = [Decimal(row.value) for row in self.rows]
        difference = max(values) - min(values)
        return f"{difference:f} ({100 * difference / abs(values[0]):.1f} %)"

    @property
    def remarks(self) -> list[str]:
        """The remarks on the numbers."""
        return list(dict.fromkeys(row.remark for row in self.rows if row.remark))


def conflicts(rows: Iterable[Published] | None = None) -> list[Conflict]:
    """Return the conflicts among published numbers (default: all), in the order of the file.

    Several values in one place are a list, such as two resolutions that were tried, and no conflict. Scans repeat
    their document and are left out. A number of both data sets counts for both.
    """
    quantities: dict[tuple[str, str, str], list[Published]] = {}
    for row in published_rows() if rows is None else rows:
        if row.source not in SAME_DOCUMENT and row.value:
            for dataset in row.datasets:
                quantities.setdefault((_identity(row.method), row.metric, dataset), []).append(row)
    found: dict[tuple[Published, ...], list[str]] = {}  # numbers -> their data sets
    for (*_, dataset), members in quantities.items():
        if _conflicting(members):
            found.setdefault(tuple(members), []).append(dataset)
    return [Conflict(members[0].method, tuple(sets), members[0].metric, members) for members, sets in found.items()]


def _identity(method: str) -> str:
    """Return the model of a method, which papers print under several names; its name if it is not implemented."""
    for layout in LAYOUTS:
        for each in layout.methods:
            if each.published_as == method and each.model is not None:
                return each.model
    return method


def _conflicting(rows: list[Published]) -> bool:
    """Return whether two places print different values."""
    places: dict[tuple[str, str], set[object]] = {}
    for row in rows:
        value = Decimal(row.value) if row.is_number else row.value
        places.setdefault((row.source, row.table), set()).add(value)
    first, *others = places.values()
    return any(each != first for each in others)
