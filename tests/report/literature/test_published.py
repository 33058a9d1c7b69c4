"""The file of published numbers: its rows, its schema and the errors that name a line."""

import csv

import pytest

from dmgan.errors import UserError
from dmgan.report.literature.published import (
    COLUMNS,
    PLACEHOLDER,
    PUBLISHED_FILE,
    SAME_DOCUMENT,
    SOURCES,
    published,
    published_rows,
    read_published,
)
from tests.paths import SHARED
from tests.reading import read_csv

LEDGER = SHARED / "ledger" / "published.csv"
GOOD = "003,Table 1,CUB,DM-GAN,IS,4.75,0.07,,"


def test_the_file_holds_the_numbers_of_every_document():
    counts = dict.fromkeys(SOURCES, 0)
    for row in published_rows():
        counts[row.source] += 1
    assert counts == {
        "000": 47, "001": 54, "002": 124, "003": 109, "003-code": 12, "004": 109, "004-code": 2, "attngan-code": 1,
        "coco": 2,
    }  # fmt: skip
    assert published("003", "Table 2")["DM-GAN", "COCO", "R-precision"][5:7] == ("88.56", "0.28")
    assert published("003-code", "README")["DM-GAN (released weights)", "COCO", "IS"].value == "32.43"
    assert sum(row.value == PLACEHOLDER for row in published_rows()) == 2
    assert sum(bool(row.remark) for row in published_rows()) == 29 + 7


def test_a_scan_and_its_document_have_the_same_tables():
    for scan, document in SAME_DOCUMENT.items():
        for table in ("Table 1", "Table 2"):
            cells = {place: row[5:7] for place, row in published(scan, table).items()}
            assert cells and cells == {place: row[5:7] for place, row in published(document, table).items()}


@pytest.mark.skipif(not LEDGER.exists(), reason="needs shared/ledger")
def test_the_ledger_s_rows_are_in_the_file_unchanged():
    rows = read_csv(PUBLISHED_FILE)
    for row in rows:
        del row["remark"]
    ledger = read_csv(LEDGER)
    assert len(ledger) == 442 and rows[:442] == ledger


def write(folder, *lines):
    path = folder / "published.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines, ""]), encoding="utf-8")
    return path


def test_a_number_is_added_by_one_line(tmp_path):
    (row,) = read_published(write(tmp_path, GOOD))
    assert row.origin == "published: DM-GAN Table 1" and row.datasets == ("CUB",) and row.is_number


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("005,Table 1,CUB,DM-GAN,IS,4.75,0.07,,", "line 3: source '005' is unknown; take one of 000, 001"),
        ("003,,CUB,DM-GAN,IS,4.75,0.07,,", "line 3: table and method must not be empty"),
        ("003,Table 1,CUB,,IS,4.75,0.07,,", "line 3: table and method must not be empty"),
        ("003,Table 1,Cub,DM-GAN,IS,4.75,,,", "line 3: dataset 'Cub' is unknown; take CUB, COCO"),
        ("003,Table 1,CUB,DM-GAN,ISC,4.75,,,", "line 3: metric 'ISC' is unknown; take IS, FID"),
        ("003,Table 1,CUB,DM-GAN,FID,16.o9,,,", "line 3: value '16.o9' of FID is not a number"),
        ("003,Table 1,CUB,DM-GAN,IS,4.75,±0.07,,", "line 3: std '±0.07' is not a number"),
        ("003,text 3.5,CUB,DM-GAN,hp:epochs,,,,", "line 3: value of hp:epochs is empty"),
        ("003,Table 1,CUB,DM-GAN,IS,4.75", "line 3: has not 9 cells"),
        ("003,Table 1,CUB,DM-GAN,IS,4.75,,a, comma,", "line 3: has not 9 cells"),
        (GOOD, "line 3: repeats line 2"),
        ('003,Table 1,CUB,DM-GAN,IS,"4.75,,,', "line 3: .*is not CSV"),
    ],
)
def test_a_wrong_line_is_named_with_its_fix(tmp_path, line, message):
    with pytest.raises(UserError, match=f"published.csv, {message}"):
        read_published(write(tmp_path, GOOD, line))


def test_wrong_columns_are_named(tmp_path):
    path = tmp_path / "published.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerow(COLUMNS[:-1])
    with pytest.raises(UserError, match="line 1: the columns are not source,table"):
        read_published(path)
