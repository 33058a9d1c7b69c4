"""Numbers of different protocols are never compared: they are refused, or a note says so."""

import re

import pytest

from dmgan.errors import UserError
from dmgan.report.tables.render import write_tables
from tests.report.made_metrics import MODEL, REAL, markdown_cells, measure, metrics, read_all


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (metrics(MODEL, codec="jpeg"), "codec"),
        (metrics(MODEL, reference_num_images=500), "reference_num_images"),
        (metrics(MODEL, reference="training images"), "reference"),
        (metrics(MODEL, num_images=30000), "num_images"),
        (metrics(MODEL, resize="clean"), "resize"),
        (metrics(MODEL, reference_images_sha256="9b"), "reference_images_sha256"),
        (metrics(MODEL) | {"KID(species)": measure(0.02, "inception")}, "KID"),
    ],
)
def test_numbers_of_two_protocols_are_refused(write_metrics, tmp_path, changed, field):
    first, second = write_metrics("dmgan"), write_metrics("attngan", metrics=changed)
    with pytest.raises(UserError, match=re.escape(field)) as caught:
        write_tables([first, second], tmp_path)
    assert str(first) in str(caught.value) and str(second) in str(caught.value)
    assert not list(tmp_path.glob("table*"))


@pytest.mark.parametrize("kind", ["model", "control"])
def test_numbers_of_two_preparations_of_a_data_set_are_refused(write_metrics, tmp_path, kind):
    """The data set has the same name but another seed, number of images or crop."""
    first, second = (
        write_metrics("dmgan"),
        write_metrics({"model": "attngan", "control": "noise"}[kind], kind=kind, data="7a"),
    )
    with pytest.raises(UserError, match=r'two ways \(prepared data, images.bin: "5e" against "7a"\)'):
        write_tables([first, second], tmp_path)
    write_tables([first, write_metrics("attngan", device="cuda")], tmp_path)  # another device changes only rounding


def test_a_model_of_smaller_images_is_named_with_its_size(write_metrics, tmp_path):
    """GAN-INT-CLS generates 64 px, as in the papers' tables."""
    sizes = {"dmgan": 256, "gan-int-cls": 64}
    files = []
    for name, side in sizes.items():
        subject = {"kind": "model", "name": name, "seed": 0, "dataset": "cub", "num_images": 2000, "image_size": side}
        files.append(write_metrics(name, dataset="cub", subject=subject))
    write_tables(files, tmp_path)
    caption = read_all(tmp_path, "table1")
    assert "2,000 images of 256 × 256 px per model (GAN-INT-CLS: 64 × 64 px)." in caption
    assert "(GAN-INT-CLS" not in read_all(tmp_path, "table2").split("R-precision")[0]


def test_the_row_of_gan_int_cls_holds_gan_cls_if_only_that_was_run(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan"), write_metrics("gan-cls")], tmp_path)
    cells = markdown_cells(tmp_path, "table1", "GAN-INT-CLS")
    assert "9.00" in " ".join(cells) and "2.88" in " ".join(cells)
    with pytest.raises(AssertionError, match="has no line GAN-CLS"):
        markdown_cells(tmp_path, "table1", "GAN-CLS")
    write_tables([write_metrics(each) for each in ("dmgan", "gan-int-cls", "gan-cls")], tmp_path)
    assert "9.00" in " ".join(markdown_cells(tmp_path, "table1", "GAN-CLS"))


def test_a_control_with_another_number_of_images_is_noted(write_metrics, tmp_path):
    halves = metrics(REAL, 800, reference="the other half", reference_num_images=400)
    real = write_metrics("real", None, "control", metrics=halves)
    write_tables([write_metrics("dmgan"), real], tmp_path)
    text = read_all(tmp_path, "table1")
    assert "Real test images (IS(species)): measured on 800 images; the models on 2,000 images." in text
    assert "Real test images rank before every model on IS(species), as they should." in text
    against = "measured on 800 images against 400 (the other half); the models on 2,000 images against 800"
    assert f"Real test images (FID(species) and KID(species)): {against}" in read_all(tmp_path, "table2")
    with pytest.raises(UserError, match="codec"):
        write_tables(
            [write_metrics("dmgan"), write_metrics("real", None, "control", metrics=metrics(REAL, codec="jpeg"))],
            tmp_path,
        )


def test_marks_compare_only_results_that_the_number_of_images_cannot_explain(write_metrics, tmp_path):
    """A control of half the images: fewer images alone can explain a worse result, but not a better one."""
    both = {"recall(species)": 0.5, "precision(species)": 0.5}
    half = {"reference": "the other half", "reference_num_images": 400}
    beaten = REAL | {"FID(species)": 30.0, "KID(species)": 0.03, "recall(species)": 0.4}
    model = write_metrics("dmgan", metrics=metrics(MODEL | both))
    write_tables([model, write_metrics("real", None, "control", metrics=metrics(beaten, 400, **half))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4:] == ["20.00 ± 0.40", "60.00 ± 1.20", "0.0200 ± 0.0004 ‡"]
    text = read_all(tmp_path, "table2")
    assert "Not marked: Real test images behind a model on FID(species). These metrics depend on the number" in text
    assert "Ranks before real test images: DM-GAN on KID(species)." in text
    assert "Not marked: Real test images behind a model on recall(species)." in read_all(tmp_path, "measures")
    assert "before every model on IS(species), as they should" in read_all(tmp_path, "table1")

    noise = MODEL | {"FID(species)": 10.0, "precision(species)": 0.9}
    write_tables([model, write_metrics("noise", None, "control", metrics=metrics(noise, 900))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "20.00 ± 0.40 †"  # although noise has fewer
    assert "Not marked: Noise before a model on precision(species)." in read_all(tmp_path, "measures")
    write_tables([model, write_metrics("noise", None, "control", metrics=metrics(noise, 9000))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "20.00 ± 0.40"
