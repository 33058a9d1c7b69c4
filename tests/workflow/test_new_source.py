"""A new source is one module and one line: the command line, the workflow and the plan then know it."""

from pathlib import Path

import pytest

from tests.project import copy_of_project, run
from tests.workflow.configurations import planned_jobs, read_config, write_config

pytestmark = pytest.mark.slow

LINE = '    "synthbirds": "dmgan.data.sources.synthbirds",\n'
TOY = '''
"""Source `toy`: grey squares."""

from pathlib import Path

import numpy as np

from dmgan.data.sources.example import Drawn, Example
from dmgan.data.sources.table import Flag, Source


def draw(options, shorter_side):
    pixels = np.full((shorter_side, shorter_side, 3), 128, dtype=np.uint8)
    captions = (options["colours"].read_text(),) * 2
    splits = ["train"] * options["squares"] + ["test"] * 2
    return Drawn({"name": "toy"}, [Example(str(n), pixels, captions, n, each) for n, each in enumerate(splits)])


SOURCE = Source(
    name="toy",
    flags={
        "squares": Flag(int, "squares for the training", 4, {"minimum": 1}),
        "colours": Flag(Path, "a file of colours", required=True, is_input=True),
    },
    collect=draw,
    input_files=lambda options: [options["colours"]],
    image_counts=lambda options: (options["squares"], 2),
    aspect=1.0,
    captions_per_image=2,
    words_per_caption=2,
)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the source `toy`."""
    folder = copy_of_project(tmp_path_factory.mktemp("project"))
    sources = folder / "dmgan" / "data" / "sources"
    (sources / "toy.py").write_text(TOY.lstrip())
    table = (sources / "table.py").read_text()
    assert LINE in table
    (sources / "table.py").write_text(table.replace(LINE, LINE + '    "toy": "dmgan.data.sources.toy",\n'))
    (folder / "colours.txt").write_text("grey square")
    return folder


def test_prepare_knows_it(project):
    prepare = ["python", "-m", "dmgan", "prepare", "--source", "toy", "--image-size", "32", "--workers", "1"]
    done = run(*prepare, "--out", "data", "--colours", "colours.txt", "--squares", "6", folder=project)
    assert done.returncode == 0, done.stderr
    assert '"train": 6' in (project / "data" / "dataset.json").read_text()
    refused = run(*prepare, "--out", "other", folder=project)
    assert refused.stderr == "dmgan prepare: --source toy: needs --colours, a file of colours\n"
    refused = run(*prepare, "--out", "other", "--colours", "colours.txt", "--year", "2014", folder=project)
    assert refused.stderr == "dmgan prepare: --year: is not used with --source toy; leave it out\n"
    refused = run(*prepare, "--out", ".", "--colours", "colours.txt", folder=project)
    assert refused.stderr.startswith("dmgan prepare: --out .: would replace --colours colours.txt; ")


def test_workflow_and_plan_know_it(project, tmp_path):
    config = read_config("smoke.yaml")
    config["datasets"]["smoke"] = {"source": "toy", "image_size": 32, "squares": 32, "colours": "colours.txt"}
    path = write_config(tmp_path / "toy.yaml", config)
    jobs = planned_jobs(project, path)
    assert jobs["prepare"] == 1 and "attributes" not in jobs
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path, folder=project)
    assert "--source toy --image-size 32 --squares 32 --colours colours.txt" in dry.stdout
    assert "input: colours.txt" in dry.stdout
    rates = tmp_path / "rates.csv"
    rates.write_text("device,stage,network,batch,images_per_second,gflop_per_image,checkpoint_mb,over\n")
    plan = run("python", "workflow/plan.py", "--configfile", path, "--rates", rates, folder=project)
    assert plan.returncode == 0, plan.stderr
    prepare = next(line for line in plan.stdout.splitlines() if line.startswith("smoke") and "prepare" in line)
    assert prepare.split()[:6] == ["smoke", "prepare", "toy", "1", "-", "34"]
    config["datasets"]["smoke"]["squares"] = 0
    refused = run("python", "workflow/plan.py", "--configfile", write_config(path, config), folder=project)
    assert "datasets.smoke.squares: 0 is less than the minimum of 1" in refused.stderr
