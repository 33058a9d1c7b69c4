"""How many jobs of each rule a dry run of a configuration lists."""

import re

import pytest

from dmgan.models.registry import MODELS
from dmgan.options import DEFAULT_METHOD, RETRIEVALS
from tests.paths import CONFIGS
from tests.project import copy_of_project, run
from tests.workflow.configurations import (
    FILES,
    INCEPTION,
    expected_jobs,
    give_weights,
    planned_jobs,
    read_config,
    write_config,
)
from workflow.configuration import models_of, read_configuration

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FILES)
def test_jobs_from_nothing(name, tmp_path):
    project = copy_of_project(tmp_path)
    give_weights(project)
    assert planned_jobs(project, CONFIGS / name) == expected_jobs(read_configuration(CONFIGS / name))


def test_missing_inception_weights_are_found_before_anything_is_prepared(tmp_path):
    project, goal = copy_of_project(tmp_path), "results/cub/damsm/seed0/options.json"
    words = ["snakemake", goal, "--dry-run", "--configfile", CONFIGS / "paper.yaml"]
    dry = run(*words, folder=project)
    assert dry.returncode == 1 and "Missing input files for rule pretrain" in dry.stdout + dry.stderr
    assert INCEPTION in dry.stdout + dry.stderr
    give_weights(project)
    dry = run(*words, folder=project)
    assert dry.returncode == 0 and re.search(rf"rule pretrain:\n +input: .*{INCEPTION}", dry.stdout), dry.stdout


def test_full_demo_extends_the_demo():
    demo, full = read_config("config.yaml"), read_config("full-demo.yaml")
    for key in (
        "datasets",
        "num_images",
        "sampling_seed",
        "damsm",
        "held_out_damsm",
        "matching",
        "classifier",
        "attributes",
    ):
        assert full[key] == demo[key]
    assert full["hyperparameters"]["synthbirds"].items() >= demo["hyperparameters"]["synthbirds"].items()


def test_full_demo_runs_every_model():
    every = [name for name in MODELS if MODELS[name].ablation_of is None]
    assert sorted(models_of(read_configuration(CONFIGS / "full-demo.yaml"), "synthbirds")) == sorted(every)


def test_smoke_has_a_model_of_every_kind_of_job():
    needs = {need for name in read_config("smoke.yaml")["models"] for need in MODELS[name].needs}
    assert "captioner" in needs and {"dmgan", "mdsp"} <= set(read_config("smoke.yaml")["models"])


def test_the_grid_runs_every_ablation_of_its_model():
    grid, demo = read_config("mdsp-grid.yaml"), read_config("full-demo.yaml")
    ablations = [each for each in MODELS if MODELS[each].ablation_of == "mdsp"]
    assert sorted(grid["hyperparameters"]["synthbirds"]) == sorted(["mdsp", *ablations])
    assert sorted(grid["retrieval"]) == sorted(set(RETRIEVALS) - {DEFAULT_METHOD})
    for key in set(demo) - {"presets", "models", "captioner", "hyperparameters"}:
        assert grid[key] == demo[key]
    blocks = list(grid["hyperparameters"]["synthbirds"].values())
    assert blocks == [demo["hyperparameters"]["synthbirds"]["mdsp"]] * len(blocks)


def test_a_data_set_may_name_its_own_models(tmp_path):
    config = read_config("smoke.yaml") | {"models": ["attngan"]}
    config["datasets"]["birds"] = config["datasets"]["smoke"] | {"models": ["mdsp", "dmgan"]}
    config["hyperparameters"]["birds"] = config["hyperparameters"]["smoke"]
    path = write_config(tmp_path / "own.yaml", config)
    complete = read_configuration(path)
    assert [models_of(complete, each) for each in complete["datasets"]] == [["attngan"], ["mdsp", "dmgan"]]
    expected = expected_jobs(complete)
    assert expected["train"] == 3 and expected["figures"] == 2
    project = copy_of_project(tmp_path / "project")
    assert planned_jobs(project, path) == expected
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path, folder=project)
    trained = re.findall(r"dmgan train --model (\S+) --seed 0 --data results/data/(\w+)", dry.stdout)
    assert sorted(trained) == [("attngan", "smoke"), ("dmgan", "birds"), ("mdsp", "birds")]
    tables = re.findall(r"dmgan tables --metrics (.*) --out results/(\w+)/tables", dry.stdout)
    runs = {dataset: re.findall(r"results/\w+/([\w-]+)/seed0", metrics) for metrics, dataset in tables}
    assert runs == {"smoke": ["attngan"], "birds": ["mdsp", "dmgan"]}


def test_without_a_list_every_model_with_a_block_is_run(tmp_path):
    config = read_config("smoke.yaml")
    del config["models"]
    path = write_config(tmp_path / "all.yaml", config)
    complete = read_configuration(path)
    assert models_of(complete, "smoke") == list(config["hyperparameters"]["smoke"])
    assert planned_jobs(copy_of_project(tmp_path / "project"), path) == expected_jobs(complete)
