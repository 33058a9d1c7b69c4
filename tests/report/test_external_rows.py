"""Methods whose images another program made: their rows, and columns of their own where they must not compare."""

import pytest

from dmgan.errors import UserError
from dmgan.report.results import read_measured
from dmgan.report.tables.render import write_tables
from tests.reading import read_csv
from tests.report.made_metrics import MODEL, REAL, TRAINING, find_row, markdown_cells, metrics, read_all

INPUTS = {
    "data": {"captions.json": "ca", "images.bin": "5e"}, "sizes": "64x64 px", "captions": "captions of the test set",
}  # fmt: skip


@pytest.fixture
def write_external(write_metrics):
    """Return a function that writes metrics.json of an external method."""

    def write(name, scores=MODEL, size=64, num_images=2000, inputs=INPUTS, **protocol):
        measured = metrics(scores, num_images, **protocol)
        subject = {"kind": "external", "name": name, "seed": None, "dataset": "synthbirds", "image_size": size}
        changes = {"subject": subject | {"num_images": num_images}, "inputs": inputs}
        return write_metrics(name, None, "external", metrics=measured, **changes)

    return write


def test_a_method_measured_like_the_models_shares_their_columns_and_ranks(write_metrics, write_external, tmp_path):
    better = MODEL | {"FID(species)": 12.0}
    write_tables([write_external("My method", better), write_metrics("dmgan")], tmp_path)
    assert markdown_cells(tmp_path, "table2", "My method")[4] == "**12.00 ± 0.24**"
    assert len(markdown_cells(tmp_path, "table2", "DM-GAN")) == 7
    assert "column of its own" not in read_all(tmp_path, "table2")
    shown = {name for name in ("table1", "table2", "table3", "measures", "mdsp-table1", "kvmgan-table1")
             if "My method" in (tmp_path / f"{name}.md").read_text()}  # fmt: skip
    assert shown == {"table1", "table2", "measures", "mdsp-table1"}


def test_methods_measured_otherwise_stand_under_a_subheading_in_the_same_columns(
    write_metrics, write_external, tmp_path
):
    files = [write_metrics("dmgan"), write_metrics("real", None, "control", metrics=metrics(REAL))]
    files += [write_external(name, size=256, num_images=50) for name in ("One", "Two")]
    files.append(write_external("Three", size=None, num_images=50))
    measured = read_measured(files)
    keys = measured.columns(("FID",))
    assert keys == ["FID(species)", "FID(species; 256 px, 50 images)", "FID(species; several sizes, 50 images)"]
    write_tables(files, tmp_path)
    lines = (tmp_path / "table2.md").read_text().splitlines()
    labels = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    assert labels[labels.index("DM-GAN") + 1 :][:6] == [
        "*Measured otherwise: 256 px, 50 images*", "One", "Two", "*Measured otherwise: several sizes, 50 images*",
        "Three", "*Control rows*",
    ]  # fmt: skip
    assert len(markdown_cells(tmp_path, "table2", "Method")) == 7  # the columns of a table of models alone
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "20.00 ± 0.40"
    assert markdown_cells(tmp_path, "table2", "One")[4] == "20.00 ± 0.40 ? ‖"
    assert measured.image_size == 64 and "2,000 images of 64 × 64 px" in lines[0] and "50 and" not in lines[0]
    text = read_all(tmp_path, "table2")
    assert "‖ measured otherwise than the rows without this mark: not compared with them" in text
    assert "- ‖ One, Two: measured otherwise (256 px, 50 images). Numbers with this mark compare with each" in text
    assert find_row(tmp_path, "table2", "One", "synthbirds", "FID")["scorer"] == "species; 256 px, 50 images"


def test_numbers_of_two_protocols_do_not_rank(write_metrics, write_external, tmp_path):
    """FID 12 of 500 images does not rank before FID 20 of 2,000 images."""
    files = [write_metrics("dmgan"), write_metrics("attngan", metrics=metrics(MODEL | {"FID(species)": 25.0}))]
    files += [
        write_external(name, MODEL | {"FID(species)": value}, num_images=500)
        for name, value in (("One", 12.0), ("Two", 14.0))
    ]
    write_tables(files, tmp_path)
    cells = {name: markdown_cells(tmp_path, "table2", name)[4] for name in ("DM-GAN", "AttnGAN", "One", "Two")}
    assert cells == {
        "DM-GAN": "**20.00 ± 0.40**", "AttnGAN": "25.00 ± 0.50", "One": "**12.00 ± 0.24** ‖", "Two": "14.00 ± 0.28 ‖"
    }  # fmt: skip
    shared = [markdown_cells(tmp_path, "table2", name)[5] for name in ("DM-GAN", "One")]
    assert shared == ["**60.00 ± 1.20**"] * 2  # R-precision does not depend on the number of images


def test_images_of_another_program_have_no_hyperparameters_and_no_weights(write_metrics, write_external, tmp_path):
    write_tables([*(write_metrics(name) for name in ("dmgan", "attngan")), write_external("Mine")], tmp_path)
    text = read_all(tmp_path, "table2")
    assert "Hyperparameters not recorded, or not all: AttnGAN, DM-GAN." in text
    assert "not recorded: AttnGAN, DM-GAN." in text
    assert find_row(tmp_path, "table2", "Mine", "synthbirds", "FID")["weights"] == ""


@pytest.mark.parametrize("first", ["dmgan", "gan-int-cls"])
def test_a_column_of_models_of_two_sizes_takes_methods_of_either_size(first, write_metrics, write_external, tmp_path):
    sides = {"dmgan": 64, "gan-int-cls": 32}
    files = []
    for name in sorted(sides, key=lambda name: name != first):
        subject = {"kind": "model", "name": name, "seed": 0, "dataset": "synthbirds", "num_images": 2000}
        files.append(write_metrics(name, subject=subject | {"image_size": sides[name]}))
    files += [write_external(f"Of {side} px", size=side) for side in (64, 32, 48)]
    files.append(write_metrics("real", None, "control", metrics=metrics(REAL)))
    measured = read_measured(files)
    assert measured.columns(("FID",)) == ["FID(species)", "FID(species; 48 px)"] and measured.image_size == 64
    write_tables(files, tmp_path)
    assert "of 64 × 64 px per model (GAN-INT-CLS: 32 × 32 px)." in read_all(tmp_path, "table1")


def test_without_models_methods_share_the_column_of_controls_only_if_they_compare(write_metrics, write_external):
    files = [write_metrics("real", None, "control", metrics=metrics(REAL))]
    files += [write_external(name, num_images=count) for name, count in (("One", 50), ("Two", 60), ("Three", 50))]
    assert read_measured(files).columns(("FID",)) == ["FID(species)", "FID(species; 60 images)"]
    assert read_measured([write_external(str(side), size=side) for side in (32, 64)]).size == "several sizes"


def test_other_settings_make_other_columns_that_name_them(write_metrics, write_external):
    files = [write_metrics("dmgan")]
    files.append(write_external("One", reference="all images of mine", reference_num_images=30))
    files.append(write_external("Two", reference="all images of yours", reference_num_images=40))
    files.append(write_external("Three", inputs=INPUTS | {"data": {}}))
    keys = read_measured(files).columns(("FID", "R-precision"))
    assert keys == [
        "FID(species)", "FID(species; other reference)", "FID(species; other reference, 2)",
        "FID(species; other prepared data)", TRAINING, "R-precision(training DAMSM; other prepared data)",
    ]  # fmt: skip


def test_a_metric_that_does_not_depend_on_the_number_of_images_stays_in_its_column(
    write_metrics, write_external, tmp_path
):
    write_tables([write_metrics("dmgan"), write_external("Mine", {TRAINING: 61.0}, num_images=50)], tmp_path)
    rows = [row for row in read_csv(tmp_path / "table2.csv") if row["metric"] == "R-precision" and row["file"]]
    assert {(row["method"], row["scorer"]) for row in rows} == {
        ("DM-GAN", "training DAMSM"),
        ("Mine", "training DAMSM"),
    }
    note = "Other numbers of images in one column: Mine on R-precision(training DAMSM), 50 images against 2,000."
    assert note in read_all(tmp_path, "table2")


@pytest.mark.parametrize("name", ["DM-GAN", "LAFITE", "Noise", "StackGAN"])
def test_a_name_that_the_tables_use_is_marked(name, write_external, tmp_path):
    write_tables([write_external(name)], tmp_path)
    titles = {row["method"] for row in read_csv(tmp_path / "mdsp-table1.csv") if row["file"]}
    assert titles == {f"{name} (own images)"}


def test_files_that_do_not_belong_together_say_the_way_out(write_metrics, write_external, tmp_path):
    subject = {"kind": "external", "name": "Mine", "seed": None, "dataset": "no reference images", "image_size": 64}
    other = write_metrics("Mine", None, "external", subject=subject | {"num_images": 50}, inputs=INPUTS)
    with pytest.raises(
        UserError, match="two data sets .* or evaluate the folder of images with the --data of the other"
    ):
        write_tables([write_metrics("dmgan"), other], tmp_path)
    with pytest.raises(UserError, match="both of Mine; give one of them, or evaluate one of them with another --name"):
        write_tables([write_external("Mine"), write_external("Mine")], tmp_path)
