"""Tables, logs and times in a results folder of another person: no pipe is waited for, no NaN or markup is shown."""

import json
import os

import pytest
from PIL import Image

from dmgan.errors import UserError
from dmgan.report.figures.records import read_records
from dmgan.report.page.comparisons import comparisons, read_table
from dmgan.report.page.failures import _failed_jobs
from dmgan.report.page.figures import encode
from dmgan.report.page.run_facts import read_jobs
from dmgan.report.tables.retrieval import retrieval_files, write_retrieval
from tests.reading import read_csv
from tests.report.made_metrics import MODEL, metrics


def test_texts_of_a_retrieval_table_are_neither_formulas_nor_markup(write_metrics, tmp_path):
    measured = metrics(MODEL)
    measured["FID(species)"]["spread_over"] = "=HYPERLINK(1) | <b>"
    path = write_metrics("mdsp", metrics=measured)
    content = json.loads(path.read_text())
    content["inputs"]["retrieval"] = {"method": "S-S", "entries": 5, "feature_network": "<script>"}
    content["subject"]["name"] = "a | <b>b"
    path.write_text(json.dumps(content))
    write_retrieval([path], [], tmp_path / "out")
    cells = {cell for row in read_csv(tmp_path / "out" / "retrieval.csv") for cell in row.values()}
    assert "'=HYPERLINK(1) | <b>" in cells
    text = (tmp_path / "out" / "retrieval.md").read_text()
    assert r"a \| \<b>b" in text and r"\<script>" in text and "<b>" not in text.replace(r"\<", "")


COMPARED = (
    "first,second,metric,scorer,first_value,second_value,difference,interval_low,interval_high,p_value_holm,"
    "effect_size,seeds_p_value_holm,claim,note\n"
)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,b,FID,species,1,2,1,0,2,0.1,1,,none,\n", "is not a table of these models"),
        ("a,b,FID\n", "a row has not as many cells as the first line"),
    ],
)
def test_a_table_of_comparisons_of_other_models_or_with_gaps_is_refused(row, reason, tmp_path):
    path = tmp_path / "comparisons.csv"
    path.write_text(COMPARED + row)
    with pytest.raises(UserError, match=f"comparisons.csv: {reason}"):
        list(comparisons(path, _Nothing(), _Nothing()))


class _Nothing:
    """Results and sources without a model."""

    models: dict = {}

    def of_files(self, metric, files):
        raise AssertionError("a model was found")


def test_pipes_are_refused_and_not_waited_for(tmp_path):
    for name in ("comparisons.csv", "retrieval.csv", "a.tsv"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "seed0").mkdir()
    os.mkfifo(tmp_path / "seed0" / "history.csv")
    (tmp_path / "seed0" / "options.json").write_text('{"model": "dmgan", "seed": 0}')
    benchmarks = tmp_path / "benchmarks" / "train"
    benchmarks.mkdir(parents=True)
    os.mkfifo(benchmarks / "birds-dmgan.tsv")
    for read in (
        lambda: read_table(tmp_path / "comparisons.csv"), lambda: retrieval_files(tmp_path),
        lambda: read_records([tmp_path / "seed0"]), lambda: read_jobs(tmp_path / "benchmarks", "birds", ()),
    ):  # fmt: skip
        with pytest.raises(UserError, match="cannot be read .it is not a regular file."):
            read()


@pytest.mark.parametrize("seconds", ["nan", "inf", "x"])
def test_times_that_are_not_finite_are_refused(seconds, tmp_path):
    path = tmp_path / "train" / "birds-dmgan.tsv"
    path.parent.mkdir()
    path.write_text(f"s\tmax_rss\n{seconds}\t100\n")
    with pytest.raises(UserError, match="birds-dmgan.tsv: is not a benchmark file of Snakemake .*; delete it"):
        read_jobs(tmp_path, "birds", ())


def test_a_history_with_nan_is_refused(tmp_path):
    (tmp_path / "options.json").write_text('{"model": "dmgan", "seed": 0}')
    (tmp_path / "history.csv").write_text("step,adversarial\n20,nan\n")
    with pytest.raises(UserError, match="has no history of a training .a value is not a finite number."):
        read_records([tmp_path])


def test_logs_of_jobs_do_not_control_the_terminal_and_pipes_are_skipped(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "birds-a.log").write_text("dmgan train: \x1b[31mwrong\n")
    os.mkfifo(folder / "birds-b.log")
    assert list(_failed_jobs(tmp_path, "birds")) == [r"train birds-a: dmgan train: \x1b[31mwrong"]


def test_a_figure_that_states_too_many_pixels_is_refused(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "figure3.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="figure3.png: is not a readable image .*; draw the figures again"):
        encode(tmp_path / "figure3.png", 1000)
