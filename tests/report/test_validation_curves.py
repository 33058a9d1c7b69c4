"""The figure of validation metrics over the training steps."""

import csv
import json

import pytest
from matplotlib.colors import to_hex

from dmgan.errors import UserError
from dmgan.report.figures.validation_curves import Curves, draw_curves, read_curves

FID, HITS = "FID(species)", "R-precision(training DAMSM)"


def curves(model: str, seed: int, selected: int | None = None) -> Curves:
    values = {FID: [9.0 + seed, 5.0, 6.0], HITS: [10.0, 40.0, 50.0 + seed]}
    return Curves(model, seed, 30, [100, 200, 250], values, selected)


def write_run(folder, model: str, seed: int, selection: dict):
    folder.mkdir()
    (folder / "options.json").write_text(json.dumps({"model": model, "seed": seed, "selection": selection}))
    with open(folder / "validation.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("step", "seconds", "images", FID), (100, 1.5, 30, 9.0), (200, 1.5, 30, 5.0)])
    return folder


def test_a_panel_for_each_metric_a_colour_for_each_model_a_line_for_each_seed():
    canvas = draw_curves([curves("dmgan", 0, 200), curves("dmgan", 1), curves("attngan", 0), curves("attngan", 1)])
    panels = [axes for axes in canvas.figure.axes if axes.get_xlabel() == "step"]
    assert len(panels) == 2
    for axes in panels:
        lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
        colours = [to_hex(line.get_color()) for line in lines]
        assert len(lines) == 4 and colours[0] == colours[1] != colours[2] == colours[3]
        (dot,) = [line for line in axes.lines if len(line.get_xdata()) == 1]
        assert len({line.get_linestyle() for line in lines}) == 2  # models differ in grey too
        assert list(dot.get_xdata()) == [200]
    assert [line.get_ydata()[0] for line in panels[0].lines if len(line.get_xdata()) == 3] == [9.0, 10.0, 9.0, 10.0]
    texts = [text.get_text() for text in canvas.figure.texts]
    assert {"DM-GAN", "AttnGAN", f"{FID}, less is better", f"{HITS}, more is better"} <= set(texts)
    assert any("A large dot marks the selected weights." in text for text in texts)


def test_a_run_without_a_metric_leaves_its_panel_out():
    other = curves("attngan", 0)
    del other.values[HITS]
    panels = [axes for axes in draw_curves([curves("dmgan", 0), other]).figure.axes if axes.get_xlabel() == "step"]
    assert [len(axes.lines) for axes in panels] == [2, 1]


def test_curves_are_read_from_run_folders(tmp_path):
    best = {"rule": "best", "step": 200, "metric": FID, "value": 5.0, "snapshots": 2}
    first = write_run(tmp_path / "seed0", "dmgan", 0, best)
    second = write_run(tmp_path / "seed1", "dmgan", 1, {"rule": "last", "step": 200})
    assert read_curves(first) == Curves("dmgan", 0, 30, [100, 200], {FID: [9.0, 5.0]}, 200)
    assert read_curves(second).selected is None


def test_a_run_that_was_not_measured_is_refused(run_folder):
    with pytest.raises(UserError, match="validation.csv: cannot be read .*; train it with --evaluate-every, or leave"):
        read_curves(run_folder)
