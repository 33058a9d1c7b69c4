"""The profiles of clusters, and how a SLURM profile is fitted to the cluster."""

import os
import re
from pathlib import Path

import pytest
import yaml
from snakemake.cli import get_argument_parser

from dmgan.errors import UserError
from tests.paths import ROOT
from workflow.slurm import require_plugin, slurm_flags

PROFILES = {path.parent.name: path for path in sorted((ROOT / "workflow" / "profiles").glob("*/config.yaml"))}
RESOURCES = {"gpu", "mem_mb", "runtime", "slurm_partition", "gpu_manufacturer"}


def settings(name: str) -> dict:
    return yaml.safe_load(PROFILES[name].read_text(encoding="utf-8"))


def test_there_is_a_profile_for_each_kind_of_cluster():
    assert set(PROFILES) == {"cluster-generic", "gpu", "kubernetes", "slurm"}


@pytest.mark.parametrize("name", PROFILES)
def test_keys_are_options_of_snakemake(name):
    options = {word.removeprefix("--") for action in get_argument_parser()._actions for word in action.option_strings}
    of_plugin = f"{settings(name).get('executor')}-"  # the environment has no plugins
    assert [key for key in settings(name) if key not in options and not key.startswith(of_plugin)] == []


def test_a_missing_plugin_is_refused_in_one_line(tmp_path):
    (tmp_path / "config.yaml").write_text("executor: none-such\n")
    with pytest.raises(UserError, match="config.yaml: needs snakemake-executor-plugin-none-such, which is not on"):
        require_plugin(["--workflow-profile", str(tmp_path)])
    (tmp_path / "config.yaml").write_text("cores: 1\n")
    require_plugin(["--workflow-profile", str(tmp_path)])
    require_plugin(["--cores", "1"])


@pytest.mark.parametrize("name", PROFILES)
def test_rules_and_resources_exist(name):
    files = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    rules = set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)(?: with)?:$", text, re.MULTILINE))
    written = settings(name)
    assert set(written.get("set-threads", {})) <= rules
    assert set(written.get("default-resources", {})) | set(written.get("resources", {})) <= RESOURCES


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "gpu"])
def test_jobs_of_a_cluster_are_retried_and_their_count_of_gpus_is_not_limited(name):
    written = settings(name)
    assert written["retries"] >= 1 and written["rerun-incomplete"] is True
    assert "gpu" not in written.get("resources", {})  # only one job at a time would be submitted


def test_scripts_of_the_generic_profile_exist():
    for key, command in settings("cluster-generic").items():
        if key.endswith("-cmd") and "/" in command:
            assert os.access(ROOT / command.split()[0], os.X_OK)


NODES = "gpu|64|500000|gpu:a100:4(S:0-1)\ngpu|8|32000|gpu:2\nlong|96|900000|(null)\n"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Write commands of SLURM that print the nodes and the settings of a cluster; return the function that does."""

    def write(nodes: str = NODES, storage: str = "accounting_storage/slurmdbd") -> None:
        for name, printed in {"sinfo": nodes, "scontrol": f"AccountingStorageType   = {storage}\n"}.items():
            (tmp_path / f"{name}.txt").write_text(printed, encoding="utf-8")
            (tmp_path / name).write_text(f"#!/bin/sh\ncat {tmp_path}/{name}.txt\n", encoding="utf-8")
            (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return write


@pytest.fixture
def profile(tmp_path):
    """Write a SLURM profile that asks for four threads; return the function that does."""

    def write(**resources) -> Path:
        folder = tmp_path / "profile"
        folder.mkdir()
        wanted = {"slurm_partition": "gpu", "mem_mb": 16000} | resources
        content = {"executor": "slurm", "default-resources": wanted, "set-threads": {"train": 4, "sample": 2}}
        (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return folder

    return write


def test_a_profile_that_fits_is_left_as_it_is(cluster, profile, capsys):
    cluster()
    assert slurm_flags(["--workflow-profile", str(profile())]) == []
    assert capsys.readouterr().out == ""


def test_threads_are_lowered_to_the_cpus_per_gpu_and_squeue_replaces_sacct(cluster, profile, capsys):
    cluster("gpu|4|64000|gpu:2\n", "accounting_storage/none")
    folder = profile()
    found = slurm_flags([f"--workflow-profile={folder}"])
    assert found == ["--max-threads", "2", "--slurm-status-command", "squeue"]
    assert capsys.readouterr().out == (
        f"run: nodes have 2 CPUs per GPU, fewer than {folder}/config.yaml states for train: --max-threads 2\n"
        "run: the cluster has no accounting database: --slurm-status-command squeue\n"
    )
    given = ["--max-threads", "3", "--slurm-status-command", "sacct"]
    assert slurm_flags(["--profile", str(folder), *given]) == []


@pytest.mark.parametrize(
    ("resources", "nodes", "message"),
    [
        (
            {"slurm_partition": "gpus"},
            NODES,
            r"slurm_partition gpus is not in this cluster \(gpu, long\); name another",
        ),
        (
            {"slurm_partition": "long"},
            NODES,
            "no node of partition long has a GPU and 16000 MB; change slurm_partition",
        ),
        (
            {"mem_mb": 600000},
            NODES,
            "no node of partition gpu has a GPU and 600000 MB; change slurm_partition or mem_mb",
        ),
        ({"slurm_partition": "gpu"}, "", r"slurm_partition gpu is not in this cluster \(none\); name another"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused_in_one_line(resources, nodes, message, cluster, profile):
    cluster(nodes)
    with pytest.raises(UserError, match=f"config.yaml: {message}"):
        slurm_flags(["--workflow-profile", str(profile(**resources))])


def test_a_machine_without_slurm_is_refused(profile, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sinfo: is not on PATH; run the workflow on a machine that submits SLURM jobs"):
        slurm_flags(["--workflow-profile", str(profile())])


@pytest.mark.parametrize("arguments", [[], ["--cores", "2"], ["--workflow-profile", str(PROFILES["gpu"].parent)]])
def test_other_runs_do_not_ask_slurm(arguments, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert slurm_flags(arguments) == []
