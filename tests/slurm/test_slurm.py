"""The SLURM profile on a one-node cluster: `make test-slurm` starts it (with_cluster.sh); other test runs skip."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import reliability
from tests.paths import ROOT
from tests.project import copy_of_project, run
from tests.workflow.configurations import read_config, write_config

PLUGINS = ROOT / ".cluster"  # Snakemake's; on PYTHONPATH of the tests and of the jobs
pytestmark = [
    pytest.mark.skipif("DMGAN_SLURM_FOLDER" not in os.environ, reason="needs a SLURM cluster: make test-slurm"),
    pytest.mark.skipif(
        not PLUGINS.exists() or str(PLUGINS) not in os.environ.get("PYTHONPATH", ""),
        reason="needs .cluster on PYTHONPATH: make test-slurm",
    ),
]

PROFILE = ["python", "workflow/run.py", "--workflow-profile", "workflow/profiles/slurm"]
CONFIG = read_config("smoke.yaml")
CONFIG |= {"models": ["dmgan", "attngan"]}
for model in CONFIG["models"]:  # long enough to be cancelled, with checkpoints to resume from
    CONFIG["hyperparameters"]["smoke"][model] |= {"epochs": 16, "checkpoint_every": 5}
RUNS = {model: Path("results/smoke") / model / "seed0" for model in CONFIG["models"]}
TRAININGS = [f"{run}/generator.safetensors" for run in RUNS.values()]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project whose smoke.yaml trains two models, to be run by the profile as it is committed."""
    folder = copy_of_project(tmp_path_factory.mktemp("slurm"))
    write_config(folder / "smoke.yaml", CONFIG)
    return folder


def on_slurm(*targets: str) -> list[str]:
    return [*PROFILE, *targets, "--configfile", "smoke.yaml"]


def jobs(*options: str) -> list[list[str]]:
    """Id and state of jobs of the cluster."""
    listed = run("squeue", "--noheader", "--format", "%i %T", *options)
    assert listed.returncode == 0, listed.stderr
    return [line.split() for line in listed.stdout.splitlines()]


def trainings(folder: Path) -> dict[str, dict[str, str]]:
    """Environment of the training processes at work in `folder`, by model."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            here = os.readlink(process / "cwd") == str(folder)
            environment = (process / "environ").read_bytes().decode()
        except OSError:  # the process has ended
            continue
        if here and words[1:4] == ["-m", "dmgan", "train"]:
            found[words[words.index("--model") + 1]] = dict(
                line.partition("=")[::2] for line in environment.split("\0") if line
            )
    return found


def wait_until(condition: Callable[[], object], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cancelled(project) -> Iterator[dict]:
    """A run of the profile in which the job that trains DM-GAN is cancelled after its first checkpoint."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with open(project / "run.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            on_slurm(*TRAININGS), cwd=project, env=os.environ | {"PATH": path}, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: process.poll() is not None or len(trainings(project)) == 2)
        at_work = trainings(project)
        wait_until(lambda: process.poll() is not None or (project / RUNS["dmgan"] / "checkpoint.pt").exists())
        assert run("scancel", at_work["dmgan"]["SLURM_JOB_ID"]).returncode == 0
        status = process.wait(timeout=900)
    finally:
        process.kill()
    yield {"status": status, "trainings": at_work, "log": (project / "run.log").read_text(encoding="utf-8")}


def test_two_jobs_at_once_have_different_gpus(cancelled):
    devices = {model: environment["CUDA_VISIBLE_DEVICES"] for model, environment in cancelled["trainings"].items()}
    assert sorted(devices.values()) == ["0", "1"]
    assert len({environment["SLURM_JOB_ID"] for environment in cancelled["trainings"].values()}) == 2


def test_the_profile_fits_the_node_and_says_so(cancelled):
    assert "run: nodes have 1 CPUs per GPU, fewer than workflow/profiles/slurm/config.yaml states" in cancelled["log"]
    assert "run: the cluster has no accounting database: --slurm-status-command squeue" in cancelled["log"]


def test_a_cancelled_job_is_retried_and_resumes(cancelled, project):
    assert cancelled["status"] == 0, cancelled["log"][-4000:]
    states = [state for _, state in jobs("--states", "all")]
    assert (states.count("COMPLETED"), states.count("CANCELLED"), len(states)) == (4, 1, 5)
    log = (project / "results/logs/train/smoke-dmgan-seed0.log").read_text(encoding="utf-8")
    assert "resum" in log.lower(), log


def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(cancelled, project):
    resumed = project / "resumed"
    shutil.move(project / RUNS["dmgan"], resumed)
    done = run(*on_slurm(TRAININGS[0]), folder=project)
    assert done.returncode == 0, done.stderr
    names = ["generator.safetensors", "history.csv"]
    differing = [
        name for name in names if (project / RUNS["dmgan"] / name).read_bytes() != (resumed / name).read_bytes()
    ]
    assert differing == []
    finished = [state for _, state in jobs("--states", "all")].count("COMPLETED")
    outcome = reliability.Outcome(
        "slurm", "two trainings, one cancelled", "prepare, pretrain, train", finished, finished, 1
    )
    reliability.record(outcome)
    reliability.write_page()


def test_two_steps_of_one_allocation_get_different_gpus(project):
    lease = "srun --overlap --ntasks=1 python workflow/gpu_lease.py --gpus 1 --"
    command = f"{lease} sh -c 'echo gpu=$CUDA_VISIBLE_DEVICES; sleep 3'"
    allocation = run("salloc", "--gpus=2", "--ntasks=2", "bash", "-c", f"{command} & {command} & wait", folder=project)
    seen = [line for line in allocation.stdout.splitlines() if line.startswith("gpu=")]
    assert sorted(seen) == ["gpu=0", "gpu=1"], allocation.stdout + allocation.stderr
    reliability.record(reliability.Outcome("slurm", "two steps of one allocation", "gpu_lease", 2, 2))
    reliability.write_page()


def test_the_generic_profile_submits_jobs(tmp_path):
    folder = copy_of_project(tmp_path / "project")
    write_config(folder / "smoke.yaml", CONFIG)
    command = ["python", "workflow/run.py", "--workflow-profile", "workflow/profiles/cluster-generic"]
    targets = ["results/data/smoke/dataset.json", "results/parameters/reproduction-parameters.csv"]
    done = run(*command, *targets, "--configfile", "smoke.yaml", folder=folder)
    assert done.returncode == 0, done.stderr
    assert all((folder / target).stat().st_size for target in targets)
    reliability.record(reliability.Outcome("slurm", "cluster-generic profile", "prepare, parameters", 2, 2))
    reliability.write_page()


@pytest.mark.skipif("DMGAN_SLURM_WHOLE" not in os.environ, reason="takes minutes: DMGAN_SLURM_WHOLE=1 make test-slurm")
def test_the_whole_smoke_dag_runs(tmp_path):
    folder = copy_of_project(tmp_path / "project")
    before = {job for job, _ in jobs("--states", "all")}
    done = run(*PROFILE, "--configfile", "workflow/config/smoke.yaml", folder=folder)
    states = [state for job, state in jobs("--states", "all") if job not in before]
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert set(states) == {"COMPLETED"}
    reliability.record(reliability.Outcome("slurm", "smoke.yaml", "every kind of job", len(states), len(states)))
    reliability.write_page()
