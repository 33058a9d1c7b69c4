"""Every run records its configuration, which `make report` reads by default."""

import pytest
import yaml

from tests.paths import CONFIGS, ROOT
from tests.project import copy_of_project, run
from tests.workflow.configurations import FILES
from workflow.configuration import complete_configuration, read_configuration

RECORDED = ".snakemake/configuration.yaml"


@pytest.mark.parametrize("name", FILES)
def test_a_configuration_with_its_defaults_is_a_configuration(name):
    config = read_configuration(CONFIGS / name)
    again = yaml.safe_load(yaml.safe_dump(config))
    complete_configuration(again)
    assert again == config


@pytest.mark.slow
def test_a_run_records_its_configuration(tmp_path):
    project, goal = copy_of_project(tmp_path), "results/parameters/reproduction-parameters.csv"
    done = run(
        "snakemake", goal, "--cores", 1, "--configfile", CONFIGS / "smoke.yaml", "--config", "num_images=44",
        folder=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_configuration(project / RECORDED) == read_configuration(CONFIGS / "smoke.yaml") | {"num_images": 44}


def test_a_report_without_a_run_names_the_fix(tmp_path):
    """The first line of the recipe, without the environment that `make setup` installs."""
    (tmp_path / "Makefile").write_text(
        (ROOT / "Makefile").read_text(encoding="utf-8").replace("report: setup", "report:")
    )
    done = run("make", "report", folder=tmp_path)
    assert done.returncode == 2
    assert f"{RECORDED}: is not there; run make demo first, or name a configuration that was run" in done.stderr
    (tmp_path / "other.yaml").touch()
    asked = run("make", "--dry-run", "report", "CONFIG=other.yaml", folder=tmp_path)
    assert 'snakemake --report results/report.html --configfile "other.yaml"' in asked.stdout
