"""The demo's numbers go from metrics.json files into README and the results page."""

import json

import pytest
from PIL import Image

from docs import update_results
from docs.update_results import _COLUMNS, BEGIN, END, FIGURES, FULL, MODELS, SHORT


def write_metrics(path, value: float, kind: str) -> None:
    measure = {
        "value": value,
        "spread": 1.0,
        "spread_over": "ten folds of one image set",
        "interval": [value - 1, value + 1],
        "interval_level": 0.95,
        "interval_over": "folds of whole test images",
        "num_images": 20,
        "folds": 10,
        "protocol": {"feature_network": "a network"},
    }
    content = {
        "schema": 2,
        "subject": {
            "kind": kind,
            "name": path.parent.name,
            "dataset": "synthbirds",
            "num_images": 20,
            "image_size": 64,
        },
        "metrics": dict.fromkeys(_COLUMNS, measure),
        "inputs": {"data": {}},
        "provenance": {"commit": "0123456789abcdef"},
    }
    content["subject"]["seed"] = 0
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A folder with results of a demo and the two pages."""
    results, jobs = tmp_path / "results", tmp_path / "benchmarks" / "train"
    for number, name in enumerate(FULL):
        folder = results / name / "seed0" if name in MODELS else results / "controls" / name
        write_metrics(folder / "metrics.json", 10.0 + number, "model" if name in MODELS else "control")
    (results / "figures").mkdir()
    for number in FIGURES:
        Image.new("RGB", (2400, 1000)).save(results / "figures" / f"figure{number}.png")
    jobs.mkdir(parents=True)
    (jobs / "synthbirds-dmgan-seed0.tsv").write_text("s\tmax_rss\n281.4\t1176.2\n")
    (jobs / "synthbirds-mdsp-seed0.tsv").write_text("s\tmax_rss\n999.0\t1.0\n")
    pages = {"README": tmp_path / "README.md", "PAGE": tmp_path / "results.md"}
    for name, value in {"RESULTS": results, "BENCHMARKS": jobs.parent, **pages}.items():
        monkeypatch.setattr(update_results, name, value)
    for page in ("README.md", "results.md"):
        (tmp_path / page).write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n")
    return tmp_path


def test_readme_gets_the_models_and_the_page_gets_the_controls_too(demo):
    update_results.main()
    update_results.main()  # a second time changes nothing
    readme, page = (demo / "README.md").read_text(), (demo / "results.md").read_text()
    for text, names in ((readme, SHORT), (page, FULL)):
        assert text.startswith("before\n") and text.endswith("after\n") and "stale" not in text
        assert len([line for line in text.splitlines() if line.startswith("|")]) == len(names) + 2
        assert "Commit 0123456789." in text
    assert "| DM-GAN | 11.00 [10.00, 12.00] |" in readme and "| AttnGAN | 12.00 [11.00, 13.00] |" in page
    assert "uniform noise" in page and "uniform noise" not in readme
    assert "train synthbirds-dmgan-seed0 281 s, 1176 MB" in page and "mdsp" not in page


def test_pictures_are_small_copies(demo):
    update_results.main()
    for number in FIGURES:
        with Image.open(demo / f"figure{number}.png") as picture:
            assert picture.size == (1200, 500) and picture.mode == "P"
