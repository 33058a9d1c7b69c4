"""Images of other programs in the workflow: their jobs, their rows, and a new evaluation after a change."""

import json
import shlex
import shutil

import pytest
from PIL import Image

from dmgan.__main__ import main
from dmgan.errors import UserError
from tests.evaluation.own_images import test_captions, write_captions, write_images
from tests.project import copy_of_project, run
from tests.workflow.configurations import expected_jobs, jobs_of, planned_jobs, read_config, write_config
from workflow.configuration import folder_fingerprint, read_configuration
from workflow.costs import costs

RESULT = "results/synthbirds/mine/external/metrics.json"


def configuration(images, **block) -> dict:
    config = read_config("config.yaml") | {"num_images": 20}
    del config["held_out_damsm"]
    config["external"] = {"mine": {"dataset": "synthbirds", "images": str(images), "title": "My method"} | block}
    return config


@pytest.mark.slow
def test_external_methods_are_planned_evaluated_and_evaluated_again_after_a_change(
    dataset, data, damsm_folder, classifier_folder, attributes_folder, tmp_path, monkeypatch
):
    """The planned command runs in this process, on data set, encoders and classifiers that exist already."""
    images = tmp_path / "my images"
    names = write_images(images, 20)
    captions = write_captions(tmp_path / "c.jsonl", dict(zip(names, test_captions(dataset, 20), strict=True)))
    path = write_config(tmp_path / "config.yaml", configuration(images, captions=str(captions)))
    project = copy_of_project(tmp_path / "project")
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path, folder=project)
    expected = expected_jobs(read_configuration(path))
    assert jobs_of(dry.stdout) == expected | {"evaluate_external": 1, "total": expected["total"] + 1}
    commands = [" ".join(line.split()) for line in dry.stdout.splitlines() if " -m dmgan " in line]
    for subcommand in ("tables", "compare"):
        (command,) = [command for command in commands if f"dmgan {subcommand} " in command]
        assert f"results/synthbirds/attngan/seed0/metrics.json {RESULT} " in command

    made = {"data/synthbirds": data, "synthbirds/species": classifier_folder, "synthbirds/damsm/seed0": damsm_folder}
    for name, folder in (made | {"synthbirds/attributes": attributes_folder}).items():
        shutil.copytree(folder, project / "results" / name)
    (command,) = [command for command in commands if f"--out {RESULT}" in command]
    words = shlex.split(command.partition(" -m dmgan ")[2].partition(" --mlflow ")[0])
    monkeypatch.chdir(project)
    assert main([*words, "--device", "cpu"]) == 0
    content = json.loads((project / RESULT).read_text())
    assert (content["subject"]["kind"], content["subject"]["name"]) == ("external", "My method")
    assert content["inputs"]["captions"] == "captions of the test set"

    (project / "results/synthbirds/reference/reference.json").touch()  # which another job writes
    touched = run("snakemake", RESULT, "--touch", "--cores", "1", "--configfile", path, folder=project)
    assert touched.returncode == 0, touched.stderr
    assert planned_jobs(project, path, RESULT) == {}
    Image.new("RGB", (32, 32)).save(images / names[3])
    assert planned_jobs(project, path, RESULT) == {"evaluate_external": 1, "total": 1}


def test_the_plan_counts_the_images_of_external_methods(tmp_path):
    write_images(tmp_path / "images", 20)
    config = read_configuration(write_config(tmp_path / "config.yaml", configuration(tmp_path / "images")))
    planned = {cost.rule: cost for cost in costs(config, {})}
    assert (planned["evaluate_external"].jobs, planned["evaluate_external"].images) == (1, 20)


def test_the_fingerprint_of_a_folder_changes_with_every_file(tmp_path):
    names = write_images(tmp_path, 8)
    first = folder_fingerprint(tmp_path)
    assert folder_fingerprint(tmp_path) == first
    (tmp_path / names[0]).write_bytes(b"other")
    second = folder_fingerprint(tmp_path)
    (tmp_path / names[1]).rename(tmp_path / "renamed.png")
    assert len({first, second, folder_fingerprint(tmp_path)}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mine": {"dataset": "bird", "images": "x"}}, "external.mine.dataset: bird is not a data set of this file"),
        ({"mine": {"dataset": "synthbirds"}}, "external.mine: has no images; add it"),
        (
            {name: {"dataset": "synthbirds", "images": name, "title": "Mine"} for name in ("one", "two")},
            "external.two.title: is also that of one; give each its own",
        ),
        ({"tables": {"dataset": "synthbirds", "images": "x"}}, "external"),
    ],
)
def test_external_methods_that_cannot_be_evaluated_are_refused(change, message, tmp_path):
    config = configuration("x") | {"external": change}
    with pytest.raises(UserError, match=message):
        read_configuration(write_config(tmp_path / "config.yaml", config))
