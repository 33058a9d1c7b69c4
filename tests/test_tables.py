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
from dmgan.report.published import published_rows
from dmgan.report.tables import write_tables

FOLDS = "ten folds of one image set"
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
        "protocol": {"feature_network": network, **PROTOCOL, **protocol},
    }


def metrics(scores: dict[str, float], num_images: int = 2000, **protocol) -> dict:
    networks = dict.fromkeys(scores, "species-classifier") | {"R-precision": "DAMSM, the trainer"}
    return {name: measure(value, networks[name], num_images, **protocol) for name, value in scores.items()}


MODEL = {"IS": 9.0, "FID": 20.0, "KID": 0.02, "R-precision": 60.0}
REAL = {"IS": 12.0, "FID": 1.0, "KID": 0.001, "R-precision": 80.0}


@pytest.fixture
def write(tmp_path):
    """Writes a metrics.json and gives its path."""
    model_metrics = metrics(MODEL)

    def write_metrics(name, seed=0, kind="model", dataset="synthbirds", metrics=model_metrics) -> Path:
        subject = {"kind": kind, "name": name, "seed": seed, "dataset": dataset, "num_images": 2000, "image_size": 64}
        content = {"schema": 1, "subject": subject, "metrics": metrics, "provenance": {}}
        path = tmp_path / f"{kind}_{name}_{seed}_{dataset}" / "metrics.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write_metrics


def read_rows(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def find_row(folder: Path, name: str, method: str, dataset: str, metric: str) -> dict[str, str]:
    wanted = (method, dataset, metric)
    (found,) = [row for row in read_rows(folder, name) if (row["method"], row["dataset"], row["metric"]) == wanted]
    return found


def markdown_cells(folder: Path, name: str, method: str) -> list[str]:
    """The cells of one line of the Markdown table, without the label."""
    for line in (folder / f"{name}.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0].strip("*") == method:
            return cells[1:]
    raise AssertionError(f"{name}.md has no line {method}")


def test_published_numbers_are_those_of_the_paper(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    printed = {}
    for layout in LAYOUTS:
        for row in read_rows(tmp_path, layout.name):
            if row["source"].startswith("published"):
                printed[row["table"], row["dataset"], row["method"], row["metric"]] = (row["value"], row["spread"])
    ledger = {(row.table, row.dataset, row.method, row.metric): (row.value, row.std) for row in published_rows()}
    assert printed == ledger
    assert len(ledger) == 32
    assert ledger["Table 1", "CUB", "DM-GAN", "IS"] == ("4.75", "0.07")
    assert ledger["Table 1", "COCO", "GAWWN", "IS"] == ("", "")
    assert ledger["Table 2", "COCO", "AttnGAN", "R-precision"] == ("85.47", "3.69")
    assert ledger["Table 3", "CUB", "DM-GAN +M+WG", "FID"] == ("20.83", "")


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
    assert markdown_cells(tmp_path, "table1", "PPGN") == ["-", "9.58 ± 0.21", "not run"]
    assert markdown_cells(tmp_path, "table1", "DM-GAN")[:2] == ["**4.75 ± 0.07**", "**30.49 ± 0.57**"]
    assert markdown_cells(tmp_path, "table2", "AttnGAN")[:4] == ["23.98", "67.82 ± 4.43", "35.49", "85.47 ± 3.69"]
    assert "officially released weights" in find_row(tmp_path, "table2", "AttnGAN", "CUB", "FID")["note"]


def test_one_seed_shows_its_folds(write, tmp_path):
    path = write("dmgan")
    write_tables([path], tmp_path)
    row = find_row(tmp_path, "table1", "DM-GAN", "synthbirds", "IS")
    assert (row["value"], row["spread"], row["spread_over"]) == ("9.0", "0.18", FOLDS)
    assert (float(row["interval_low"]), float(row["interval_high"])) == pytest.approx((8.1, 9.9))
    assert (row["num_images"], row["source"], row["file"]) == ("2000", "this run", str(path))
    assert markdown_cells(tmp_path, "table1", "DM-GAN")[2] == "9.00 ± 0.18"
    assert f"± of this run: standard deviation over {FOLDS}." in (tmp_path / "table1.md").read_text()


def test_several_seeds_are_averaged_and_marked_apart_from_folds(write, tmp_path):
    values = [9.0, 9.4, 10.1]
    runs = [write("dmgan", seed, metrics=metrics(MODEL | {"IS": value})) for seed, value in enumerate(values)]
    write_tables([*runs, write("attngan", metrics=metrics(MODEL | {"IS": 8.0}))], tmp_path)
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
    noise = write("noise", None, "control", metrics=metrics(REAL) | {"R-precision": None})
    write_tables([write("attngan"), noise], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[4:] == ["not run"] * 3
    assert markdown_cells(tmp_path, "table3", "DM-GAN +M") == ["4.57 ± 0.05", "21.41", "70.66 ± 0.69", *["not run"] * 3]
    assert markdown_cells(tmp_path, "table2", "Real test images") == ["-"] * 4 + ["not run"] * 3
    assert markdown_cells(tmp_path, "table2", "Noise")[5] == "not defined"
    row = find_row(tmp_path, "table1", "DM-GAN", "synthbirds", "IS")
    assert (row["value"], row["file"], row["note"]) == ("", "", "not run")
    assert find_row(tmp_path, "table2", "Noise", "synthbirds", "R-precision")["note"] == "not defined"


def test_own_columns_name_data_set_and_network(write, tmp_path):
    write_tables([write("dmgan")], tmp_path)
    header = markdown_cells(tmp_path, "table2", "Method")
    assert header[0] == "FID ↓, CUB (published)"
    assert header[4:] == [
        "FID ↓, synthbirds (this run), species-classifier",
        "R-precision ↑, synthbirds (this run), DAMSM",
        "KID ↓, synthbirds (this run), species-classifier",
    ]
    text = (tmp_path / "table2.md").read_text()
    assert "does not rank against a published one" in text
    assert "species-classifier, for FID and KID; DAMSM, the trainer, for R-precision." in text


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (metrics(MODEL, codec="jpeg"), "codec"),
        (metrics(MODEL, reference_num_images=500), "reference_num_images"),
        (metrics(MODEL, reference="training images"), "reference"),
        (metrics(MODEL, num_images=30000), "num_images"),
        (metrics(MODEL, resize="clean"), "resize"),
        (metrics(MODEL) | {"KID": measure(0.02, "inception")}, "KID"),
    ],
)
def test_numbers_measured_in_two_ways_are_refused(write, tmp_path, changed, field):
    first, second = write("dmgan"), write("attngan", metrics=changed)
    with pytest.raises(UserError, match=re.escape(field)) as caught:
        write_tables([first, second], tmp_path)
    assert str(first) in str(caught.value) and str(second) in str(caught.value)
    assert not list(tmp_path.glob("table*"))


def test_a_control_may_have_other_counts_and_a_note_says_so(write, tmp_path):
    halves = metrics(REAL, 800, reference="the other half", reference_num_images=400)
    real = write("real", None, "control", metrics=halves)
    write_tables([write("dmgan"), real], tmp_path)
    text = (tmp_path / "table1.md").read_text()
    assert "Real test images (IS): measured on 800 images against 400 (the other half); the models on 2,000" in text
    assert "Real test images rank before every model on IS, as they should." in text
    with pytest.raises(UserError, match="codec"):
        write_tables([write("dmgan"), write("real", None, "control", metrics=metrics(REAL, codec="jpeg"))], tmp_path)


def test_a_control_that_beats_a_model_is_marked(write, tmp_path):
    shuffled = write("shuffled", None, "control", metrics=metrics(REAL | {"R-precision": 61.0}))
    write_tables([write("dmgan"), write("attngan", metrics=metrics(MODEL | {"R-precision": 62.0})), shuffled], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[5] == "60.00 ± 1.20 †"
    assert markdown_cells(tmp_path, "table2", "AttnGAN")[5] == "**62.00 ± 1.24**"
    assert "†" not in markdown_cells(tmp_path, "table2", "DM-GAN")[4]  # shuffled images are real: their FID should win
    note = "Real images with shuffled captions (R-precision 61.00) above DM-GAN."
    assert note in (tmp_path / "table2.md").read_text()
    assert r"60.00 $\pm$ 1.20\textsuperscript{$\dagger$}" in (tmp_path / "table2.tex").read_text()
    assert "control" in find_row(tmp_path, "table2", "DM-GAN", "synthbirds", "R-precision")["note"]


def test_a_model_that_beats_real_images_is_marked(write, tmp_path):
    real = write("real", None, "control", metrics=metrics(REAL | {"R-precision": 50.0}))
    write_tables([write("dmgan"), real], tmp_path)
    assert markdown_cells(tmp_path, "table2", "DM-GAN")[5] == "60.00 ± 1.20 ‡"
    text = (tmp_path / "table2.md").read_text()
    assert "Ranks before real test images: DM-GAN on R-precision." in text
    assert "Real test images rank before every model on FID and KID" in text


def test_small_distances_keep_three_digits(write, tmp_path):
    write_tables([write("dmgan", metrics=metrics(MODEL | {"FID": 0.0345}))], tmp_path)
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
        (lambda write: [write("dmgan", metrics=metrics(MODEL) | {"FID": None})], "has no FID"),
        (lambda write: [write("dmgan", metrics={"IS": measure(9.0)})], "damaged"),
        (lambda write: [Path("nowhere/metrics.json")], "cannot be read"),
    ],
)
def test_bad_files_are_refused(write, tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        write_tables(files(write), tmp_path / "out")


def test_latex_is_well_formed(write, tmp_path):
    controls = [write(name, None, "control", metrics=metrics(REAL)) for name in ("real", "shuffled", "noise")]
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
