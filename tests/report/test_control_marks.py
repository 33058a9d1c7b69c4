"""Marks of models that a control beats, or that beat real images."""

import pytest

from dmgan.report.tables.render import write_tables
from tests.report.made_metrics import HELD_OUT, MODEL, REAL, TRAINING, find_row, markdown_cells, metrics, read_all


def test_a_control_that_beats_a_model_is_marked(write_metrics, tmp_path):
    shuffled = write_metrics("shuffled", None, "control", metrics=metrics(REAL | {TRAINING: 61.0}))
    write_tables(
        [write_metrics("dmgan"), write_metrics("attngan", metrics=metrics(MODEL | {TRAINING: 62.0})), shuffled],
        tmp_path,
    )
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[5] == "60.00 ± 1.20 †"
    assert markdown_cells(tmp_path, "table2", "AttnGAN")[5] == "**62.00 ± 1.24**"
    assert (
        "†" not in markdown_cells(tmp_path, "table2", "DM-GAN")[4]
    )  # shuffled images are real: their FID should be better
    note = f"Real images with shuffled captions ({TRAINING} 61.00) above DM-GAN."
    assert note in read_all(tmp_path, "table2")
    assert r"60.00 +- 1.20 {\tnote{$\dagger$}}" in (tmp_path / "table2.tex").read_text()
    assert "control" in find_row(tmp_path, "table2", "DM-GAN", "synthbirds", "R-precision")["note"]


@pytest.mark.parametrize("shuffled, unable", [(40.0, False), (54.0, True), (99.0, True)])
def test_a_column_in_which_real_and_shuffled_images_overlap_is_unable_to_tell(
    shuffled, unable, write_metrics, tmp_path
):
    """The intervals are 64 ... 96 for real images, and 32 ... 48, 43.2 ... 64.8 or 79.2 ... 118.8."""
    controls = [
        write_metrics(name, None, "control", metrics=metrics(REAL | {TRAINING: value}))
        for name, value in (("real", 80.0), ("shuffled", shuffled))
    ]
    write_tables([write_metrics("dmgan"), *controls], tmp_path)
    header, text = markdown_cells(tmp_path, "table2", "Method"), read_all(tmp_path, "table2")
    assert ("¶" in header[5]) == unable and "¶" not in header[4]  # FID reads no captions
    note = f"their intervals ({TRAINING}, real images 80.00 [64.00, 96.00], shuffled captions {shuffled:.2f} ["
    assert ("- ¶ Unable to tell: " in text) == (note in text) == unable
    row = find_row(tmp_path, "table2", "DM-GAN", "synthbirds", "R-precision")
    assert ("cannot tell real images from" in row["note"]) == unable
    assert (r"\P{}" in (tmp_path / "table2.tex").read_text()) == unable


def test_a_classifier_s_accuracy_is_beside_its_columns(write_metrics, tmp_path):
    measured = metrics(MODEL)
    for name in ("IS(species)", "FID(species)"):
        measured[name]["protocol"]["feature_network_accuracy"] = 0.42
    write_tables([write_metrics("dmgan", metrics=measured)], tmp_path)
    assert (
        "FID(species): the species-classifier names the class of 42.0 % of real images of its classes that it was not "
        "trained on." in read_all(tmp_path, "table2")
    )


def test_a_model_that_beats_real_images_is_marked(write_metrics, tmp_path):
    real = write_metrics("real", None, "control", metrics=metrics(REAL | {TRAINING: 50.0}))
    write_tables([write_metrics("dmgan"), real], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[5] == "60.00 ± 1.20 ‡"
    text = read_all(tmp_path, "table2")
    assert f"Ranks before real test images: DM-GAN on {TRAINING}." in text
    assert "Real test images rank before every model on FID(species) and KID(species)" in text


def test_adversarial_images_mark_the_scorer_that_they_were_made_for(write_metrics, tmp_path):
    fooled = metrics(
        dict.fromkeys(MODEL, 0.5) | {"FID(species)": 400, "KID(species)": 9, TRAINING: 99.5, HELD_OUT: 1.5}
    )
    model = write_metrics("dmgan", metrics=metrics(MODEL | {HELD_OUT: 40.0}))
    write_tables([model, write_metrics("adversarial", None, "control", metrics=fooled)], tmp_path)
    header, cells = (markdown_cells(tmp_path, "table2", name)[5:7] for name in ("Method", "DM-GAN"))
    assert header == [
        "R-precision ↑ †, synthbirds (this run), training DAMSM", "R-precision ↑, synthbirds (this run), held-out DAMSM"
    ]  # fmt: skip
    assert cells == ["60.00 ± 1.20 †", "40.00 ± 0.80"]
    text = read_all(tmp_path, "table2")
    assert f"Adversarial images ({TRAINING} 99.50) above DM-GAN. In these cases the metric is no evidence" in text
    assert f"they show nothing that the caption describes: 99.50 on {TRAINING} and 1.50 on {HELD_OUT}." in text


def test_models_worse_than_the_nearest_training_images_are_marked(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan"), write_metrics("nearest", None, "control", metrics=metrics(REAL))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "20.00 ± 0.40 §"
    assert "Ranks behind the nearest training images: DM-GAN on FID(species); DM-GAN on" in read_all(tmp_path, "table2")


def test_diversity_does_not_rank_but_a_collapsed_model_is_noted(write_metrics, tmp_path):
    def diverse(value):
        return metrics(MODEL | {"diversity(species)": value})

    controls = [write_metrics(name, None, "control", metrics=diverse(1.0)) for name in ("real", "nearest", "noise")]
    write_tables(
        [write_metrics("dmgan", metrics=diverse(1.2)), write_metrics("attngan", metrics=diverse(0.3)), *controls],
        tmp_path,
    )
    assert markdown_cells(tmp_path, "measures", "DM-GAN") == ["1.200 ± 0.024"]
    assert markdown_cells(tmp_path, "measures", "AttnGAN") == ["0.300 ± 0.006"]
    text = read_all(tmp_path, "measures")
    assert "Collapsed, below 0.1 of the diversity of real images: none." in text and "as they should" not in text
    write_tables([write_metrics("attngan", metrics=diverse(0.02)), *controls], tmp_path)
    assert "real images: AttnGAN (0.020)." in read_all(tmp_path, "measures")
