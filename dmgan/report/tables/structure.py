"""A table as a structure, which Markdown, LaTeX and HTML are written from."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

MINUS = "−"
LEGEND_LINES = 6  # under a table
_ARROWS = {"up": " ↑", "down": " ↓", "": ""}


class Number(NamedTuple):
    """A number of a cell: its printed digits, and the values behind them."""

    digits: str  # as printed, with an ASCII minus
    value: float
    spread_digits: str = ""  # after "±"
    spread: float | None = None
    spread_over: str = ""
    interval_digits: tuple[str, str] | None = None
    interval: tuple[float, float] | None = None  # 95 %
    interval_over: str = ""
    num_images: int | None = None  # None: published
    files: tuple[Path, ...] = ()  # metrics.json, one per seed of training; empty: published
    too_few: str = ""  # why the images are too few to tell, such as "50 images, fewer than 300"

    @property
    def with_spread(self) -> str:
        """The value with its "±", such as 4.75 ± 0.07."""
        return f"{typeset(self.digits)} ± {typeset(self.spread_digits)}" if self.spread_digits else typeset(self.digits)

    @property
    def interval_text(self) -> str:
        """The interval in brackets; "" if there is none."""
        return "" if self.interval_digits is None else f"[{', '.join(map(typeset, self.interval_digits))}]"

    @property
    def text(self) -> str:
        """The value with "±" and interval, such as 4.75 ± 0.07 [4.61, 4.89]."""
        return " ".join(each for each in (self.with_spread, self.interval_text) if each)


def typeset(digits: str) -> str:
    """Return digits with a true minus sign (U+2212)."""
    return digits.replace("-", MINUS)


class Column(NamedTuple):
    """A column: one metric on one data set."""

    group: str  # data set and where the numbers come from
    metric: str
    better: str  # "up", "down", or "" if the metric does not rank
    scorer: str  # feature extractor or scorer of this run; "" for published numbers
    marks: tuple[str, ...] = ()  # marks of notes on the whole column
    published: bool = False

    @property
    def title(self) -> str:
        """Metric with the arrow of the better direction."""
        return f"{self.metric}{_ARROWS[self.better]}"


class Cell(NamedTuple):
    """A number, or in words why the number is missing."""

    text: str  # "4.75 ± 0.07 [4.61, 4.89]", "not run", "-"
    bold: bool = False
    marks: tuple[str, ...] = ()
    number: Number | None = None
    missing: bool = False  # the text says why a number is missing


class Row(NamedTuple):
    """A method or a control."""

    label: str
    cells: list[Cell]
    control: bool = False
    group: str = ""  # subheading over this row and its neighbours with the same subheading; "" for none


class Note(NamedTuple):
    """A note; `mark` is printed in the cells that the note explains, "" for a general note."""

    mark: str
    text: str
    topic: str = ""  # heading of the file of notes under which the note stands
    on_screen: bool = False  # not in LaTeX, which prints no intervals and whose readers have no files


class Table(NamedTuple):
    """A table ready to be written."""

    name: str  # file name without suffix, such as "table1"
    number: str  # "Table 1"
    caption: str
    columns: list[Column]
    rows: list[Row]
    legend: list[Note]  # under the table, at most LEGEND_LINES
    notes: list[Note]  # in a file of their own
    stub: str = "Method"  # heading of the column of labels

    def groups(self) -> Iterator[tuple[str, list[Row]]]:
        """Yield subheadings with their rows."""
        for group, rows in groupby(self.rows, key=lambda row: row.group):
            yield group, list(rows)
