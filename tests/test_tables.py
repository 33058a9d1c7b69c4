"""Tables: published numbers as printed, this run's beside them, and what may not stand together."""

import csv
import json
import re
import statistics
from pathlib import Path

import pytest

from dmgan.errors import UserError
from dmgan.models.registry import MODELS
from dmgan.report.layouts import LAYOUTS
from dmgan.report.markup import latex
from dmgan.report.measured import CONTROLS
from dmgan.report.published import published_rows
from dmgan.report.tables import write_tables

FOLDS = "ten folds of one image set"
CLUSTERED = "images, clustered by test image"
TRAINING, HELD_OUT = "R-precision(training DAMSM)", "R-precision(held-out DAMSM)"
PROTOCOL = {"reference": "all test images", "reference_num_images": 800, "codec": "png"}


def measure(value: float, network: str = "species-classifier", num_images: int = 2000, **protocol) -> dict:
    return {
        "value": value,
        "spread": value / 50,
        "spread_over": FOLDS,
        "interval": [value * 0.9, value * 1.1],
        "interval_level": 0.95,
        "interval_over": "bootstrap over images",
        "num_images": num_images,
        "folds": 10,
        "bootstrap": {"value": value, "interval": [value * 0.8, value * 1.2], "over": CLUSTERED},
        "protocol": {"feature_network": network, **PROTOCOL, **protocol},
    }


def metrics(scores: dict[str, float], num_images: int = 2000, **protocol) -> dict:
    networks = dict.fromkeys(scores, "species-classifier") | {
        TRAINING: "DAMSM, the trainer",
        HELD_OUT: "DAMSM, another",
    }
    return {name: measure(value, networks[name], num_images, **protocol) for name, value in scores.items()}


MODEL = {"IS(species)": 9.0, "FID(species)": 20.0, "KID(species)": 0.02, TRAINING: 60.0}
REAL = {"IS(species)": 12.0, "FID(species)": 1.0, "KID(species)": 0.001, TRAINING: 80.0}


@pytest.fixture
def write(tmp_path):
    """Writes a metrics.json and gives its path."""
    model_metrics = metrics(MODEL)

    def write_metrics(
        name, seed=0, kind="model", dataset="synthbirds", metrics=model_metrics, data="5e", **changes
    ) -> Path:
        subject = {"kind": kind, "name": name, "seed": seed, "dataset": dataset, "num_images": 2000, "image_size": 64}
        inputs = {"data": {"captions.json": "ca", "images.bin": data}}
        content = {"schema": 2, "subject": subject, "metrics": metrics, "inputs": inputs, "provenance": {}} | changes
        path = tmp_path / f"{kind}_{name}_{seed}_{dataset}" / "metrics.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write_metrics


def read_rows(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def find_row(
    folder: Path, name: str, method: str, dataset: str, metric: str, judge: str | None = None
) -> dict[str, str]:
    wanted = (method, dataset, metric)
    rows = [row for row in read_rows(folder, name) if (row["method"], row["dataset"], row["metric"]) == wanted]
    (found,) = [row for row in rows if judge in (None, row["judge"])]
    return found


def markdown_cells(folder: Path, name: str, method: str, intervals: bool = False) -> list[str]:
    """The cells of one line of the Markdown table, without the label, and without intervals unless asked for."""
    for line in (folder / f"{name}.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0].strip("*") == method:
            return [each if intervals else re.sub(r" \[[-\d.]+, [-\d.]+\]", "", each) for each in cells[1:]]
    raise AssertionError(f"{name}.md has no line {method}")


def test_published_numbers_are_those_of_the_papers(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    printed = {}
    for layout in LAYOUTS:
        for row in read_rows(tmp_path, layout.name):
            if row["source"].startswith("published"):
                place = (row["source"], row["dataset"], row["method"], row["metric"])
                printed[place] = (row["value"], row["spread"])
    ledger = {(row.origin, row.dataset, row.method, row.metric): (row.value, row.std) for row in published_rows()}
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


def test_models_of_the_layouts_are_known():
    known = {each.model for layout in LAYOUTS for each in layout.methods if each.model}
    assert {"dmgan", "kvmgan", "kvmgan-literal", "dmgan-004", "dmgan-004-two-words"} <= known & set(MODELS)
    absent = {each.title for layout in LAYOUTS for each in layout.methods if each.model is None}
    assert absent == {
        "GAWWN", "PPGN", "XMC-GAN", "LAFITE", "DALL-E", "GLIDE", "CP-GAN", "Obj-GAN", "OP-GAN"
    }  # fmt: skip


def test_a_paper_s_row_of_real_images_stands_in_the_control_row(write, tmp_path):
    write_tables([write("dmgan"), write("real", None, "control", metrics=metrics(REAL))], tmp_path)
    assert markdown_cells(tmp_path, "mdsp-table1", "Real test images")[:3] == ["25.34", "-", "89.17"]
    assert markdown_cells(tmp_path, "mdsp-table1", "Real test images")[8:] != ["not run"] * 3
    assert markdown_cells(tmp_path, "mdsp-table1", "Noise")[:8] == ["-"] * 8
    assert find_row(tmp_path, "mdsp-table1", "Real Images", "COCO", "SOA-C")["value"] == "74.97"


def test_published_cells_that_do_not_rank_are_not_bold(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    header = markdown_cells(tmp_path, "mdsp-table1", "Method")
    distances = [column for column, title in enumerate(header) if title.startswith("FID") and "published" in title]
    lines = (tmp_path / "mdsp-table1.md").read_text().splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("|")]
    assert len(distances) == 2 and not any("**" in row[column + 1] for row in rows for column in distances)
    assert "**52.73** [5]" in markdown_cells(tmp_path, "mdsp-table1", "CP-GAN")


def test_objects_have_a_column_for_each_who_looks_for_them(write, tmp_path):
    classifier, truth = ({f"SOA-{kind}({judge})": 60.0 for kind in "CI"} for judge in ("attribute classifier", "truth"))
    seen = metrics(classifier, accuracy_on_real_test_images=0.75)
    write_tables(
        [
            write("dmgan", metrics=metrics(MODEL) | seen),
            write("real", None, "control", metrics=metrics(REAL) | seen | metrics(truth)),
            write("noise", None, "control", metrics=metrics(REAL) | seen | dict.fromkeys(truth)),
        ],
        tmp_path,
    )
    assert (tmp_path / "mdsp-table1.md").read_text().count("The attribute classifier itself is right on 75.00 %") == 1
    header = markdown_cells(tmp_path, "mdsp-table1", "Method")
    assert [each.split(", ")[-1] for each in header if each.startswith("SOA") and "COCO" not in each] == [
        "attribute classifier", "truth", "attribute classifier", "truth"
    ]  # fmt: skip
    assert markdown_cells(tmp_path, "mdsp-table1", "DM-GAN")[-4:] == ["60.00 ± 1.20", "not defined"] * 2
    assert markdown_cells(tmp_path, "mdsp-table1", "Noise")[-3] == "not defined"
    assert markdown_cells(tmp_path, "mdsp-table1", "LAFITE")[-4:] == ["published only"] * 4
    assert markdown_cells(tmp_path, "mdsp-table1", "Real test images")[6:8] == ["74.97", "80.84"]
    text = (tmp_path / "mdsp-table1.tex").read_text()
    assert text.startswith(r"% Needs \usepackage{booktabs,graphicx}.") and r"\resizebox{\textwidth}" in text
    assert "graphicx" not in (tmp_path / "kvmgan-table1.tex").read_text()


def test_remarks_stand_under_the_table_and_point_to_their_cells(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    text = (tmp_path / "kvmgan-table1.md").read_text()
    assert markdown_cells(tmp_path, "kvmgan-table1", "KVM-GAN")[:2] == ["**4.75 ± 0.07** [1]", "**30.49 ± 0.57** [2]"]
    assert "- [1] The draft's text says 4.80, in its introduction and in section 4.1." in text
    assert "Every KVM-GAN cell is DM-GAN's" in text
    assert (
        "(FID 4.75 and 4.53, IS 16.09 and 17.76); they are put right here"
        in (tmp_path / "reproduction-table1.md").read_text()
    )
    for layout in LAYOUTS:
        marks = re.findall(r"\[(\d+)\]", (tmp_path / f"{layout.name}.md").read_text())
        assert set(marks) == {str(number) for number in range(1, len(set(marks)) + 1)}
        assert all(marks.count(mark) >= 2 for mark in marks), "each remark has a cell, each mark a remark"


def test_models_of_other_papers_follow_in_dmgan_s_tables_but_for_its_ablations(write, tmp_path):
    write_tables([write(name) for name in ("dmgan", "kvmgan", "dmgan-004", "dmgan-m")], tmp_path)
    for name in ("table1", "table2"):
        methods = list(dict.fromkeys(row["method"] for row in read_rows(tmp_path, name)))
        assert methods.index("DM-GAN") < methods.index("KVM-GAN") < methods.index("DM-GAN, batch 2")
        assert "DM-GAN +M" not in methods
    assert "KVM-GAN" not in {row["method"] for row in read_rows(tmp_path, "table3")}
    assert "KVM-GAN" not in {row["method"] for row in read_rows(tmp_path, "reproduction-table1")}


def test_an_earlier_model_that_is_run_stands_in_its_row_and_in_tables_that_do_not_print_it(write, tmp_path):
    write_tables([write("dmgan"), write("stackgan")], tmp_path)
    assert markdown_cells(tmp_path, "table1", "StackGAN")[:2] == ["3.70 ± 0.04", "8.45 ± 0.03"]
    assert markdown_cells(tmp_path, "table1", "StackGAN")[2] != "not run"
    assert markdown_cells(tmp_path, "table2", "StackGAN")[:4] == ["-"] * 4
    assert "not run" not in markdown_cells(tmp_path, "table2", "StackGAN")
    assert not any(row["method"] == "StackGAN" for row in read_rows(tmp_path, "table3"))


def test_cells_keep_the_printed_digits(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    assert markdown_cells(tmp_path, "table1", "StackGAN") == ["3.70 ± 0.04", "8.45 ± 0.03", "not run"]
    assert markdown_cells(tmp_path, "table1", "PPGN") == ["-", "9.58 ± 0.21", "published only"]
    assert markdown_cells(tmp_path, "table1", "DM-GAN")[:2] == ["**4.75 ± 0.07**", "**30.49 ± 0.57** [1]"]
    assert markdown_cells(tmp_path, "table2", "AttnGAN")[:4] == ["23.98", "67.82 ± 4.43", "35.49 [1]", "85.47 ± 3.69"]
    assert "officially released weights" in find_row(tmp_path, "table2", "AttnGAN", "CUB", "FID")["note"]


def test_one_seed_shows_its_folds(write, tmp_path):
    path = write("dmgan")
    write_tables([path], tmp_path)
    row = find_row(tmp_path, "table1", "DM-GAN", "synthbirds", "IS")
    assert (row["value"], row["spread"], row["spread_over"]) == ("9.0", "0.18", FOLDS)
    assert (float(row["interval_low"]), float(row["interval_high"])) == pytest.approx((8.1, 9.9))
    assert (row["num_images"], row["source"], row["file"]) == ("2000", "this run", str(path))
    assert (float(row["bootstrap_low"]), float(row["bootstrap_high"])) == pytest.approx((7.2, 10.8))
    assert row["bootstrap_over"] == CLUSTERED
    assert markdown_cells(tmp_path, "table1", "DM-GAN")[2] == "9.00 ± 0.18"
    assert f"± of this run: standard deviation over {FOLDS}." in (tmp_path / "table1.md").read_text()


def test_cells_of_this_run_hold_their_interval_and_a_note_says_what_it_is_over(write, tmp_path):
    distance = {key: each for key, each in measure(20.0).items() if key != "bootstrap"}
    write_tables([write("dmgan", metrics=metrics(MODEL) | {"FID(species)": distance})], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN", intervals=True)[4:6] == [
        "20.00 ± 0.40 [18.00, 22.00]", "60.00 ± 1.20 [48.00, 72.00]"
    ]  # fmt: skip
    # The bootstrap of IS is of all images at once, not of the papers' splits.
    assert markdown_cells(tmp_path, "table1", "DM-GAN", intervals=True)[2] == "9.00 ± 0.18 [8.10, 9.90]"
    text = (tmp_path / "table2.md").read_text()
    assert f"{TRAINING} and KID(species), bootstrap over {CLUSTERED}." in text
    assert "[ ] of this run: 95 % intervals. FID(species), bootstrap over images; " in text
    assert r"60.00 $\pm$ 1.20 [48.00, 72.00]" in (tmp_path / "table2.tex").read_text()


def test_several_seeds_are_averaged_and_marked_apart_from_folds(write, tmp_path):
    values = [9.0, 9.4, 10.1]
    runs = [write("dmgan", seed, metrics=metrics(MODEL | {"IS(species)": value})) for seed, value in enumerate(values)]
    write_tables([*runs, write("attngan", metrics=metrics(MODEL | {"IS(species)": 8.0}))], tmp_path)
    row = find_row(tmp_path, "table1", "DM-GAN", "synthbirds", "IS")
    assert float(row["value"]) == pytest.approx(statistics.mean(values))
    assert float(row["spread"]) == pytest.approx(statistics.stdev(values))
    assert row["spread_over"] == row["interval_over"] == "3 seeds of training"
    half = 4.302652729911275 * statistics.stdev(values) / 3**0.5  # Student's t, 2 degrees of freedom, 95 %
    assert float(row["interval_low"]) == pytest.approx(statistics.mean(values) - half)
    assert row["file"].split(";") == [str(run) for run in runs]
    assert markdown_cells(tmp_path, "table1", "DM-GAN")[2] == "**9.50 ± 0.56** (b)"
    assert markdown_cells(tmp_path, "table1", "AttnGAN")[2] == "8.00 ± 0.16 (a)"
    text = (tmp_path / "table1.md").read_text()
    assert f"- (a) ± of this run: standard deviation over {FOLDS}." in text
    assert "- (b) ± of this run: mean and sample standard deviation over 3 seeds of training." in text


def test_what_was_not_run_says_so(write, tmp_path):
    noise = write("noise", None, "control", metrics=metrics(REAL) | {TRAINING: None})
    write_tables([write("attngan"), noise], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4:] == ["not run"] * 3
    assert markdown_cells(tmp_path, "table3", "DM-GAN +M") == ["4.57 ± 0.05", "21.41", "70.66 ± 0.69", *["not run"] * 3]
    assert markdown_cells(tmp_path, "table2", "Real test images") == ["-"] * 4 + ["not run"] * 3
    assert markdown_cells(tmp_path, "table2", "Noise")[5] == "not defined"
    row = find_row(tmp_path, "table1", "DM-GAN", "synthbirds", "IS")
    assert (row["value"], row["file"], row["note"]) == ("", "", "not run")
    assert find_row(tmp_path, "table2", "Noise", "synthbirds", "R-precision")["note"] == "not defined"


def test_own_columns_name_data_set_and_judge(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    header = markdown_cells(tmp_path, "table2", "Method")
    assert header[0] == "FID ↓, CUB (published)"
    assert header[4:] == [
        "FID ↓, synthbirds (this run), species",
        "R-precision ↑, synthbirds (this run), training DAMSM",
        "KID ↓, synthbirds (this run), species",
    ]
    text = (tmp_path / "table2.md").read_text()
    assert "does not rank against a published one" in text
    assert (
        "Judges of this run: species-classifier, for FID(species) and KID(species); "
        f"DAMSM, the trainer, for {TRAINING}." in text
    )


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
def test_numbers_measured_in_two_ways_are_refused(write, tmp_path, changed, field):
    first, second = write("dmgan"), write("attngan", metrics=changed)
    with pytest.raises(UserError, match=re.escape(field)) as caught:
        write_tables([first, second], tmp_path)
    assert str(first) in str(caught.value) and str(second) in str(caught.value)
    assert not list(tmp_path.glob("table*"))


@pytest.mark.parametrize("kind", ["model", "control"])
def test_numbers_of_two_preparations_of_a_data_set_are_refused(write, tmp_path, kind):
    """One name, but another seed, count or crop."""
    first, second = write("dmgan"), write({"model": "attngan", "control": "noise"}[kind], kind=kind, data="7a")
    with pytest.raises(UserError, match=r'two ways \(prepared data, images.bin: "5e" against "7a"\)'):
        write_tables([first, second], tmp_path)
    write_tables([first, write("attngan", device="cuda")], tmp_path)  # the same but for rounding


def test_a_control_may_have_other_counts_and_a_note_says_so(write, tmp_path):
    halves = metrics(REAL, 800, reference="the other half", reference_num_images=400)
    real = write("real", None, "control", metrics=halves)
    write_tables([write("dmgan"), real], tmp_path)
    text = (tmp_path / "table1.md").read_text()
    assert (
        "Real test images (IS(species)): measured on 800 images against 400 (the other half); the models on 2,000"
        in text
    )
    assert "Real test images rank before every model on IS(species), as they should." in text
    with pytest.raises(UserError, match="codec"):
        write_tables([write("dmgan"), write("real", None, "control", metrics=metrics(REAL, codec="jpeg"))], tmp_path)


def test_a_control_that_beats_a_model_is_marked(write, tmp_path):
    shuffled = write("shuffled", None, "control", metrics=metrics(REAL | {TRAINING: 61.0}))
    write_tables([write("dmgan"), write("attngan", metrics=metrics(MODEL | {TRAINING: 62.0})), shuffled], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[5] == "60.00 ± 1.20 †"
    assert markdown_cells(tmp_path, "table2", "AttnGAN")[5] == "**62.00 ± 1.24**"
    assert "†" not in markdown_cells(tmp_path, "table2", "DM-GAN")[4]  # shuffled images are real: their FID should win
    note = f"Real images with shuffled captions ({TRAINING} 61.00) above DM-GAN."
    assert note in (tmp_path / "table2.md").read_text()
    assert r"60.00 $\pm$ 1.20 [48.00, 72.00]\textsuperscript{$\dagger$}" in (tmp_path / "table2.tex").read_text()
    assert "control" in find_row(tmp_path, "table2", "DM-GAN", "synthbirds", "R-precision")["note"]


def test_a_model_that_beats_real_images_is_marked(write, tmp_path):
    real = write("real", None, "control", metrics=metrics(REAL | {TRAINING: 50.0}))
    write_tables([write("dmgan"), real], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[5] == "60.00 ± 1.20 ‡"
    text = (tmp_path / "table2.md").read_text()
    assert f"Ranks before real test images: DM-GAN on {TRAINING}." in text
    assert "Real test images rank before every model on FID(species) and KID(species)" in text


def test_no_mark_compares_other_numbers_of_images_where_the_metric_moves_with_them(write, tmp_path):
    """Half of the test images: a lead over them may be their number, a lag behind them may not."""
    both = {"recall(species)": 0.5, "precision(species)": 0.5}
    half = {"reference": "the other half", "reference_num_images": 400}
    beaten = REAL | {"FID(species)": 30.0, "KID(species)": 0.03, "recall(species)": 0.4}
    model = write("dmgan", metrics=metrics(MODEL | both))
    write_tables([model, write("real", None, "control", metrics=metrics(beaten, 400, **half))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4:] == ["20.00 ± 0.40", "60.00 ± 1.20", "0.0200 ± 0.0004 ‡"]
    text = (tmp_path / "table2.md").read_text()
    assert "Not marked: Real test images behind a model on FID(species). These metrics move with the number" in text
    assert "Ranks before real test images: DM-GAN on KID(species)." in text
    assert "Not marked: Real test images behind a model on recall(species)." in (tmp_path / "measures.md").read_text()
    assert "before every model on IS(species), as they should" in (tmp_path / "table1.md").read_text()

    noise = MODEL | {"FID(species)": 10.0, "precision(species)": 0.9}
    write_tables([model, write("noise", None, "control", metrics=metrics(noise, 900))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "20.00 ± 0.40 †"  # although noise has fewer
    assert "Not marked: Noise before a model on precision(species)." in (tmp_path / "measures.md").read_text()
    write_tables([model, write("noise", None, "control", metrics=metrics(noise, 9000))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "20.00 ± 0.40"


def test_two_judges_have_two_columns(write, tmp_path):
    both = metrics(MODEL | {HELD_OUT: 40.0, "FID(tf)": 30.0})
    write_tables([write("dmgan", metrics=both), write("attngan")], tmp_path)
    header = markdown_cells(tmp_path, "table2", "Method")[4:]
    assert [(each.split(" ")[0], each.rpartition(", ")[2]) for each in header] == [
        ("FID", "species"), ("FID", "tf"), ("R-precision", "training DAMSM"), ("R-precision", "held-out DAMSM"),
        ("KID", "species"),
    ]  # fmt: skip
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[7] == "40.00 ± 0.80"
    assert markdown_cells(tmp_path, "table2", "AttnGAN")[7] == "not measured"
    row = find_row(tmp_path, "table2", "DM-GAN", "synthbirds", "R-precision", "held-out DAMSM")
    assert (row["value"], row["feature_network"]) == ("40.0", "DAMSM, another")


def test_adversarial_images_mark_the_judge_that_they_were_made_for(write, tmp_path):
    fooled = metrics(
        dict.fromkeys(MODEL, 0.5) | {"FID(species)": 400, "KID(species)": 9, TRAINING: 99.5, HELD_OUT: 1.5}
    )
    model = write("dmgan", metrics=metrics(MODEL | {HELD_OUT: 40.0}))
    write_tables([model, write("adversarial", None, "control", metrics=fooled)], tmp_path)
    header, cells = (markdown_cells(tmp_path, "table2", name)[5:7] for name in ("Method", "DM-GAN"))
    assert header == [
        "R-precision ↑ †, synthbirds (this run), training DAMSM", "R-precision ↑, synthbirds (this run), held-out DAMSM"
    ]  # fmt: skip
    assert cells == ["60.00 ± 1.20 †", "40.00 ± 0.80"]
    text = (tmp_path / "table2.md").read_text()
    assert f"Adversarial images ({TRAINING} 99.50) above DM-GAN. There the metric is no evidence" in text
    assert f"finds its caption, no picture: 99.50 on {TRAINING} and 1.50 on {HELD_OUT}." in text


def test_models_behind_the_nearest_training_images_are_marked(write, tmp_path):
    write_tables([write("dmgan"), write("nearest", None, "control", metrics=metrics(REAL))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "20.00 ± 0.40 §"
    assert (
        "Ranks behind the nearest training images: DM-GAN on FID(species); DM-GAN on"
        in (tmp_path / "table2.md").read_text()
    )


def test_a_published_spread_that_folds_cannot_have_is_told(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    text = (tmp_path / "table2.md").read_text()
    assert "AttnGAN on CUB, ± 4.43 where folds of 3,000 images scatter by 0.85: it is that of about 111 images" in text
    assert "AttnGAN on COCO, ± 3.69" in text and "DM-GAN on CUB" not in text
    assert "cannot be over" not in (tmp_path / "table3.md").read_text()


def test_chance_and_the_judge_s_own_accuracy_stand_under_the_table(write, tmp_path):
    key = "attribute accuracy(attribute classifier)"
    judged = metrics(MODEL) | {key: measure(50.0, "attribute-classifier", accuracy_on_real_test_images=0.7589)}
    judged[key]["chance"] = 11.26
    write_tables([write("dmgan", metrics=judged)], tmp_path)
    text = (tmp_path / "table2.md").read_text()
    assert f"Guessing gets 11.26 on {key} (percent)." in text
    assert "The attribute classifier itself is right on 75.89 %" in text


def test_further_measures_have_a_table_of_their_own(write, tmp_path):
    measures = {"diversity(species)": 0.8125, "recall(species)": 0.41, "precision(species)": 0.7}
    write_tables(
        [
            write("dmgan", metrics=metrics(MODEL | measures)),
            write("real", None, "control", metrics=metrics(REAL | {"diversity(species)": 1.0})),
        ],
        tmp_path,
    )
    assert markdown_cells(tmp_path, "measures", "Method") == [
        "precision ↑, synthbirds (this run), species", "recall ↑, synthbirds (this run), species",
        "diversity, synthbirds (this run), species",
    ]  # fmt: skip
    assert markdown_cells(tmp_path, "measures", "DM-GAN") == ["0.700 ± 0.014", "0.410 ± 0.008", "0.812 ± 0.016"]
    assert markdown_cells(tmp_path, "measures", "Real test images")[-1] == "1.000 ± 0.020"


def test_every_model_that_is_run_has_its_further_measures(write, tmp_path):
    names = ("dmgan", "attngan", "dmgan-baseline", "dmgan-m", "dmgan-m-wg", "kvmgan", "dmgan-paper")
    write_tables([write(name, metrics=metrics({"diversity(species)": 0.5})) for name in names], tmp_path)
    for name in names:
        assert find_row(tmp_path, "measures", MODELS[name].title, "synthbirds", "diversity")["value"] == "0.5"


def test_diversity_does_not_rank_but_tells_what_collapsed(write, tmp_path):
    def diverse(value):
        return metrics(MODEL | {"diversity(species)": value})

    controls = [write(name, None, "control", metrics=diverse(1.0)) for name in ("real", "nearest", "noise")]
    write_tables([write("dmgan", metrics=diverse(1.2)), write("attngan", metrics=diverse(0.3)), *controls], tmp_path)
    assert markdown_cells(tmp_path, "measures", "DM-GAN") == ["1.200 ± 0.024"]
    assert markdown_cells(tmp_path, "measures", "AttnGAN") == ["0.300 ± 0.006"]
    text = (tmp_path / "measures.md").read_text()
    assert "Collapsed, below 0.1 of the diversity of real images: none." in text and "as they should" not in text
    write_tables([write("attngan", metrics=diverse(0.02)), *controls], tmp_path)
    assert "real images: AttnGAN (0.020)." in (tmp_path / "measures.md").read_text()


def test_small_distances_keep_three_digits(write, tmp_path):
    write_tables([write("dmgan", metrics=metrics(MODEL | {"FID(species)": 0.0345}))], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4] == "0.0345 ± 0.0007"


def test_dmgan_paper_follows_the_paper_s_methods(write, tmp_path):
    write_tables([write("dmgan"), write("dmgan-paper")], tmp_path)
    title = MODELS["dmgan-paper"].title
    assert markdown_cells(tmp_path, "table1", title)[-1] == "**9.00 ± 0.18**"  # as good as DM-GAN here
    assert len(markdown_cells(tmp_path, "table2", title)) == 7
    assert title not in (tmp_path / "table3.md").read_text()


def test_a_model_beyond_the_paper_follows_its_methods(write, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "newgan", MODELS["dmgan"]._replace(title="NewGAN"))
    write_tables([write("newgan")], tmp_path)
    assert markdown_cells(tmp_path, "table1", "NewGAN") == ["-", "-", "9.00 ± 0.18"]
    assert "NewGAN" not in (tmp_path / "table3.md").read_text()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (lambda write: [write("dmgan"), write("dmgan", dataset="cub")], "two data sets"),
        (lambda write: [write("dmgan")] * 2, "both of dmgan, seed 0"),
        (lambda write: [write("nogan")], "'nogan' is unknown"),
        (lambda write: [write("dmgan", None)], "training seed"),
        (lambda write: [write("real", None, "control"), write("blank", None, "control")], "no known control"),
        (lambda write: [write("dmgan", metrics=metrics(MODEL) | {"FID(species)": None})], "has no FID"),
        (lambda write: [write("dmgan", metrics={"IS": measure(9.0)})], "damaged .IS names no judge"),
        (lambda write: [write("dmgan", metrics={})], "damaged .it holds no metric"),
        (lambda write: [write("dmgan", metrics={"IS(tf)": {"value": 3.0}})], "damaged .no 'interval'"),
        (lambda write: [write("dmgan"), write("dmgan", 1, metrics=metrics(MODEL | {"IS(tf)": 4.0}))], "only one of"),
        (lambda write: [Path("nowhere/metrics.json")], "cannot be read"),
    ],
)
def test_bad_files_are_refused(write, tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        write_tables(files(write), tmp_path / "out")


def test_latex_is_well_formed(write, tmp_path):
    controls = [write(name, None, "control", metrics=metrics(REAL)) for name in CONTROLS]
    write_tables([write("dmgan", 0), write("dmgan", 1), write("attngan"), *controls], tmp_path)
    for layout in LAYOUTS:
        text = (tmp_path / f"{layout.name}.tex").read_text()
        assert text.isascii()  # so that any engine and any input encoding takes it
        _check_latex(text)


def _check_latex(text: str) -> None:
    """Braces, dollars and environments are balanced; every line of the table has all its columns."""
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("%"))
    plain = re.sub(r"\\[{}$&%#_]", "", text)
    depth = 0
    for character in plain:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0 and plain.count("$") % 2 == 0
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    (columns,) = re.findall(r"\\begin\{tabular\}\{@\{\}(\w+)@\{\}\}", text)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) > 5
    for row in rows:
        spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", row))
        assert row.replace(r"\&", "").count("&") + 1 + spanned == len(columns)
    for command in ("toprule", "midrule", "bottomrule", "caption", "label"):
        assert "\\" + command in text


def test_latex_escapes():
    assert latex("a_b & 5 % ± ×") == r"a\_b \& 5 \% $\pm$ $\times$"


def test_markdown_lines_are_aligned(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    for layout in LAYOUTS:
        lines = [line for line in (tmp_path / f"{layout.name}.md").read_text().splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) == 1
        assert len({line.count("|") for line in lines}) == 1
