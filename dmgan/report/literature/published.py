"""The numbers that the papers print, read from published.csv.

`source` is a key of SOURCES, `table` the table, figure, equation or sentence that prints the number. `metric` is a
metric of this project, or a fact: hp:NAME (a hyperparameter), data:NAME (of a data set), params:NAME (parameters of a
tensor), METRIC gain and METRIC relative gain, or a key of FACTS. `value` and `std` are the printed digits; `value` is
empty if the source prints a dash, and PLACEHOLDER if it prints that. `note` is written to the CSV tables only; `remark`
explains the cell in a note under the table.
"""

import csv
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import metrics
from dmgan.storage.reading import read_text


class Source(NamedTuple):
    """A document or a public repository that prints numbers."""

    name: str  # in tables
    authors: str


SOURCES = {
    "000": Source("KVM-GAN, scanned", "in a draft"),
    "001": Source("KVM-GAN", "in a draft"),
    "002": Source("Memory-Driven", "Li et al., BMVC 2022"),
    "003": Source("DM-GAN", "Zhu et al., CVPR 2019"),
    "003-code": Source("DM-GAN release", "MinfengZhu/DM-GAN, commit d515995"),
    "004": Source("Student reproduction", "Menon and Martin, course report CS6910"),
    "004-code": Source("Student reproduction's code", "DarkcrusherX/CS6910-DM-GAN"),
    "attngan-code": Source("AttnGAN release", "taoxugit/AttnGAN, commit 0d000e6"),
    "coco": Source("COCO 2014", "Lin et al., ECCV 2014"),
}
SAME_DOCUMENT = {"000": "001"}  # a scan of the same draft
PAPERS = {key: source.name for key, source in SOURCES.items()}
AUTHORS = {key: source.authors for key, source in SOURCES.items()}
DATASETS = ("CUB", "COCO")
NO_DATASET = "-"  # `dataset` of a fact that is of no data set
PLACEHOLDER = "xxxx"  # the draft's mark for a number that was to be filled in
FACTS = (
    *(f"top5_word_rank_{rank}" for rank in range(1, 6)), "papers_read", "hours_per_workday", "hours_weekend_total",
    "hours_total", "deadline_DRGraph", "deadline_CVPR_MemoryGAN", "deadline_CVPR_SeeInTheDark",
)  # fmt: skip
COLUMNS = ("source", "table", "dataset", "method", "metric", "value", "std", "note", "remark")
PUBLISHED_FILE = Path(__file__).with_name("published.csv")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_FACT = re.compile(r"(hp|data|params):\S+")


class Published(NamedTuple):
    """One printed number; `value` and `std` are the printed digits, "" if the source has none."""

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
        """Value of the table column `source`: document and table of the number."""
        return f"published: {PAPERS[self.source]} {self.table}"

    @property
    def place(self) -> str:
        """Document and table of the number, in sentences."""
        return f"{PAPERS[self.source]}, {self.table}"

    @property
    def quantity(self) -> str:
        """The metric, or the fact in words."""
        return self.metric.rpartition(":")[2].replace("_", " ")

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that the number is of."""
        return tuple(self.dataset.split(";"))

    @property
    def is_number(self) -> bool:
        """Whether the source prints a number: not a dash, a word or a placeholder."""
        return _NUMBER.fullmatch(self.value) is not None


@cache
def published_rows() -> tuple[Published, ...]:
    """Return all published numbers, in the order of the file."""
    return tuple(read_published(PUBLISHED_FILE))


def published(source: str, table: str) -> dict[tuple[str, str, str], Published]:
    """Return the cells of one table, by (method, dataset, metric)."""
    rows = (row for row in published_rows() if (row.source, row.table) == (source, table))
    return {(row.method, row.dataset, row.metric): row for row in rows}


def read_published(path: Path) -> list[Published]:
    """Read a file of published numbers; raise UserError that names file and line if a row breaks the schema."""
    found: dict[tuple[str, ...], int] = {}
    rows = []
    for line, cells in read_rows(path, COLUMNS):
        row = Published(**cells)
        for wrong in _faults(row):
            raise UserError(f"{path}, line {line}: {wrong}")
        first = found.setdefault(row[:6], line)
        if first != line:
            raise UserError(f"{path}, line {line}: repeats line {first}; delete one of them")
        rows.append(row)
    return rows


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of a CSV file; raise UserError that names file and line if columns are wrong."""
    reader = csv.DictReader(io.StringIO(read_text(path, "restore the file")), strict=True)
    line = 1  # on which the row begins; `line_num` is that on which the row before ended
    try:
        if tuple(reader.fieldnames or ()) != columns:
            raise UserError(f"{path}, line 1: the columns are not {','.join(columns)}; correct the first line")
        line = reader.line_num + 1
        for row in reader:
            if None in row or None in row.values():
                raise UserError(
                    f"{path}, line {line}: has not {len(columns)} cells; separate {len(columns)} cells by commas, and "
                    "put a cell with a comma in double quotes"
                )
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: is not CSV ({error}); correct the quotes") from error


def _faults(row: Published) -> Iterator[str]:
    """Yield what breaks the schema in a row, with the fix."""
    if row.source not in SOURCES:
        yield f"source {row.source!r} is unknown; take one of {', '.join(SOURCES)}, or add it to SOURCES"
    if not row.table or not row.method:
        yield "table and method must not be empty; name the table or sentence, and the method as it is printed there"
    if row.dataset != NO_DATASET and not set(row.datasets) <= set(DATASETS):
        yield f"dataset {row.dataset!r} is unknown; take {', '.join(DATASETS)}, both with a semicolon, or {NO_DATASET}"
    metric = row.metric.removesuffix(" gain").removesuffix(" relative")
    if metric in metrics():
        words = ("", PLACEHOLDER)
        if row.value not in words and not row.is_number:
            yield f"value {row.value!r} of {row.metric} is not a number; print the source's digits, or leave it empty"
    elif not _FACT.fullmatch(row.metric) and row.metric not in FACTS:
        known = ", ".join(metrics())
        yield f"metric {row.metric!r} is unknown; take {known}, one of these with ' gain', or hp:, data: or params:NAME"
    elif not row.value:
        yield f"value of {row.metric} is empty; print the source's digits"
    if row.std and not _NUMBER.fullmatch(row.std):
        yield f"std {row.std!r} is not a number; print the source's digits, or leave it empty"
