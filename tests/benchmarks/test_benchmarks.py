"""The benchmarks' frame, and the baseline that speed is measured against."""

import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from benchmarks import __main__ as benchmarks
from benchmarks import (
    fresh,
    full_size,
    fused_blocks,
    plot,
    preparing,
    reading,
    record,
    sampling,
    synthetic_cub,
    training,
)
from benchmarks.baseline import BaselineGenerator
from benchmarks.record import Figure
from dmgan.data.sources import coco, cub
from dmgan.errors import UserError
from dmgan.models.dmgan import DMGAN
from dmgan.models.initialisation import initialise
from tests.conftest import ARCHITECTURE
from tests.paths import CONFIGS


def test_the_baseline_generates_what_dmgan_does():
    torch.manual_seed(0)
    ours = DMGAN(ARCHITECTURE, 16, word_mask="released").double()
    initialise(ours)
    baseline = BaselineGenerator(ARCHITECTURE, 16).double()
    baseline.load_state_dict(ours.state_dict(), strict=True)
    sentence, words = torch.randn(3, 16).double(), torch.randn(3, 16, 7).double()
    noise, mask = torch.randn(3, ours.noise_dim).double(), torch.arange(7) >= torch.tensor([[7], [4], [5]])
    for mode in (True, False):
        z, epsilon = noise.split([ARCHITECTURE.noise_dim, ARCHITECTURE.condition_dim], dim=1)
        images, attention, mean, logvar = baseline.train(mode)(z, sentence, words, mask, epsilon)
        expected = ours.train(mode).generate(noise, sentence, words, mask)
        torch.testing.assert_close(images, expected.images, rtol=0, atol=1e-10)
        torch.testing.assert_close(attention, expected.attention, rtol=0, atol=1e-10)
        torch.testing.assert_close([mean, logvar], [expected.mean, expected.logvar], rtol=0, atol=1e-10)
        assert expected.images[-1].std() > 0.01


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty folder of results and a README of its own."""
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(benchmarks, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"before\n{benchmarks.START}\nstale\n{benchmarks.END}\nafter\n")
    return tmp_path


def test_results_are_read_back_and_make_the_table(results, capsys):
    figures = [
        Figure("speed", 4.0, "times", at_least=4.5),
        Figure("memory", 0.5, "times", at_most=0.7),
        Figure("rate", 12345.6, "images/s"),
    ]
    written = record.write("reading", "Reading images", figures, record.machine(), {"rounds": [1, 2]})
    assert [figure.holds for figure in figures] == [False, True, None]
    assert "speed: 4 times (at least 4.5: DOES NOT HOLD)" in capsys.readouterr().out
    assert record.read(results / "results" / "reading.json") == written
    record.write("reading", "Reading on a GPU", figures, record.machine(), {}, file="reading-cuda")
    for _ in range(2):
        benchmarks.write_table()
        text = (results / "README.md").read_text()
        assert text.startswith("before\n") and text.endswith("after\n") and "stale" not in text
        assert "| [Reading images](results/reading.json) | speed | 4 times | at least 4.5 | **no** |" in text
        assert "| reading-cuda | `python -m benchmarks.reading" in text and "(results/reading-cuda.png)" in text
        assert "|  | memory | 0.5 times | at most 0.7 | yes |" in text and "12,346 images/s" in text


def test_a_foreign_result_is_refused(results):
    (results / "results").mkdir()
    (results / "results" / "odd.json").write_text('{"figures": []}')
    with pytest.raises(UserError, match="odd.json: is not a benchmark's result .* python -m benchmarks.odd"):
        benchmarks.write_table()


def test_benchmarks_are_found():
    found = benchmarks.names()
    assert "sampling" in found and not {"baseline", "record", "plot", "__main__"} & set(found)


def test_rounds_are_compared_with_one_another():
    slow, fast = [{"rate": 1.0}, {"rate": 2.0}, {"rate": 10.0}], [{"rate": 3.0}, {"rate": 6.0}, {"rate": 10.0}]
    assert fresh.ratio(fast, slow, "rate") == 3.0 and fresh.median(slow, "rate") == 2.0


def test_a_measurement_that_fails_says_why():
    with pytest.raises(UserError, match="no_such_module"):
        fresh.measure("benchmarks.no_such_module", [])


def test_bars_are_drawn(tmp_path):
    plot.bars(tmp_path / "plot.png", "Speed", {"images/s": {"plain": 1.0, "ours": 4.0}}, ours=["ours"], note="a note")
    assert Image.open(tmp_path / "plot.png").size[0] > 300


@pytest.mark.slow
def test_synthetic_photographs_are_as_large_as_cub_s(tmp_path):
    """CUB's images are about 1.2 GB: 100 to 110 KB each."""
    root, _ = synthetic_cub.make(tmp_path, 12, workers=1)
    sizes = [path.stat().st_size for path in (root / "images").rglob("*.jpg")]
    assert len(sizes) == 12 and 100e3 < sum(sizes) / 12 < 115e3


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_preparing_bounds_the_time_on_the_clock_of_a_whole_run(whole, results, monkeypatch, capsys):
    monkeypatch.setattr(synthetic_cub, "IMAGES", 20 if whole else 40)
    monkeypatch.setattr(sys, "argv", ["preparing", "--images", "20"])
    preparing.main()
    written = record.read(results / "results" / "preparing.json")
    assert [each.name for each in written.figures if each.at_most] == (["CUB's 11,788 images"] if whole else [])
    assert [each.value for each in written.figures if each.name == "mean size of a photograph"] == [
        written.details["read_bytes"] / 20 / 1e3
    ]


def test_reading_bounds_the_rates_on_the_clock(results, monkeypatch, capsys):
    monkeypatch.setattr(reading, "_prepare", lambda folder, count: None)
    monkeypatch.setattr(fresh, "measure", lambda *_: {"images_per_second": 10.0, "images_per_cpu_second": 4.0})
    monkeypatch.setattr(sys, "argv", ["reading", "--rounds", "1"])
    reading.main()
    figures = record.read(results / "results" / "reading.json").figures
    assert [each.at_least for each in figures if each.name == "ours, bytes: read here"] == [3000]
    assert not [each for each in figures if "CPU time" in each.name and each.holds is not None]
    assert sum(each.holds is not None for each in figures) == 3


def test_a_pass_of_the_bird_configuration_is_66_gflop():
    assert sampling.gflop_per_image() == pytest.approx(66, abs=0.5)


def test_fused_and_plain_blocks_are_equal():
    torch.manual_seed(0)
    for name, pair in fused_blocks.pairs().items():
        x = torch.randn(2, pair.channels, 4, 4)
        difference = (pair.fused(x) - pair.plain(x)).abs().max()
        assert difference < 1e-4, name


def test_the_projected_schedules_are_the_paper_s_and_the_release_s():
    text = (CONFIGS / "paper.yaml").read_text(encoding="utf-8")
    blocks = yaml.safe_load(text)["hyperparameters"]
    images = {"CUB": cub.PUBLISHED.images["train"], "COCO": coco.PUBLISHED["2014"]["train"]}
    release = {"CUB": (800, 10), "COCO": (200, 16)}  # epochs and batch of the released code's files
    runs = {name: [{"s_per_step": 3.6}] for name in training.CUDA_SETTINGS}
    projected = {
        each.name: each.value for each in training._gpu_claims(runs) if each.name.startswith("projected, steps alone: ")
    }
    assert len(projected) == 4
    for schedule, (setting, steps) in training.SCHEDULES.items():
        dataset, of_paper = schedule.split(",")[0], "the paper's" in schedule
        block = blocks[dataset.lower()]["dmgan"]
        epochs, batch = (block["epochs"], block["batch_size"]) if of_paper else release[dataset]
        assert steps == epochs * (images[dataset] // batch)
        assert f"{epochs} epochs of {images[dataset] // batch:,} steps of {batch}" in schedule
        measured = training.CUDA_SETTINGS[setting]
        assert (measured.batch, measured.residual_blocks) == (batch, 3 if dataset == "COCO" else 2)
        assert projected[f"projected, steps alone: {schedule}"] == pytest.approx(steps / 1000)
    assert training.CUDA_SETTINGS[training.GRAPH].engine.cuda_graphs and training.GRAPH in training.FIRST
    assert not training._gpu_claims({})


def test_a_training_at_full_size_is_resumed_from_its_checkpoint(results, monkeypatch, capsys):
    """The subcommands are recorded, not run: the second training has twice the epochs of the first."""
    told, ended = [], {"first": (30.0, "20 steps in 9 s"), "second": (50.0, "resuming from step 20 of 40")}

    def run(*words):
        told.append([str(word) for word in words])
        if words[0] == "train":
            out = Path(words[words.index("--out") + 1])
            out.mkdir(exist_ok=True)
            (out / "checkpoint.pt").write_bytes(b"0" * 1000)
        count = sum(each[0] == "train" for each in told)
        cpu, log = ended["first" if count < 2 else "second"] if count < 3 else (10.0, "")
        return full_size.Ended(cpu, 2 * cpu, 900.0, log)

    class Prepared:
        def __init__(self, folder):
            pass

        def indices(self, split):
            return range(40)

    monkeypatch.setattr(full_size, "run", run)
    monkeypatch.setattr(full_size, "PreparedDataset", Prepared)
    monkeypatch.setattr(synthetic_cub, "make", lambda folder, count, workers: (folder / "CUB", folder / "captions"))
    monkeypatch.setattr(sys, "argv", ["full_size"])
    full_size.main()
    figures = {each.name: each for each in record.read(results / "results" / "full_size.json").figures}
    assert figures["a step, CPU time of one thread"].value == (50 - 10) / 20
    assert figures["step from which the second run resumed"].holds
    trainings = [each for each in told if each[0] == "train"]
    assert [each[each.index("--epochs") + 1] for each in trainings] == ["2", "4", "4"]
    released = {"--generator-width": "64", "--discriminator-width": "32", "--base-size": "64", "--batch-size": "4"}
    assert all(trainings[0][trainings[0].index(flag) + 1] == value for flag, value in released.items())
