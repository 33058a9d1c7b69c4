"""Spread, interval and chance level beside the numbers of this run."""

import statistics

import pytest

from dmgan.report.tables.render import write_tables
from tests.report.made_metrics import (
    CLUSTERED,
    FOLDS,
    MODEL,
    TRAINING,
    find_row,
    markdown_cells,
    measure,
    metrics,
    read_all,
)


def test_the_spread_of_one_seed_is_over_folds(write_metrics, tmp_path):
    path = write_metrics("dmgan")
    write_tables([path], tmp_path)
    row = find_row(tmp_path, "table1", "DM-GAN", "synthbirds", "IS")
    assert (row["value"], row["spread"], row["spread_over"]) == ("9.0", "0.18", FOLDS)
    assert (float(row["interval_low"]), float(row["interval_high"])) == pytest.approx((8.1, 9.9))
    assert (row["num_images"], row["source"], row["file"]) == ("2000", "this run", str(path))
    assert (float(row["bootstrap_low"]), float(row["bootstrap_high"])) == pytest.approx((7.2, 10.8))
    assert row["bootstrap_over"] == CLUSTERED
    assert markdown_cells(tmp_path, "table1", "DM-GAN")[2] == "9.00 ± 0.18"
    assert f"± of this run: standard deviation over {FOLDS}." in read_all(tmp_path, "table1")


def test_cells_show_their_interval_and_a_note_names_what_it_is_over(write_metrics, tmp_path):
    distance = {key: each for key, each in measure(20.0).items() if key != "bootstrap"}
    write_tables([write_metrics("dmgan", metrics=metrics(MODEL) | {"FID(species)": distance})], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN", intervals=True)[4:6] == [
        "20.00 ± 0.40 [18.00, 22.00]", "60.00 ± 1.20 [48.00, 72.00]"
    ]  # fmt: skip
    # IS is over the papers' splits, which a bootstrap of all images is not.
    assert markdown_cells(tmp_path, "table1", "DM-GAN", intervals=True)[2] == "9.00 ± 0.18 [8.10, 9.90]"
    text = read_all(tmp_path, "table2")
    assert f"{TRAINING} and KID(species), bootstrap over {CLUSTERED}." in text
    over = "bootstrap over images, clipped to 0 or more"
    assert f"[ ] of this run: 95 % intervals. FID(species), {over}; " in text
    latex = (tmp_path / "table2.tex").read_text()
    assert "60.00 +- 1.20" in latex and "48.00" not in latex  # "±" or interval, not both


def test_several_seeds_are_averaged_and_their_spread_is_marked(write_metrics, tmp_path):
    values = [9.0, 9.4, 10.1]
    runs = [
        write_metrics("dmgan", seed, metrics=metrics(MODEL | {"IS(species)": value}))
        for seed, value in enumerate(values)
    ]
    write_tables([*runs, write_metrics("attngan", metrics=metrics(MODEL | {"IS(species)": 8.0}))], tmp_path)
    row = find_row(tmp_path, "table1", "DM-GAN", "synthbirds", "IS")
    assert float(row["value"]) == pytest.approx(statistics.mean(values))
    assert float(row["spread"]) == pytest.approx(statistics.stdev(values))
    assert row["spread_over"] == "3 seeds of training"
    assert row["interval_over"] == "3 seeds of training, clipped to 1 or more"
    half = 4.302652729911275 * statistics.stdev(values) / 3**0.5  # Student's t, 2 degrees of freedom, 95 %
    assert float(row["interval_low"]) == pytest.approx(statistics.mean(values) - half)
    assert row["file"].split(";") == [str(run) for run in runs]
    assert markdown_cells(tmp_path, "table1", "DM-GAN")[2] == "**9.50 ± 0.56** (a)"
    assert markdown_cells(tmp_path, "table1", "AttnGAN")[2] == "8.00 ± 0.16"
    text = read_all(tmp_path, "table1")
    assert f"- ± of this run: standard deviation over {FOLDS}; (a) 3 seeds of training." in text
    assert "- (a) ± of this run: mean and sample standard deviation over 3 seeds of training." in text


def test_the_interval_of_a_share_over_seeds_stays_within_100_percent(write_metrics, tmp_path):
    runs = [
        write_metrics("dmgan", seed, metrics=metrics(MODEL | {TRAINING: value})) for seed, value in enumerate((95, 99))
    ]
    write_tables(runs, tmp_path)
    row = find_row(tmp_path, "table2", "DM-GAN", "synthbirds", "R-precision")
    assert float(row["interval_high"]) == 100.0 and float(row["interval_low"]) == pytest.approx(
        97 - 12.7062 * 2, abs=1e-3
    )
    assert row["interval_over"] == "2 seeds of training, clipped to 0 ... 100"


def test_small_distances_are_printed_with_three_digits(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan", metrics=metrics(MODEL | {"FID(species)": 0.0345}))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "0.0345 ± 0.0007"


def test_a_note_has_the_chance_level_and_the_accuracy_of_the_classifier(write_metrics, tmp_path):
    key = "attribute accuracy(attribute classifier)"
    scored = metrics(MODEL) | {key: measure(50.0, "attribute-classifier", accuracy_on_real_test_images=0.7589)}
    scored[key]["chance"] = 11.26
    write_tables([write_metrics("dmgan", metrics=scored)], tmp_path)
    text = read_all(tmp_path, "table2")
    assert f"Chance level: 11.26 on {key} (percent)." in text
    assert "The attribute classifier is correct on 75.89 %" in text
