"""Configurations of the project, and what Snakemake plans for them."""

import json
import re
from collections import Counter
from pathlib import Path

import yaml

from dmgan.models.registry import find
from dmgan.report.figures.catalogue import GROUPS
from tests.paths import CONFIGS
from tests.project import run
from workflow.configuration import extractors_of, has_probe, models_of

OF_FIGURES = tuple(GROUPS.values())  # rules of figures, whose names end with the data set
PAGE = "report_page"  # rule of the report page, whose name ends with the data set too
FILES = ("config.yaml", "cub50.yaml", "flickr8k.yaml", "full-demo.yaml", "mdsp-grid.yaml", "paper.yaml", "smoke.yaml")


def planned_jobs(folder: Path, config: Path, *targets: str) -> dict[str, int]:
    """Rule -> number of jobs that a dry run lists; empty where there is nothing to do.

    The rules of a group of figures and of the report page, one for each data set, count under the name of the group.
    """
    dry = run("snakemake", *targets, "--dry-run", "--configfile", config, folder=folder)
    assert dry.returncode == 0, dry.stderr
    if "Nothing to be done" in dry.stdout + dry.stderr:
        return {}
    return jobs_of(dry.stdout)


def jobs_of(listing: str) -> dict[str, int]:
    """Rule -> number of jobs in the output of a dry run; rules that are named after a data set count together."""
    table = listing.split("Job stats:")[-1].split("\n\n")[0]
    jobs = Counter()
    for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE):
        jobs[re.sub(rf"^({'|'.join([*OF_FIGURES, PAGE])})_.*", r"\1", rule)] += int(count)
    return dict(jobs)


INCEPTION, VGG16 = "downloads/inception_v3_google-0cc3c7bd.pth", "downloads/vgg16-397923af.pth"


def give_weights(folder: Path) -> None:
    """Files where paper.yaml looks for Inception's and VGG-16's weights."""
    for path in (folder / INCEPTION, folder / VGG16):
        path.parent.mkdir(exist_ok=True)
        path.touch()


def expected_jobs(config: dict) -> dict[str, int]:
    """Rule -> number of jobs from nothing, of a configuration with its defaults."""
    datasets, seeds = list(config["datasets"]), len(config["seeds"])
    models = [(dataset, model) for dataset in datasets for model in models_of(config, dataset)]
    comparing = [pair for pair in models if find(pair[1]).retrieves and find(pair[1]).ablation_of is None]
    with_captioner = {dataset for dataset, model in models if "captioner" in find(model).needs}
    birds = [dataset for dataset in datasets if config["datasets"][dataset]["source"] == "synthbirds"]
    with_species = [dataset for dataset in datasets if "species" in extractors_of(config, dataset)]
    methods = len(comparing) * seeds * len(config["retrieval"])
    jobs = dict.fromkeys(
        ["prepare", "reference", "evaluate_controls", "tables", "compare", "claims", "checklist"], len(datasets)
    )
    jobs |= dict.fromkeys(["train", "sample", "evaluate"], len(models) * seeds)
    jobs |= {
        "pretrain": (1 + ("held_out_damsm" in config)) * len(datasets),
        "classifier": len(with_species),
        "probe": sum(has_probe(config, dataset) for dataset in datasets),
        "attributes": len(birds),
        "captioner": len(with_captioner),
        **dict.fromkeys([*OF_FIGURES, PAGE], len(datasets)),
        "memorisation": len(comparing) * seeds,
        "retrieval_table": len(comparing),
        "sample_retrieval": methods,
        "evaluate_retrieval": methods,
        "parameters": 1,
        "all": 1,
    }
    jobs = {rule: count for rule, count in jobs.items() if count}
    return jobs | {"total": sum(jobs.values())}


def read_config(name: str) -> dict:
    """A configuration of the project as it is written, to be changed: no block is shared with another."""
    return copy_without_aliases(yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8")))


def copy_without_aliases(config: dict) -> dict:
    """A copy in which what YAML aliases made one object is several."""
    return json.loads(json.dumps(config))


def write_config(path: Path, config: dict) -> Path:
    """Write a configuration, whose file name error messages start with."""
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path
