"""Charts of trainings: losses over seeds, FID against cost, and the files that they are read from."""

import csv
import json

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.report.figures.cost_chart import draw_costs, images_seen
from dmgan.report.figures.loss_curves import draw_losses, losses_of, mean_and_range
from dmgan.report.figures.records import read_records
from dmgan.report.figures.render import write_curves


@pytest.fixture
def write_run(tmp_path):
    """Return a function that writes the record of a training and returns its folder."""

    def write(model: str, seed: int, adversarial=(3.0, 2.0, 1.0), segments=((0, 8),)):
        folder = tmp_path / model / f"seed{seed}"
        folder.mkdir(parents=True)
        engine = [{"from_step": start, "effective_batch": batch, "device": "cpu"} for start, batch in segments]
        (folder / "options.json").write_text(json.dumps({"model": model, "seed": seed, "engine": engine}))
        with open(folder / "history.csv", "w", newline="") as file:
            rows = [(20 * (number + 1), 1.0, 0.5, value) for number, value in enumerate(adversarial)]
            csv.writer(file).writerows([("step", "discriminator0", "discriminator1", "adversarial"), *rows])
        return folder

    return write


def write_benchmark(path, seconds: float):
    path.write_text(f"s\th:m:s\n{seconds}\t0:00:12\n")
    return path


def data_axes(canvas) -> list:
    """Return the panels, without the keys of the legend."""
    return [axes for axes in canvas.figure.axes if axes.get_xlabel()]


def test_losses_are_summed_over_stages_and_averaged_over_seeds(write_run):
    runs = [write_run("dmgan", 0, (4.0, 2.0, 1.0)), write_run("dmgan", 1, (2.0, 2.0, 3.0)), write_run("attngan", 0)]
    records = read_records(runs)
    assert list(losses_of(records.runs[0])) == ["discriminator", "adversarial"]
    assert losses_of(records.runs[0])["discriminator"].tolist() == [1.5] * 3
    steps, mean, least, greatest = mean_and_range(records.of("dmgan"), "adversarial")
    assert steps.tolist() == [20, 40, 60] and mean.tolist() == [3.0, 2.0, 2.0]
    assert least.tolist() == [2.0, 2.0, 1.0] and greatest.tolist() == [4.0, 2.0, 3.0]
    canvas = draw_losses(records)
    discriminator, adversarial = data_axes(canvas)
    assert [line.get_ydata().tolist() for line in adversarial.lines] == [[3.0, 2.0, 2.0], [3.0, 2.0, 1.0]]
    first, second = discriminator.lines
    assert first.get_linestyle() != second.get_linestyle() and first.get_color() != second.get_color()
    assert any("Seeds of a model: 1 or 2." in text.get_text() for text in canvas.figure.texts)


def test_a_long_history_is_averaged_in_intervals(write_run):
    run = read_records([write_run("dmgan", 0, np.arange(1000.0))])
    steps, mean, *_ = mean_and_range(run.runs, "adversarial")
    assert len(steps) == 200 and steps[-1] == 20_000
    assert mean[0] == pytest.approx(2.0) and mean[-1] == pytest.approx(997.0)  # means of 0 to 4, and of 995 to 999


def test_fid_is_drawn_over_images_and_over_recorded_seconds(write_run, write_metrics, tmp_path):
    runs = [write_run("dmgan", seed) for seed in (0, 1)]
    metrics = [write_metrics("dmgan", seed) for seed in (0, 1)]
    benchmarks = [write_benchmark(tmp_path / "first.tsv", 12.5), tmp_path / "missing.tsv"]
    records = read_records(runs, metrics, benchmarks)
    assert [run.seconds for run in records.runs] == [12.5, None]
    canvas = draw_costs(records)
    over_images, over_seconds = data_axes(canvas)
    assert over_images.get_xlabel() == "images seen in training"
    assert [line.get_xdata()[0] for line in over_images.lines] == [480, 480]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in over_seconds.lines] == [(12.5, 20.0)]
    assert any("Seconds not recorded: DM-GAN seed 1." in text.get_text() for text in canvas.figure.texts)


def test_images_of_a_resumed_run_are_counted_by_segment(write_run):
    (run,) = read_records([write_run("dmgan", 0, segments=((0, 8), (40, 16)))]).runs
    assert images_seen(run) == 40 * 8 + 20 * 16


def test_the_charts_are_written_that_the_files_allow(write_run, write_metrics, tmp_path):
    runs = [write_run("dmgan", 0)]
    write_curves(runs, [], [], tmp_path / "losses")
    assert sorted(path.name for path in (tmp_path / "losses").iterdir()) == ["losses.json", "losses.pdf", "losses.png"]
    write_curves(runs, [write_metrics("dmgan")], [], tmp_path / "both")
    assert {path.stem for path in (tmp_path / "both").iterdir()} == {"losses", "cost"}


def test_files_that_are_not_of_a_training_are_refused(write_run, tmp_path):
    run = write_run("dmgan", 0)
    with pytest.raises(UserError, match="no run given"):
        read_records([])
    with pytest.raises(UserError, match="--benchmarks: 2 files for 1 runs"):
        read_records([run], (), [tmp_path / "a.tsv", tmp_path / "b.tsv"])
    (tmp_path / "a.tsv").write_text("hours\n3\n")
    with pytest.raises(UserError, match="a.tsv: is not a benchmark of Snakemake"):
        read_records([run], (), [tmp_path / "a.tsv"])
    (run / "history.csv").write_text("loss\n1.0\n")
    with pytest.raises(UserError, match="seed0: has no history of a training"):
        read_records([run])
