"""A new metric is one file and one line: `evaluate` of a copy of the project measures it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dmgan.evaluation.metrics.table import metrics
from dmgan.evaluation.statistics.folds import fold_order, fold_rows
from tests.project import copy_of_project

pytestmark = pytest.mark.slow

TOY = '''"""Length: mean Euclidean length of the features of the images."""

import numpy as np

from dmgan.evaluation.metrics.base import Facts, FeatureMetric, Measurement, Result
from dmgan.evaluation.statistics.folds import fold_rows, mean_over_folds


class Length(FeatureMetric):
    """Mean over ten folds."""

    facts = Facts("length", "up", "numpy", protocol=("fold_seed",))
    extractors = ("species",)

    def compute(self, measurement: Measurement) -> Result:
        lengths = np.linalg.norm(measurement.stored[self.reader]["features"].all(), axis=1)
        of_folds, of_test_images = (
            np.array([lengths[rows].mean() for rows in folds])
            for folds in (fold_rows(measurement.fold_order()), measurement.clustered_folds())
        )
        protocol = {**self.extractor.protocol, "fold_seed": measurement.options.seed}
        return Result(mean_over_folds(of_folds, of_test_images), protocol, len(lengths))
'''


def test_one_file_and_one_line_add_a_metric(images_folder, data, damsm_folder, classifier_folder, tmp_path):
    project, out = copy_of_project(tmp_path / "project"), tmp_path / "evaluation" / "metrics.json"
    folder = project / "dmgan" / "evaluation" / "metrics"
    (folder / "toy.py").write_text(TOY)
    table, last = (folder / "table.py").read_text(), '    "soa:SoaI",\n'
    assert table.count(last) == 1
    (folder / "table.py").write_text(table.replace(last, f'{last}    "toy:Length",\n'))
    words = [
        "evaluate", "--images", images_folder, "--data", data, "--damsm", damsm_folder,
        "--classifier", classifier_folder, "--out", out, "--neighbours", "2", "--threads", "1", "--device", "cpu",
    ]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "dmgan", *map(str, words)], cwd=project, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    content = json.loads(out.read_text())
    assert list(content["metrics"])[-1] == "length(species)" and "length" not in metrics()
    assert "FID(species)" in content["metrics"]
    found = content["metrics"]["length(species)"]
    lengths = np.linalg.norm(np.load(out.parent / "features" / "species" / "features.npy"), axis=1)
    folds = fold_rows(fold_order(40, 100))
    assert found["value"] == pytest.approx(np.mean([lengths[rows].mean() for rows in folds]))
    assert found["protocol"]["feature_network"] == "species-classifier" and found["protocol"]["fold_seed"] == 100
    with np.load(out.parent / "per_image.npz") as arrays:
        assert len(arrays["without/length(species)"]) == 8  # test images
    assert "length(species)" in run.stderr  # logged as every metric
