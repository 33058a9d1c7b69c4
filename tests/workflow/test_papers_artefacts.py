"""paper.yaml makes the tables and figures of the five documents, and runs every model that they measure."""

import re
from pathlib import Path

import pytest

from dmgan.report.literature.published import published
from dmgan.report.tables.paper_tables import LAYOUTS
from dmgan.report.tables.render import write_tables
from tests.data.made_sources import make_coco, make_cub, make_metadata
from tests.paths import CONFIGS
from tests.project import copy_of_project, run
from tests.workflow.configurations import give_weights
from tests.written_evaluations import write_evaluation
from workflow.configuration import models_of, read_configuration

PAPER = CONFIGS / "paper.yaml"
FIGURE3 = {"cub": "gan-int-cls", "coco": "gan-cls"}  # and StackGAN, AttnGAN and DM-GAN
# Artefact of a document -> the workflow's file; {dataset} stands for cub and coco.
ARTEFACTS = {
    "DM-GAN, Table 1": "results/{dataset}/tables/table1.md",
    "DM-GAN, Table 2": "results/{dataset}/tables/table2.md",
    "DM-GAN, Table 3": "results/{dataset}/tables/table3.md",
    **{f"DM-GAN, Figure {number}": f"results/{{dataset}}/figures/figure{number}.png" for number in range(1, 7)},
    "MDSP, Table 1": "results/{dataset}/tables/mdsp-table1.md",
    **{f"MDSP, Figure {number}": f"results/{{dataset}}/figures/002-figure{number}.png" for number in (1, 2, 3, 5)},
    "MDSP, the parts of section 5.2": "results/{dataset}/tables/mdsp-grid.md",
    "claims of all documents": "results/{dataset}/tables/claims.md",
    "conflicts between documents": "results/{dataset}/tables/conflicts.md",
    "MDSP, retrieval methods": "results/{dataset}/mdsp/retrieval.md",
    "KVM-GAN, Table 1": "results/{dataset}/tables/kvmgan-table1.md",
    "KVM-GAN, Table 2": "results/{dataset}/tables/kvmgan-table2.md",
    **{f"KVM-GAN, Figure {number}": f"results/{{dataset}}/figures/kvmgan-figure{number}.png" for number in range(1, 5)},
    "student reproduction, Table 1": "results/{dataset}/tables/reproduction-table1.md",
    "student reproduction, Figure 1": "results/cub/figures/reproduction-figure1.png",
    "student reproduction, Figure 4": "results/cub/figures/reproduction-figure4.png",
    "student reproduction, Figure 2": "results/parameters/reproduction-figure2.txt",
    "student reproduction, Figure 3": "results/parameters/reproduction-figure3.txt",
}


@pytest.fixture(scope="module")
def paper() -> dict:
    return read_configuration(PAPER)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_published_row_of_an_implemented_model_is_run(layout, paper):
    numbers = {(row, dataset) for row, dataset, _ in published(layout.source, layout.number)}
    checked = 0
    for method in layout.methods:
        for dataset in ("CUB", "COCO"):
            if method.model and (method.published_as, dataset) in numbers:
                assert {method.model, method.variant} & set(models_of(paper, dataset.lower())), (method, dataset)
                checked += 1
    assert checked or not layout.metrics


def test_the_models_of_figure_3_and_of_mdsps_figure_1_are_run(paper):
    for dataset, reed in FIGURE3.items():
        assert {reed, "stackgan", "attngan", "dmgan"} <= set(models_of(paper, dataset))
    assert {"stackganpp", "attngan", "dfgan", "mdsp"} <= set(models_of(paper, "coco"))


def test_the_papers_trainings_are_in_float32(paper):
    blocks = [block for blocks in paper["hyperparameters"].values() for block in blocks.values()]
    assert len(blocks) == 25 and all(block.get("precision", "float32") == "float32" for block in blocks)


@pytest.mark.slow
def test_a_dry_run_plans_every_artefact_on_cub_and_coco(paper, tmp_path):
    project = copy_of_project(tmp_path / "project")
    make_cub(project / "data")
    make_metadata(project / "data")
    make_coco(project / "data", "2014")
    give_weights(project)
    targets = sorted({path.format(dataset=each) for path in ARTEFACTS.values() for each in ("cub", "coco")})
    dry = run("snakemake", *targets, "--dry-run", "--printshellcmds", "--configfile", PAPER, folder=project)
    assert dry.returncode == 0, dry.stderr
    trained = set(re.findall(r"dmgan train --model (\S+) --seed \d+ --data results/data/(\w+)", dry.stdout))
    assert trained == {(model, dataset) for dataset in paper["datasets"] for model in models_of(paper, dataset)}
    tables = re.findall(r"dmgan tables --metrics (.*?) --out results/(\w+)/tables", dry.stdout)
    for metrics, dataset in tables:
        assert set(re.findall(rf"results/{dataset}/([\w-]+)/seed", metrics)) == set(models_of(paper, dataset))
    assert {dataset for _, dataset in tables} == {"cub", "coco"}
    outputs = re.findall(r"^rule tables:\n.*?^    output: (.*?)$", dry.stdout, re.M | re.S)
    write_tables([write_evaluation(tmp_path, "dmgan", 0.6)], tmp_path / "tables")
    written = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert [sorted(Path(each).name for each in output.split(", ")) for output in outputs] == [written] * 2
