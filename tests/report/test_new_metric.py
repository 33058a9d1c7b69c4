"""A new metric is one file and one line of the table of metrics; tables, notes and comparisons show it."""

import json
import sys

import numpy as np
import pytest

from dmgan.options import CONTROLS
from tests.project import copy_of_project, run
from tests.report.made_metrics import read_all

TOY = '''"""A metric for this test."""

from dmgan.evaluation.metrics.base import Facts, FeatureMetric, Measurement, Result


class Toy(FeatureMetric):
    facts = Facts("toy", "down", "none", decimals=4)
    extractors = ("species",)

    def compute(self, measurement: Measurement) -> Result:
        raise NotImplementedError
'''
TITLES = {"dmgan": "DM-GAN", "attngan": "AttnGAN"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the package with the toy metric in it."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    metrics = folder / "dmgan" / "evaluation" / "metrics"
    (metrics / "toy.py").write_text(TOY)
    table = (metrics / "table.py").read_text()
    (metrics / "table.py").write_text(table.replace('    "soa:SoaC",\n', '    "toy:Toy",\n    "soa:SoaC",\n'))
    return folder


def write_metrics(folder, name: str, kind: str, value: float):
    """Write metrics.json and per_image.npz of a subject that only the toy metric measured."""
    without = value + 1e-4 * np.arange(10)
    measure = {
        "value": value, "spread": 0.01, "spread_over": "ten folds of one image set", "interval": [value, value + 0.01],
        "interval_level": 0.95, "interval_over": "folds", "num_images": 400, "folds": 10, "interval_folds": 10,
        "protocol": {"feature_network": "species-classifier"},
    }  # fmt: skip
    subject = {"kind": kind, "name": name, "seed": 0, "dataset": "synthbirds", "num_images": 400, "image_size": 32}
    inputs = {"data": {"images.bin": "5e"}, "images_sha256": "ab", "sampling_seed": 100}
    content = {"schema": 2, "subject": subject, "metrics": {"toy(species)": measure}, "inputs": inputs}
    path = folder / name / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    images = {"test_images": np.arange(400), "captions": np.zeros(400, int), "folds": np.arange(400) % 10}
    np.savez(path.with_name("per_image.npz"), images_sha256="ab", **images, **{"without/toy(species)": without})
    return path


def run_dmgan(project, *words):
    """Run a subcommand of the copy."""
    done = run(sys.executable, "-m", "dmgan", *words, folder=project, PYTHONPATH=str(project))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_new_metric_is_in_tables_notes_and_comparisons(project, tmp_path):
    values = {"dmgan": 0.2, "attngan": 0.5} | dict.fromkeys(CONTROLS, 0.9) | {"noise": 0.1}
    paths = [write_metrics(tmp_path, name, "model" if name in TITLES else "control", v) for name, v in values.items()]
    run_dmgan(project, "tables", "--metrics", *paths, "--out", tmp_path / "tables")
    text = read_all(tmp_path / "tables", "measures")
    assert "| toy" in text and "**0.2000 ± 0.0100" in text, text  # four decimals, less is better
    assert "A control that should lose ranks before a model: Noise (toy(species) 0.1000) below" in text
    run_dmgan(project, "compare", "--metrics", *paths, "--out", tmp_path / "tables")
    claims = read_all(tmp_path / "tables", "comparisons")
    assert "toy(species), less is better" in claims and "DM-GAN better than AttnGAN" in claims, claims
