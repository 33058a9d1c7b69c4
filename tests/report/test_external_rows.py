"""Methods whose images another program made: their rows, and columns of their own where they must not compare."""

import pytest

from dmgan.errors import UserError
from dmgan.report.results import read_measured
from dmgan.report.tables.render import write_tables
from tests.reading import read_csv
from tests.report.made_metrics import MODEL, REAL, TRAINING, markdown_cells, metrics

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
    assert "column of its own" not in (tmp_path / "table2.md").read_text()
    shown = {name for name in ("table1", "table2", "table3", "measures", "mdsp-table1", "kvmgan-table1")
             if "My method" in (tmp_path / f"{name}.md").read_text()}  # fmt: skip
    assert shown == {"table1", "table2", "measures", "mdsp-table1"}


def test_methods_measured_otherwise_share_a_column_beside_the_models(write_metrics, write_external, tmp_path):
    files = [write_metrics("dmgan"), write_metrics("real", None, "control", metrics=metrics(REAL))]
    files += [write_external(name, size=256, num_images=50) for name in ("One", "Two")]
    files.append(write_external("Three", size=None, num_images=50))
    measured = read_measured(files)
    keys = measured.columns(("FID",))
    assert keys == ["FID(species)", "FID(species; 256 px, 50 images)", "FID(species; several sizes, 50 images)"]
    write_tables(files, tmp_path)
    cells = {name: markdown_cells(tmp_path, "table2", name)[4:7] for name in ("DM-GAN", "One", "Two", "Three")}
    assert [[cell != "not measured" for cell in row] for row in cells.values()] == [
        [True, False, False], [False, True, False], [False, True, False], [False, False, True],
    ]  # fmt: skip
    assert markdown_cells(tmp_path, "table2", "Real test images")[5] == "not measured"
    assert measured.image_size == 64 and "50 and 2,000 images of 64 × 64 px" in (tmp_path / "table2.md").read_text()


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
    assert "of 64 × 64 px per model (GAN-INT-CLS: 32 × 32 px)." in (tmp_path / "table1.md").read_text()


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
    assert note in (tmp_path / "table2.md").read_text()


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
