"""The whole DAG, run small and once; every test that reads the finished run is in this file."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

from dmgan.report.figures.catalogue import GROUPS, Trained, figures_of
from tests.project import copy_of_project, run
from tests.workflow.configurations import (
    OF_FIGURES,
    PAGE,
    copy_without_aliases,
    planned_jobs,
    read_config,
    write_config,
)

pytestmark = pytest.mark.slow

CONFIG = read_config("smoke.yaml") | {"models": ["dmgan", "mirrorgan", "mdsp"]}  # AttnGAN's jobs are those of DM-GAN


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which its smoke.yaml has been run from nothing."""
    folder = copy_of_project(tmp_path_factory.mktemp("smoke"))
    write_config(folder / "smoke.yaml", CONFIG)
    done = run_smoke(folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return folder


def run_smoke(folder: Path) -> subprocess.CompletedProcess:
    settings = ["--cores", "2", "--resources", "gpu=2", "--rerun-incomplete", "--show-failed-logs"]
    return run("python", "workflow/run.py", *settings, "--configfile", "smoke.yaml", folder=folder)


def test_smoke_run_makes_every_table_and_figure(finished):
    results = finished / "results" / "smoke"
    of_other_papers = ("kvmgan-table1", "kvmgan-table2", "mdsp-table1", "mdsp-grid", "reproduction-table1")
    for table in ("table1", "table2", "table3", *of_other_papers, "measures", "comparisons", "claims", "conflicts"):
        for suffix in ("csv", "md", "tex"):
            assert (results / "tables" / f"{table}.{suffix}").stat().st_size > 0
        with open(results / "tables" / f"{table}.csv", encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) > 0
    models = Trained(CONFIG["models"], ["mirrorgan"])
    figures = [name for group in GROUPS for name in figures_of(group, models)]
    assert {"figure1", "figure2", "002-figure5", "steps", "losses", "validation", "failures"} <= {*figures}
    for figure in figures:
        assert (results / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
        assert (results / "figures" / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    listing = (finished / "results" / "parameters" / "reproduction-figure3.txt").read_text(encoding="utf-8")
    assert "number of trainable parameters = 21449042" in listing
    assert (results / "mdsp" / "retrieval.csv").stat().st_size > 0
    assert (finished / "results" / "mlflow.db").stat().st_size > 0


def test_second_smoke_run_has_nothing_to_do(finished):
    again = run_smoke(finished)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_lost_mlflow_database_trains_nothing_again(finished):
    book = finished / "results" / "mlflow.db"
    book.rename(finished / "aside.db")
    try:
        assert planned_jobs(finished, finished / "smoke.yaml") == {}
    finally:
        (finished / "aside.db").rename(book)


def test_changed_hyperparameter_runs_that_models_chain_alone(finished, tmp_path):
    config = copy_without_aliases(CONFIG)
    config["hyperparameters"]["smoke"]["dmgan"]["generator_lr"] = 0.001
    jobs = planned_jobs(finished, write_config(tmp_path / "changed.yaml", config))
    of_model = ["train", "sample", "evaluate"]
    chain = dict.fromkeys([*of_model, "tables", "compare", "claims", "checklist", *OF_FIGURES, PAGE, "all"], 1)
    assert jobs == chain | {"total": 12}


def test_another_seed_runs_its_chains_alone(finished, tmp_path):
    config = CONFIG | {"seeds": [0, 1]}
    jobs = planned_jobs(finished, write_config(tmp_path / "seeds.yaml", config))
    models = len(config["models"])
    memory = ["memorisation", "sample_retrieval", "evaluate_retrieval", "retrieval_table"]
    assert jobs == {
        **dict.fromkeys(["train", "sample", "evaluate"], models),
        **dict.fromkeys(memory, 1),
        "tables": 1,
        "compare": 1,
        "claims": 1,
        "checklist": 1,
        "curves": 1,
        PAGE: 1,
        "all": 1,
        "total": 3 * models + 11,
    }


@pytest.mark.parametrize(
    "modules, rerun",
    [
        (
            ["dmgan/evaluation/statistics/folds.py"],
            {
                "reference": 1,
                "evaluate": len(CONFIG["models"]),
                "evaluate_controls": 1,
                "tables": 1,
                "compare": 1,
                "claims": 1,
                "checklist": 1,
                "curves": 1,
                "failures": 1,
                PAGE: 1,
            }
            | dict.fromkeys(["evaluate_retrieval", "memorisation", "retrieval_table"], 1),
        ),
        (
            ["dmgan/report/tables/render.py", "dmgan/training/train.py"],  # an edit of training trains nothing again
            dict.fromkeys(["tables", "compare", "claims", "checklist", *OF_FIGURES, "retrieval_table", PAGE], 1),
        ),
    ],
)
def test_edited_code_runs_the_cheap_rules_that_use_it(finished, modules, rerun):
    paths = [finished / module for module in modules]
    before = [(path.read_text(encoding="utf-8"), path.stat().st_atime, path.stat().st_mtime) for path in paths]
    for path, (text, *_) in zip(paths, before, strict=True):
        path.write_text(text + "\n# edited\n", encoding="utf-8")
    try:
        jobs = planned_jobs(finished, finished / "smoke.yaml")
    finally:
        for path, (text, *times) in zip(paths, before, strict=True):
            path.write_text(text, encoding="utf-8")
            os.utime(path, tuple(times))
    assert jobs == rerun | {"all": 1, "total": sum(rerun.values()) + 1}


def test_report_holds_tables_and_figures(finished):
    recorded = ".snakemake/configuration.yaml"  # as `make report`
    done = run("snakemake", "--report", "results/report.html", "--configfile", recorded, folder=finished)
    assert done.returncode == 0, done.stderr
    html = (finished / "results" / "report.html").read_text(encoding="utf-8")
    tables = ("table1.html", "table2.html", "table3.html", "comparisons.html", "mdsp-retrieval.html")
    for artefact in (*tables, "figure3.png", "figure6.png", "report.html", "report.pdf"):
        assert artefact in html
    assert "smoke/report/report.html" in html  # the link of its first page


def test_the_report_page_follows_from_the_runs(finished):
    html = (finished / "results" / "smoke" / "report" / "report.html").read_text(encoding="utf-8")
    assert "do not match their run" not in html and html.count('class="number"') > 200
    assert (finished / "results" / "smoke" / "report" / "report.pdf").read_bytes().startswith(b"%PDF")
