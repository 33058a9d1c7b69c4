"""The page of photographs: tables from metrics.json, pictures of models alone, and a comparison with a second run."""

import json

import pytest
from PIL import Image

from dmgan.errors import UserError
from docs import update_photographs
from docs.update_photographs import finished, numbers, picture, repeated, table
from tests.docs.test_update_results import write_metrics
from tests.paths import CONFIGS
from workflow.configuration import read_configuration

RUNS = [(model, seed) for model in ("dmgan", "attngan") for seed in (0, 1)]


@pytest.fixture
def config() -> dict:
    return read_configuration(CONFIGS / "cub50.yaml")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder with the evaluations and images of four runs, and the control rows."""
    metrics = dict.fromkeys(("FID(species)", "precision(efficientnet-lite0)"), ("", 1))
    monkeypatch.setattr("tests.docs.test_update_results._COLUMNS", metrics)
    folder = tmp_path / "results" / "cub50"
    for number, (model, seed) in enumerate(RUNS):
        run = folder / model / f"seed{seed}"
        write_metrics(run / "metrics.json", 10.0 + number, "model")
        (run / "images").mkdir()
        (run / "images" / "manifest.json").touch()
        for image in range(update_photographs._SHOWN):
            Image.new("RGB", (64, 64), (60 * number, 0, 0)).save(run / "images" / f"{image:06d}.png")
        (run / "generator.safetensors").write_bytes(bytes([number]))
    for name in update_photographs._CONTROLS:
        write_metrics(folder / "controls" / name / "metrics.json", 3.0, "control")
    return tmp_path / "results"


def test_the_table_has_the_mean_of_the_seeds_and_every_control(results, config):
    rows = table(results, "cub50", finished(results, "cub50", config)).splitlines()
    assert rows[0] == "| images | precision (EfficientNet) ↑ | FID (species) ↓ | n |"
    assert rows[2] == "| DM-GAN | 10.50 ± 0.71 | 10.5 ± 0.7 | 20 |"
    assert rows[3].startswith("| AttnGAN | 12.50 ± 0.71") and len(rows) == 2 + 2 + 5
    assert rows[4] == "| real test images, one half against the other | 3.00 | 3.0 | 20 |"


def test_the_picture_has_a_row_for_every_run(results, config, tmp_path):
    picture(finished(results, "cub50", config), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as file:
        sheet = file.convert("RGB")
        assert sheet.size == (12 * 100 - 4, 4 * 100 - 4)
        assert [sheet.getpixel((1190, 100 * row + 50))[0] for row in range(4)] == [0, 60, 120, 180]


def test_a_second_run_is_compared_file_by_file_and_metric_by_metric(results, tmp_path):
    again = tmp_path / "again" / "cub50" / "dmgan" / "seed0"
    write_metrics(again / "metrics.json", 10.0, "model")
    (again / "generator.safetensors").write_bytes(b"\0")
    said = repeated(results, tmp_path / "again")
    assert "- generators, byte by byte: `cub50/dmgan/seed0/generator.safetensors`" in said
    assert "2 metrics on test images, to the last digit" in said
    rows = ["step,seconds,FID(species)", "5,0.1,3.25", "10,0.2,2.5"]
    (results / "cub50" / "dmgan" / "seed0" / "validation.csv").write_text("\n".join(rows))
    (again / "validation.csv").write_text("\n".join([rows[0], "5,7.5,3.25"]))
    assert "1 metrics on validation images, to the last digit" in repeated(results, tmp_path / "again")
    content = json.loads((again / "metrics.json").read_text())
    content["metrics"]["FID(species)"]["value"] += 1e-12
    (again / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"FID\(species\) is 10.000000000001, not 10.0 as in"):
        repeated(results, tmp_path / "again")
    (again / "generator.safetensors").write_bytes(b"\1")
    with pytest.raises(UserError, match="generator.safetensors: differs from that of"):
        repeated(results, tmp_path / "again")


def test_a_section_is_replaced_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- cub50: docs/update_photographs.py -->\nold\n<!-- end of cub50 -->\nb\n")
    for _ in range(2):
        update_photographs.fill(page, "cub50", "new")
        found = page.read_text()
        assert found.startswith("a\n<!-- cub50") and found.endswith("end of cub50 -->\nb\n")
        assert "\nnew\n" in found and "old" not in found
    with pytest.raises(UserError, match="page.md: the markers of a section are missing"):
        update_photographs.fill(page, "flickr8k", "new")


def test_an_unfinished_training_is_left_out(results, config):
    (results / "cub50" / "attngan" / "seed0" / "images" / "manifest.json").unlink()
    assert [run.title for run in finished(results, "cub50", config)][2:] == ["AttnGAN seed 1"]
    assert "| AttnGAN | 13.00 | 13.0 | 20 |" in numbers(results, "cub50", finished(results, "cub50", config))
    with pytest.raises(UserError, match="has no finished training; run the workflow with cub50.yaml"):
        finished(results / "other", "cub50", config)


def test_without_evaluations_the_numbers_are_those_of_the_validation_images(results, config):
    runs = finished(results, "cub50", config)
    (runs[0].folder / "metrics.json").unlink()
    for run in runs:
        (run.folder / "options.json").write_text('{"selection": {"step": 10}}')
        (run.folder / "validation.csv").write_text("step,seconds,images,FID(species)\n5,1,8,3.25\n10,1,8,2.75\n")
    rows = numbers(results, "cub50", runs).splitlines()
    assert rows[2] == "| images | FID(species) | n |" and rows[4] == "| DM-GAN seed 0, step 10 | 2.8 | 8 |"
    assert len(rows) == 4 + 4
