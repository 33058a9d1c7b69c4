"""Content of the report page: sections of blocks, and the source of every number.

The HTML and the PDF renderer read these structures; neither reads a result.
"""

from dataclasses import dataclass, field
from itertools import groupby
from typing import ClassVar


@dataclass(frozen=True)
class Paragraph:
    """Running text; `warning`: the reader must not miss it."""

    kind: ClassVar[str] = "paragraph"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Items:
    """A list of statements."""

    kind: ClassVar[str] = "items"
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    kind: ClassVar[str] = "facts"
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """Text to copy, such as BibTeX."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Head:
    """Head of a column: the metric, its scorer, and the group of columns that it belongs to."""

    title: str
    scorer: str = ""
    group: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A cell; `source`: anchor of the Source of its number, "" if it is not a number of this run."""

    text: str
    interval: str = ""  # of the number, in brackets
    bold: bool = False
    marks: tuple[str, ...] = ()
    source: str = ""
    missing: bool = False  # the text says why there is no number
    altered: bool = False  # the number's metrics.json does not match its run


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    label: str
    cells: tuple[Cell, ...]
    control: bool = False
    group: str = ""  # subheading over this row and its neighbours with the same subheading; "" for none


@dataclass(frozen=True)
class Table:
    """A table; notes are pairs of the mark that they explain, "" for none, and their text."""

    kind: ClassVar[str] = "table"
    name: str  # anchor
    title: str
    caption: str
    corner: str  # head of the column of labels
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    legend: tuple[tuple[str, str], ...] = ()  # the few notes under the table
    notes: tuple[tuple[str, str], ...] = ()  # all notes
    words: bool = False  # the cells are sentences, not numbers

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The groups of columns, with the number of columns of each; empty if no column has a group."""
        found = [(group, len(list(heads))) for group, heads in groupby(self.heads, key=lambda head: head.group)]
        return found if any(group for group, _ in found) else []

    @property
    def lines(self) -> list[str]:
        """The head of every column in one line, for a narrow screen; with its group if there are several."""
        titles = [f"{head.title} ({head.scorer})" if head.scorer else head.title for head in self.heads]
        several = len(self.groups) > 1
        return [f"{title}, {head.group}" if several else title for title, head in zip(titles, self.heads, strict=True)]

    @property
    def row_groups(self) -> list[tuple[str, list[Row]]]:
        """The subheadings of rows, with their rows."""
        return [(group, list(rows)) for group, rows in groupby(self.rows, key=lambda row: row.group)]


@dataclass(frozen=True)
class Figure:
    """A figure, encoded for the page."""

    kind: ClassVar[str] = "figure"
    name: str
    title: str
    caption: str
    alt: str
    image: bytes
    image_type: str  # "png" or "webp"
    width: int  # px
    height: int
    minimum_px: int  # least width on a screen at which all text can be read


Block = Paragraph | Items | Facts | Code | Table | Figure


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    name: str  # anchor
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class SourceFile:
    """The entry of one metrics.json that a number was read from."""

    file: str  # as the command was given it
    link: str  # relative to the page
    key: str  # of the metric in the file
    value: float
    spread: str
    interval: str
    num_images: int
    bootstrap: str = ""
    finding: str = ""  # why the file does not match its run; "": it matches, or it has no hash
    sealed: bool = True  # false: the file has no hash of its content, so that an altered value cannot be found


@dataclass(frozen=True)
class Source:
    """Where a number comes from; of several files, the number is the mean of their values."""

    anchor: str
    metric: str
    subject: str  # title of the model or control
    files: tuple[SourceFile, ...]
    protocol: tuple[tuple[str, str], ...]
    file: str = "metrics.json"

    @property
    def altered(self) -> bool:
        """Whether a file does not match its run."""
        return any(each.finding for each in self.files)


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    summary: str
    sections: tuple[Section, ...]
    sources: tuple[Source, ...]
    overview: str = ""  # link to the report of the workflow, relative to the page
    warnings: tuple[str, ...] = field(default=())  # shown before everything else
