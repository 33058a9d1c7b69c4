"""Intervals of few images: possible values only, and marked as too few to tell."""

import pytest

from dmgan.evaluation.metrics.table import facts_of
from dmgan.evaluation.metrics.table import metrics as all_metrics
from dmgan.report.evaluations import read_evaluation
from dmgan.report.tables.render import write_tables
from tests.report.made_metrics import MODEL, TRAINING, find_row, markdown_cells, metrics, read_all


def of_fifty():
    """Metrics of 50 images as the folds give them, with an IS of -5 ... 11 and an FID below 0."""
    measured = metrics(MODEL, num_images=50)
    for key in ("IS(species)", "FID(species)"):
        del measured[key]["bootstrap"]
    measured["IS(species)"]["interval"], measured["FID(species)"]["interval"] = [-5.0, 11.0], [-8.0, 48.0]
    return measured


def test_intervals_of_fifty_images_are_possible_values_and_too_few_to_tell(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan", metrics=of_fifty())], tmp_path)
    assert markdown_cells(tmp_path, "table1", "DM-GAN", intervals=True)[2] == "9.00 ± 0.18 [1.00, 11.00] ?"
    assert markdown_cells(tmp_path, "table2", "DM-GAN", intervals=True)[4] == "20.00 ± 0.40 [0.00, 48.00] ?"
    row = find_row(tmp_path, "table2", "DM-GAN", "synthbirds", "FID")
    assert (row["interval_low"], row["interval_high"]) == ("0.0", "48.0")
    assert row["interval_over"].endswith(", clipped to 0 or more")
    assert row["too_few"] == "too few to tell: 50 images, FID needs 300"
    line = "Too few images to tell: DM-GAN (50 images). Least number of images: FID and KID 300; R-precision 100."
    assert f"- ? {line}" in (tmp_path / "table2.md").read_text()
    assert rf"\item[?] {line}" in (tmp_path / "table2.tex").read_text()


@pytest.mark.parametrize("count", [99, 299, 300])
def test_every_metric_has_its_least_number_of_images(count, write_metrics, tmp_path):
    write_tables([write_metrics("dmgan", metrics=metrics(MODEL, num_images=count))], tmp_path)
    cells = markdown_cells(tmp_path, "table2", "DM-GAN")[4:]
    assert [cell.endswith("?") for cell in cells] == [count < 300, count < 100, count < 300]  # FID, R-precision, KID
    assert ("Too few images" in read_all(tmp_path, "table2")) == (count < 300)


def test_a_value_of_too_few_images_is_never_the_best(write_metrics, tmp_path):
    subject = {"kind": "external", "name": "Mine", "seed": None, "dataset": "synthbirds", "image_size": 64}
    inputs = {"data": {"captions.json": "ca", "images.bin": "5e"}, "sizes": "64x64 px", "captions": "of the test set"}
    measured = metrics(MODEL | {TRAINING: 90.0}, num_images=50)
    mine = write_metrics(
        "Mine", None, "external", metrics=measured, subject=subject | {"num_images": 50}, inputs=inputs
    )
    write_tables([write_metrics("dmgan"), write_metrics("attngan"), mine], tmp_path)
    assert markdown_cells(tmp_path, "table2", "Mine")[5] == "90.00 ± 1.80 ?"
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[5] == "**60.00 ± 1.20**"


@pytest.mark.parametrize("name", all_metrics())
def test_a_file_of_an_earlier_version_is_clipped_when_it_is_read(name, write_metrics):
    facts, key = facts_of(name), f"{name}(species)"
    measured = metrics({key: 2.0})
    measured[key]["interval"] = measured[key]["bootstrap"]["interval"] = [-1e6, 1e6]
    measure = read_evaluation(write_metrics("dmgan", metrics=measured)).metrics[key]
    ends = (-1e6 if facts.least is None else facts.least, facts.largest or 1e6)
    assert measure.interval == measure.bootstrap[1:] == ends
