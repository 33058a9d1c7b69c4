"""The page of photographs: tables from metrics.json, pictures of models alone, and a comparison with a second run."""

import hashlib
import json

import pytest
from PIL import Image

from dmgan.errors import UserError
from dmgan.storage.files import write_json
from docs import update_photographs
from docs.update_photographs import check, finished, numbers, picture, table
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


def test_a_second_run_is_compared_file_by_file_and_digit_by_digit(results, tmp_path, monkeypatch):
    run = results / "cub50" / "dmgan" / "seed0"
    for model, seed in RUNS:
        rows = "step,seconds,FID(species)\n5,0.1,3.25\n10,0.2,2.5\n"
        (results / "cub50" / model / f"seed{seed}" / "validation.csv").write_text(rows)
    recorded = update_photographs.made(results, "cub50")
    assert recorded["cub50/dmgan/seed0/generator.safetensors"] == hashlib.sha256(b"\0").hexdigest()
    assert recorded["cub50/dmgan/seed0/validation.csv, step 10, FID(species)"] == 2.5
    assert recorded["cub50/dmgan/seed0/metrics.json, FID(species)"] == 10.0
    monkeypatch.setattr(update_photographs, "RECORD", tmp_path / "record.json")
    write_json(tmp_path / "record.json", {"cub50": recorded})
    (run / "validation.csv").write_text("step,seconds,FID(species)\n5,7.5,3.25\n10,9.5,2.5\n")  # time differs
    assert f"cub50: 4 files and {len(recorded) - 4} metrics are those of" in check(results, "cub50")
    content = json.loads((run / "metrics.json").read_text())
    content["metrics"]["FID(species)"]["value"] += 1e-12
    (run / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"1 of .*first .*, FID\(species\): 10.000000000001, recorded 10.0; bits are"):
        check(results, "cub50")
    (run / "generator.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match="2 of .* first cub50/dmgan/seed0/generator.safetensors: .*, recorded"):
        check(results, "cub50")
    with pytest.raises(UserError, match="record.json: holds nothing of flickr8k"):
        check(results, "flickr8k")
    (results / "cub50" / "controls" / "noise" / "metrics.json").unlink()
    with pytest.raises(UserError, match="cub50: is not finished; run the workflow with cub50.yaml"):
        check(results, "cub50")
    with pytest.raises(UserError, match="has no finished training; run the workflow with cub50.yaml"):
        check(results / "other", "cub50")


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
