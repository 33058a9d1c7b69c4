"""Networks that measure snapshots during short trainings, and a run whose images were measured."""

import os
import shutil

import pytest

from dmgan.evaluation.evaluate import evaluate
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.options import EvaluationOptions
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from tests.conftest import CPU


@pytest.fixture(scope="session")
def networks(classifier_folder, damsm_folder, attributes_folder, tmp_path_factory) -> NetworkFiles:
    """The species classifier, the training DAMSM and the attribute classifier."""
    weights = tmp_path_factory.mktemp("weights")
    return NetworkFiles(("species",), classifier_folder, weights, damsm_folder, attributes=attributes_folder)


@pytest.fixture(scope="session")
def measured_run(run_folder, data, damsm_folder, networks, tmp_path_factory):
    """A results folder with a copy of a run, whose images were measured."""
    results = tmp_path_factory.mktemp("measured")
    run = results / "birds" / "dmgan" / "seed0"
    shutil.copytree(run_folder, run)
    for folder in (damsm_folder, data):  # options.json names them relative to the run
        shutil.copytree(folder, results / "birds" / os.path.relpath(folder, run_folder.parents[1]))
    sample_test_captions(run, data, run / "images", SampleRequest(24), CPU)
    evaluate(
        images=run / "images", data=data, network_files=networks, reference=results / "reference",
        out=run / "metrics.json", options=EvaluationOptions(neighbours=2), device=CPU,
    )  # fmt: skip
    return run
