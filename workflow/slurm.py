"""What a cluster profile needs: its plugin; for SLURM, the CPUs of the nodes, and how states of jobs are read."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from dmgan.errors import UserError
from dmgan.storage.reading import read_yaml


def slurm_flags(arguments: list[str]) -> list[str]:
    """Return Snakemake flags that fit a SLURM profile to the cluster; empty for other profiles.

    A job gets at most the CPUs that a node has per GPU, so that a node's GPUs can all be used at once. arguments: those
    of Snakemake; flags among them are not repeated. Raise UserError if the cluster has no such partition, or none of
    its nodes has the memory or the GPUs of a job.
    """
    profile = _profile(arguments)
    if profile is None:
        return []
    settings = read_yaml(profile, "fix it")
    if settings.get("executor") != "slurm":
        return []
    flags = []
    cpus = _cpus_per_gpu(settings.get("default-resources", {}), profile)
    lowered = [rule for rule, count in settings.get("set-threads", {}).items() if count > cpus]
    if lowered and "--max-threads" not in arguments:
        flags += ["--max-threads", str(cpus)]
        rules = ", ".join(lowered)
        _log(f"nodes have {cpus} CPUs per GPU, fewer than {profile} states for {rules}: --max-threads {cpus}")
    if _without_accounting() and "--slurm-status-command" not in arguments:
        flags += ["--slurm-status-command", "squeue"]
        _log("the cluster has no accounting database: --slurm-status-command squeue")
    return flags


def require_plugin(arguments: list[str]) -> None:
    """Raise UserError if the plugin of a profile's executor is not installed; Snakemake would list its choices only."""
    profile = _profile(arguments)
    content = read_yaml(profile, "fix it") if profile else None
    executor = content.get("executor") if isinstance(content, dict) else None
    if executor in (None, "local"):
        return
    package = f"snakemake-executor-plugin-{executor}"
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        raise UserError(
            f"{profile}: needs {package}, which is not on PYTHONPATH; docs/clusters.md says how to install it"
        )


def _profile(arguments: list[str]) -> Path | None:
    """Return the configuration file of the profile in Snakemake's arguments, if one is named."""
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in ("--workflow-profile", "--profile"):
            folder = value if equals else next(iter(arguments[number + 1 :]), "")
            file = Path(folder) / "config.yaml"
            return file if file.is_file() else None
    return None


def _cpus_per_gpu(resources: dict[str, object], profile: Path) -> int:
    """Return the most CPUs per GPU of a node of the jobs' partition, among the nodes with the memory of a job."""
    partition, asked = resources.get("slurm_partition"), resources.get("mem_mb", 0)
    listed = _ask("sinfo", "--noheader", "--Node", "--format", "%R|%c|%m|%G")
    nodes = [line.split("|") for line in listed.splitlines()]
    known = sorted({name for name, *_ in nodes})
    if partition is not None and partition not in known:
        known_names = ", ".join(known) or "none"
        raise UserError(f"{profile}: slurm_partition {partition} is not in this cluster ({known_names}); name another")
    chosen = [(int(cpus), int(memory), _gpus(gres)) for name, cpus, memory, gres in nodes if partition in (None, name)]
    fitting = [cpus // gpus for cpus, memory, gpus in chosen if gpus and memory >= asked]
    if not fitting:
        where = "this cluster" if partition is None else f"partition {partition}"
        raise UserError(f"{profile}: no node of {where} has a GPU and {asked} MB; change slurm_partition or mem_mb")
    return max(1, *fitting)


def _gpus(gres: str) -> int:
    """Return the number of GPUs in the generic resources of a node, such as `gpu:a100:4(S:0-1),lustre:1`."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu(?::[^:,(]+)*?:(\d+)(?=[(,]|$)", gres))


def _without_accounting() -> bool:
    """Return whether the cluster has no accounting database, without which sacct never states that a job has ended."""
    lines = [line.partition("=") for line in _ask("scontrol", "show", "config").splitlines()]
    storage = {name.strip(): value.strip() for name, _, value in lines}.get("AccountingStorageType", "")
    return storage in ("", "(null)", "accounting_storage/none")


def _ask(*command: str) -> str:
    """Return what a command of SLURM prints."""
    if shutil.which(command[0]) is None:
        raise UserError(f"{command[0]}: is not on PATH; run the workflow on a machine that submits SLURM jobs")
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"{command[0]}: failed ({(answer.stderr.strip() or answer.stdout.strip()).splitlines()[0]})")
    return answer.stdout


def _log(message: str) -> None:
    print(f"run: {message}", flush=True)
