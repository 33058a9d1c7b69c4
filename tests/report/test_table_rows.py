"""Rows and columns of the tables: models that were run or not, further metrics, and files that are refused."""

import dataclasses
from pathlib import Path

import pytest

from dmgan.errors import UserError
from dmgan.models.registry import MODELS
from dmgan.report.tables.paper_tables import LAYOUTS
from dmgan.report.tables.render import write_tables
from tests.paths import CONFIGS
from tests.reading import read_csv
from tests.report.made_metrics import (
    HELD_OUT,
    MODEL,
    REAL,
    TRAINING,
    find_row,
    markdown_cells,
    measure,
    metrics,
    read_all,
)
from workflow.configuration import models_of, read_configuration


def test_soa_has_a_column_for_every_detector(write_metrics, tmp_path):
    classifier, truth = (
        {f"SOA-{kind}({scorer})": 60.0 for kind in "CI"} for scorer in ("attribute classifier", "truth")
    )
    seen = metrics(classifier, accuracy_on_real_test_images=0.75)
    write_tables(
        [
            write_metrics("dmgan", metrics=metrics(MODEL) | seen),
            write_metrics("real", None, "control", metrics=metrics(REAL) | seen | metrics(truth)),
            write_metrics("noise", None, "control", metrics=metrics(REAL) | seen | dict.fromkeys(truth)),
        ],
        tmp_path,
    )
    assert read_all(tmp_path, "mdsp-table1").count("The attribute classifier is correct on 75.00 %") == 1
    header = markdown_cells(tmp_path, "mdsp-table1", "Method")
    assert [each.split(", ")[-1] for each in header if each.startswith("SOA") and "COCO" not in each] == [
        "attribute classifier", "truth", "attribute classifier", "truth"
    ]  # fmt: skip
    assert markdown_cells(tmp_path, "mdsp-table1", "DM-GAN")[-4:] == ["60.00 ± 1.20", "not defined"] * 2
    assert markdown_cells(tmp_path, "mdsp-table1", "Noise")[-3] == "not defined"
    assert markdown_cells(tmp_path, "mdsp-table1", "LAFITE")[-4:] == ["published only"] * 4
    assert markdown_cells(tmp_path, "mdsp-table1", "Real test images")[6:8] == ["74.97", "80.84"]
    text = (tmp_path / "mdsp-table1.tex").read_text()
    assert "attribute" in text and "truth" not in text  # no model has a number there
    assert "truth" in (tmp_path / "mdsp-table1-controls.tex").read_text()


def test_soa_of_its_own_images_has_a_column_that_names_their_rule(write_metrics, tmp_path):
    """It stands beside SOA of the images of all other metrics; its cell leads to the file of its own images."""
    key, own = "SOA-C(frcnn-v2@0.5)", "SOA-C(frcnn-v2@0.5, three images per caption)"
    counts = {"classes": 80, "images_of_a_class": "every evaluated image whose caption names it"}
    common = metrics(MODEL | {key: 30.0}, classes_with_images=61, **counts)
    files = [write_metrics("dmgan", metrics=common), write_metrics("attngan", metrics=common)]
    of_own = metrics({own: 40.0}, 420_000, classes_with_images=80, classes=80)
    made_for = write_metrics("dmgan", metrics=of_own, made_for="SOA")
    write_tables([*files, made_for], tmp_path)
    header = markdown_cells(tmp_path, "mdsp-table1", "Method")
    assert [each for each in header if "SOA-C" in each and "COCO" not in each] == [
        "SOA-C ↑, synthbirds (this run), frcnn-v2@0.5",
        "SOA-C ↑, synthbirds (this run), frcnn-v2@0.5, three images per caption",
    ]
    assert markdown_cells(tmp_path, "mdsp-table1", "DM-GAN")[-2:] == ["**30.00 ± 0.60**", "40.00 ± 0.80"]
    assert markdown_cells(tmp_path, "mdsp-table1", "AttnGAN")[-1] == "not measured"
    text = read_all(tmp_path, "mdsp-table1")
    assert f"{key}: over 61 of 80 classes, those that captions of the models' images name; control rows" in text
    row = find_row(tmp_path, "mdsp-table1", "DM-GAN", "synthbirds", "SOA-C", "frcnn-v2@0.5, three images per caption")
    assert (row["value"], row["num_images"], row["file"]) == ("40.0", "420000", str(made_for))
    write_tables([made_for], tmp_path / "alone")
    assert markdown_cells(tmp_path / "alone", "mdsp-table1", "DM-GAN")[-1] == "40.00 ± 0.80"


def test_models_of_other_papers_follow_dmgan_and_ablations_are_left_out(write_metrics, tmp_path):
    write_tables([write_metrics(name) for name in ("dmgan", "kvmgan", "dmgan-004", "dmgan-m")], tmp_path)
    for name in ("table1", "table2"):
        methods = list(dict.fromkeys(row["method"] for row in read_csv(tmp_path / f"{name}.csv")))
        assert methods.index("DM-GAN") < methods.index("KVM-GAN") < methods.index("DM-GAN, batch 2")
        assert "DM-GAN +M" not in methods
    assert "KVM-GAN" not in {row["method"] for row in read_csv(tmp_path / "table3.csv")}
    assert "KVM-GAN" not in {row["method"] for row in read_csv(tmp_path / "reproduction-table1.csv")}


def test_an_earlier_model_that_was_run_is_in_every_main_table(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan"), write_metrics("stackgan")], tmp_path)
    assert markdown_cells(tmp_path, "table1", "StackGAN")[:2] == ["3.70 ± 0.04", "8.45 ± 0.03"]
    assert markdown_cells(tmp_path, "table1", "StackGAN")[2] != "not run"
    assert markdown_cells(tmp_path, "table2", "StackGAN")[:4] == ["-"] * 4
    assert "not run" not in markdown_cells(tmp_path, "table2", "StackGAN")
    assert not any(row["method"] == "StackGAN" for row in read_csv(tmp_path / "table3.csv"))


def test_cells_without_a_run_say_not_run(write_metrics, tmp_path):
    noise = write_metrics("noise", None, "control", metrics=metrics(REAL) | {TRAINING: None})
    write_tables([write_metrics("attngan"), noise], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4:] == ["not run"] * 3
    assert markdown_cells(tmp_path, "table3", "DM-GAN +M") == ["4.57 ± 0.05", "21.41", "70.66 ± 0.69", *["not run"] * 3]
    assert markdown_cells(tmp_path, "table2", "Real test images") == ["-"] * 4 + ["not run"] * 3
    assert markdown_cells(tmp_path, "table2", "Noise")[5] == "not defined"
    row = find_row(tmp_path, "table1", "DM-GAN", "synthbirds", "IS")
    assert (row["value"], row["file"], row["note"]) == ("", "", "not run")
    assert find_row(tmp_path, "table2", "Noise", "synthbirds", "R-precision")["note"] == "not defined"


def test_rows_without_a_run_or_a_published_number_are_omitted_and_named(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan"), write_metrics("mdsp-a0"), write_metrics("mdsp")], tmp_path)
    assert {row["method"] for row in read_csv(tmp_path / "mdsp-grid.csv") if row["value"]} == {
        "MDSP A0: parametric", "MDSP (A4)"
    }  # fmt: skip
    text = (tmp_path / "mdsp-grid.md").read_text()
    assert "Not run, so omitted: MDSP A1: mean features; MDSP A2: ACM; MDSP A3: mean features, ACM; MDSP A5:" in text
    assert "not run" not in "".join(line for line in text.splitlines() if line.startswith("| MDSP"))
    assert "- Not run, so omitted: KVM-GAN as printed." in (tmp_path / "kvmgan-table1.md").read_text()
    assert "Not run, so omitted: DM-GAN, batch 2, two words." in (tmp_path / "reproduction-table1.md").read_text()
    assert "so omitted" not in (tmp_path / "table1.md").read_text()
    assert markdown_cells(tmp_path, "table1", "GAWWN") == ["3.62 ± 0.07", "-", "published only"]


def test_the_grid_has_the_models_of_its_configuration():
    (grid,) = [layout for layout in LAYOUTS if layout.name == "mdsp-grid"]
    assert [each.model for each in grid.methods] == models_of(
        read_configuration(CONFIGS / "mdsp-grid.yaml"), "synthbirds"
    )


def test_columns_of_this_run_name_data_set_and_scorer(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan")], tmp_path)
    header = markdown_cells(tmp_path, "table2", "Method")
    assert header[0] == "FID ↓, CUB (published)"
    assert header[4:] == [
        "FID ↓, synthbirds (this run), species",
        "R-precision ↑, synthbirds (this run), training DAMSM",
        "KID ↓, synthbirds (this run), species",
    ]
    text = read_all(tmp_path, "table2")
    assert "do not rank against published numbers" in text
    assert (
        "Scored in this run by: species-classifier, for FID(species) and KID(species); "
        f"DAMSM, the trainer, for {TRAINING}." in text
    )


def test_two_scorers_have_two_columns(write_metrics, tmp_path):
    both = metrics(MODEL | {HELD_OUT: 40.0, "FID(inception-tf)": 30.0})
    write_tables([write_metrics("dmgan", metrics=both), write_metrics("attngan")], tmp_path)
    header = markdown_cells(tmp_path, "table2", "Method")[4:]
    assert [(each.split(" ")[0], each.rpartition(", ")[2]) for each in header] == [
        ("FID", "species"), ("FID", "inception-tf"),
        ("R-precision", "training DAMSM"), ("R-precision", "held-out DAMSM"), ("KID", "species"),
    ]  # fmt: skip
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[7] == "40.00 ± 0.80"
    assert markdown_cells(tmp_path, "table2", "AttnGAN")[7] == "not measured"
    row = find_row(tmp_path, "table2", "DM-GAN", "synthbirds", "R-precision", "held-out DAMSM")
    assert (row["value"], row["feature_network"]) == ("40.0", "DAMSM, another")


def test_further_metrics_have_a_table_of_their_own(write_metrics, tmp_path):
    measures = {"diversity(species)": 0.8125, "recall(species)": 0.41, "precision(species)": 0.7}
    write_tables(
        [
            write_metrics("dmgan", metrics=metrics(MODEL | measures)),
            write_metrics("real", None, "control", metrics=metrics(REAL | {"diversity(species)": 1.0})),
        ],
        tmp_path,
    )
    assert markdown_cells(tmp_path, "measures", "Method") == [
        "precision ↑, synthbirds (this run), species", "recall ↑, synthbirds (this run), species",
        "diversity, synthbirds (this run), species",
    ]  # fmt: skip
    assert markdown_cells(tmp_path, "measures", "DM-GAN") == ["0.700 ± 0.014", "0.410 ± 0.008", "0.812 ± 0.016"]
    assert markdown_cells(tmp_path, "measures", "Real test images")[-1] == "1.000 ± 0.020"


def test_every_model_that_was_run_has_its_further_metrics(write_metrics, tmp_path):
    names = ("dmgan", "attngan", "dmgan-baseline", "dmgan-m", "dmgan-m-wg", "kvmgan", "dmgan-paper")
    write_tables([write_metrics(name, metrics=metrics({"diversity(species)": 0.5})) for name in names], tmp_path)
    for name in names:
        assert find_row(tmp_path, "measures", MODELS[name].title, "synthbirds", "diversity")["value"] == "0.5"


def test_dmgan_paper_has_a_row_of_its_own(write_metrics, tmp_path):
    write_tables([write_metrics("dmgan"), write_metrics("dmgan-paper")], tmp_path)
    title = MODELS["dmgan-paper"].title
    assert markdown_cells(tmp_path, "table1", title)[-1] == "**9.00 ± 0.18**"  # as good as DM-GAN here
    assert len(markdown_cells(tmp_path, "table2", title)) == 7
    assert title not in read_all(tmp_path, "table3")


def test_a_new_model_follows_the_paper_s_methods(write_metrics, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "newgan", dataclasses.replace(MODELS["dmgan"], title="NewGAN"))
    write_tables([write_metrics("newgan")], tmp_path)
    assert markdown_cells(tmp_path, "table1", "NewGAN") == ["-", "-", "9.00 ± 0.18"]
    assert "NewGAN" not in read_all(tmp_path, "table3")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (lambda write_metrics: [write_metrics("dmgan"), write_metrics("dmgan", dataset="cub")], "two data sets"),
        (lambda write_metrics: [write_metrics("dmgan")] * 2, "both of dmgan, seed 0"),
        (lambda write_metrics: [write_metrics("nogan")], "'nogan' is unknown"),
        (lambda write_metrics: [write_metrics("dmgan", None)], "training seed"),
        (
            lambda write_metrics: [write_metrics("real", None, "control"), write_metrics("blank", None, "control")],
            "nor a known control",
        ),
        (lambda write_metrics: [write_metrics("dmgan", metrics=metrics(MODEL) | {"FID(species)": None})], "has no FID"),
        (lambda write_metrics: [write_metrics("dmgan", metrics={"IS": measure(9.0)})], "damaged .IS names no scorer"),
        (lambda write_metrics: [write_metrics("dmgan", metrics={})], "damaged .it holds no metric"),
        (
            lambda write_metrics: [write_metrics("dmgan", metrics={"IS(inception-tf)": {"value": 3.0}})],
            "damaged .no 'interval'",
        ),
        (
            lambda write_metrics: [
                write_metrics("dmgan"),
                write_metrics("dmgan", 1, metrics=metrics(MODEL | {"IS(inception-tf)": 4.0})),
            ],
            "only one of",
        ),
        (lambda write_metrics: [Path("nowhere/metrics.json")], "cannot be read"),
        (
            lambda write_metrics: [write_metrics("dmgan"), write_metrics("dmgan", made_for="SOA")],
            "both have FID.species. of dmgan, seed 0; give one",
        ),
        (
            lambda write_metrics: [
                write_metrics("dmgan"),
                write_metrics("dmgan", made_for="SOA", inputs={"data": {}, "generator_sha256": "7a"}),
            ],
            "are of two trainings of dmgan, seed 0",
        ),
    ],
)
def test_invalid_metrics_files_are_refused(write_metrics, tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        write_tables(files(write_metrics), tmp_path / "out")
