"""The papers' claims on the page, from the CSV table of `claims`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dmgan.report.page.comparisons import read_table
from dmgan.report.page.content import Block, Cell, Head, Paragraph, Row, Table

_COLUMNS = (
    "id",
    "paper",
    "where",
    "quote",
    "result",
    "arithmetic",
    "dataset",
    "in_this_run",
    "reason",
    "numbers",
    "remark",
)


def claims(path: Path) -> Iterator[Block]:
    """Yield the claims of a claims.csv: by the papers' own numbers, and on this run."""
    rows = read_table(path, _COLUMNS)
    counted = (Counter(row[name] for row in rows).most_common() for name in ("result", "in_this_run"))
    printed, own = ("; ".join(f"{result}: {count}" for result, count in each) for each in counted)
    yield Paragraph(
        f"{len(rows)} claims of the papers. By the numbers that the papers print: {printed}. On this run: {own}."
    )
    heads = (Head("by the printed numbers"), Head("on this run"), Head("remark"))
    caption = "A claim is tested on this run only if data set, image size, images and scorer are those of the paper."
    shown = tuple(Row(_claim(row), tuple(Cell(text) for text in _cells(row))) for row in rows)
    yield Table("claims", "Claims", caption, "Claim", heads, shown, words=True)


def _claim(row: dict[str, str]) -> str:
    return f"{row['id']}. {row['paper']}, {row['where']}: \u201c{row['quote']}\u201d"


def _cells(row: dict[str, str]) -> tuple[str, str, str]:
    own = " ".join(each for each in (row["numbers"], f"({row['reason']})" if row["reason"] else "") if each)
    return f"{row['result']}: {row['arithmetic']}", f"{row['in_this_run']}. {own}".strip(), row["remark"]
