"""Published numbers: printed as in the papers, with their remarks, and placed in the right rows."""

import re

from dmgan.models.registry import MODELS
from dmgan.report.literature.published import published_rows
from dmgan.report.tables.paper_tables import LAYOUTS
from dmgan.report.tables.render import write_tables
from tests.reading import read_csv
from tests.report.made_metrics import REAL, find_row, markdown_cells, metrics, read_all


def test_the_tables_print_the_published_numbers(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan")], tmp_path)
    printed = {}
    for layout in LAYOUTS:
        for row in read_csv(tmp_path / f"{layout.name}.csv"):
            if row["source"].startswith("published"):
                place = (row["source"], row["dataset"], row["method"], row["metric"])
                printed[place] = (row["value"], row["spread"])
    shown = {(layout.source, layout.number) for layout in LAYOUTS}
    rows = [row for row in published_rows() if (row.source, row.table) in shown]
    ledger = {(row.origin, row.dataset, row.method, row.metric): (row.value, row.std) for row in rows}
    assert printed == ledger
    assert len(ledger) == 32 + 20 + 112 + 4  # DM-GAN, the draft, 14 rows of 8 cells, the reproduction
    dmgan, draft = "published: DM-GAN Table", "published: KVM-GAN Table"
    memory_driven, reproduction = "published: Memory-Driven Table 1", "published: Student reproduction Table 1"
    assert ledger[f"{dmgan} 1", "CUB", "DM-GAN", "IS"] == ("4.75", "0.07")
    assert ledger[f"{dmgan} 1", "COCO", "GAWWN", "IS"] == ("", "")
    assert ledger[f"{dmgan} 2", "COCO", "AttnGAN", "R-precision"] == ("85.47", "3.69")
    assert ledger[f"{dmgan} 3", "CUB", "DM-GAN +M+WG", "FID"] == ("20.83", "")
    assert ledger[f"{draft} 2", "CUB", "KVM-GAN", "FID"] == ("16.09", "")
    assert ledger[memory_driven, "COCO", "Memory-driven (Ours)", "SOA-I"] == ("65.83", "")
    assert ledger[memory_driven, "COCO", "Real Images", "SOA-C"] == ("74.97", "")
    assert ledger[reproduction, "CUB", "DM-GAN (reproduced, batch 2)", "IS"] == ("4.53", "")
    assert ledger[reproduction, "CUB", "DM-GAN (reproduced, batch 2)", "FID"] == ("17.76", "")


def test_the_tables_list_known_models():
    known = {each.model for layout in LAYOUTS for each in layout.methods if each.model}
    assert {"dmgan", "kvmgan", "kvmgan-literal", "dmgan-004", "dmgan-004-two-words"} <= known & set(MODELS)
    absent = {each.title for layout in LAYOUTS for each in layout.methods if each.model is None}
    assert absent == {
        "GAWWN", "PPGN", "XMC-GAN", "LAFITE", "DALL-E", "GLIDE", "CP-GAN", "Obj-GAN", "OP-GAN"
    }  # fmt: skip


def test_published_numbers_of_real_images_are_in_the_row_of_the_control(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan"), write_metrics("real", None, "control", metrics=metrics(REAL))], tmp_path)
    assert markdown_cells(tmp_path, "mdsp-table1", "Real test images")[:3] == ["25.34", "-", "89.17"]
    assert markdown_cells(tmp_path, "mdsp-table1", "Real test images")[8:] != ["not run"] * 3
    assert markdown_cells(tmp_path, "mdsp-table1", "Noise")[:8] == ["-"] * 8
    assert find_row(tmp_path, "mdsp-table1", "Real Images", "COCO", "SOA-C")["value"] == "74.97"


def test_published_numbers_that_do_not_rank_are_not_bold(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan")], tmp_path)
    header = markdown_cells(tmp_path, "mdsp-table1", "Method")
    distances = [column for column, title in enumerate(header) if title.startswith("FID") and "published" in title]
    lines = read_all(tmp_path, "mdsp-table1").splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("|")]
    assert len(distances) == 2 and not any("**" in row[column + 1] for row in rows for column in distances)
    assert "**52.73** [5]" in markdown_cells(tmp_path, "mdsp-table1", "CP-GAN")


def test_every_remark_has_a_mark_in_its_cells(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan")], tmp_path)
    text = read_all(tmp_path, "kvmgan-table1")
    assert markdown_cells(tmp_path, "kvmgan-table1", "KVM-GAN")[:2] == ["**4.75 ± 0.07** [1]", "**30.49 ± 0.57** [2]"]
    assert "- [1] The draft's text says 4.80, in its introduction and in section 4.1." in text
    assert "All published KVM-GAN numbers are those of DM-GAN" in text
    assert "(FID 4.75 and 4.53, IS 16.09 and 17.76); this table corrects" in read_all(tmp_path, "reproduction-table1")
    for layout in LAYOUTS:
        marks = re.findall(r"\[(\d+)\]", read_all(tmp_path, layout.name))
        assert set(marks) == {str(number) for number in range(1, len(set(marks)) + 1)}
        assert all(marks.count(mark) >= 2 for mark in marks), "every remark needs a mark in a cell, every mark a remark"


def test_published_numbers_keep_their_printed_digits(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan")], tmp_path)
    assert markdown_cells(tmp_path, "table1", "StackGAN") == ["3.70 ± 0.04", "8.45 ± 0.03", "not run"]
    assert markdown_cells(tmp_path, "table1", "PPGN") == ["-", "9.58 ± 0.21", "published only"]
    assert markdown_cells(tmp_path, "table1", "DM-GAN")[:2] == ["**4.75 ± 0.07**", "**30.49 ± 0.57** [1]"]
    assert markdown_cells(tmp_path, "table2", "AttnGAN")[:4] == ["23.98", "67.82 ± 4.43", "35.49 [1]", "85.47 ± 3.69"]
    assert "officially released weights" in find_row(tmp_path, "table2", "AttnGAN", "CUB", "FID")["note"]


def test_a_published_spread_that_ten_folds_cannot_have_is_noted(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan")], tmp_path)
    text = read_all(tmp_path, "table2")
    assert "AttnGAN on CUB, ± 4.43 although folds of 3,000 images give ± 0.85" in text
    assert "the published ± fits folds of about 111 images" in text
    assert "AttnGAN on COCO, ± 3.69" in text and "DM-GAN on CUB" not in text
    assert "cannot be over" not in read_all(tmp_path, "table3")
