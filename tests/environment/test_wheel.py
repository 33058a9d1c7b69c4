"""The wheel, outside the checkout: one package, with its data, its command, every model and the Python interface."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from dmgan import __version__
from dmgan.models.registry import MODELS
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.training.train import TrainingInputs
from tests.conftest import CPU
from tests.paths import ROOT
from tests.training.short_runs import train_briefly
from tests.written_evaluations import write_evaluation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the unpacked wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for name in ("dmgan", "baselines"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, sources / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    target = folder / "site-packages"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--no-build-isolation", "--target", target, sources], check=True
    )
    return target


@pytest.fixture
def demo(data, damsm_folder, classifier_folder, tmp_path) -> Path:
    """A folder with a small `results/` of the demo's layout."""
    results = tmp_path / "demo" / "results"
    places = {"data/synthbirds": data, "synthbirds/damsm/seed0": damsm_folder, "synthbirds/species": classifier_folder}
    for place, made in places.items():
        (results / place).parent.mkdir(parents=True, exist_ok=True)
        (results / place).symlink_to(made)
    inputs = TrainingInputs(results / "data/synthbirds", results / "synthbirds/damsm/seed0")
    run = train_briefly(inputs, results / "synthbirds/dmgan/seed0")
    sample_test_captions(run, data, run / "images", SampleRequest(20), CPU)
    return results.parent


def run_installed(installed: Path, folder: Path, *words) -> str:
    """Standard output of a command that imports the unpacked wheel, in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run([*map(str, words)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_one_package_and_its_command(installed, tmp_path):
    names = {path.name for path in installed.iterdir()} - {"bin"}
    assert names == {"dmgan", f"dmgan_reproduction-{__version__}.dist-info"}
    assert run_installed(installed, tmp_path, installed / "bin" / "dmgan", "--version") == f"dmgan {__version__}\n"


def test_the_wheel_renders_tables_with_the_published_numbers(installed, tmp_path):
    metrics = write_evaluation(tmp_path, "dmgan", 0.6)
    words = ["tables", "--metrics", metrics, "--out", tmp_path / "tables"]
    run_installed(installed, tmp_path, sys.executable, "-m", "dmgan", *words)
    assert "16.09" in (tmp_path / "tables" / "table2.md").read_text(encoding="utf-8")  # DM-GAN's FID on CUB
    run_installed(installed, tmp_path, sys.executable, "-m", "dmgan", "claims", *words[1:])
    assert "49 claims" in (tmp_path / "tables" / "claims.md").read_text(encoding="utf-8")


def test_the_wheel_has_every_model(installed, tmp_path):
    code = "from dmgan.models.registry import *; print(*{model_class(name).__module__ for name in MODELS})"
    modules = run_installed(installed, tmp_path, sys.executable, "-c", code).split()
    wanted = {entry.target.split(":")[0].replace("baselines.", "dmgan.baselines.") for entry in MODELS.values()}
    assert set(modules) == wanted


def test_the_notebook_runs_with_the_wheel(installed, demo, monkeypatch):
    """The notebook as it is in docs/, beside results of the demo's layout."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / "python-api.ipynb", as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    (demo / "docs" / "notebooks").mkdir(parents=True)
    resources = {"metadata": {"path": str(demo / "docs" / "notebooks")}}
    NotebookClient(notebook, timeout=120, resources=resources).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs[0]["data"]["text/plain"].startswith("<dmgan.Model dmgan, 8/16/32 px,")
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    text = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
    assert "FID(species):" in text and "20 images" in text
