"""The workflow: style, jobs of each configuration, refused configurations, leases, and the whole DAG run small."""

import csv
import dataclasses
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from dmgan.models.registry import MODELS, build_model, model_class
from dmgan.options import (
    DEFAULT_METHOD,
    RETRIEVALS,
    RUNGS,
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmOptions,
    EngineOptions,
    MatchingOptions,
    SamplingOptions,
    TrainingOptions,
)
from tests.paths import CONFIGS, ROOT

SCHEMA = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text(encoding="utf-8"))
TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


def run(*command, folder=ROOT, **environment) -> subprocess.CompletedProcess:
    """A command with this Python's programs first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PATH": path, "COLUMNS": "200"}
    command = [str(word) for word in command]
    return subprocess.run(
        command, cwd=folder, env=os.environ | settings | environment, capture_output=True, text=True, timeout=1800
    )


def copy_of_project(folder: Path) -> Path:
    """The files that a run needs, without results."""
    for name in ("workflow", "dmgan", "baselines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "environment.yml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def planned_jobs(folder: Path, config: Path) -> dict[str, int]:
    """Rule -> number of jobs that a dry run lists; empty where there is nothing to do."""
    dry = run("snakemake", "--dry-run", "--configfile", config, folder=folder)
    assert dry.returncode == 0, dry.stderr
    if "Nothing to be done" in dry.stdout + dry.stderr:
        return {}
    table = dry.stdout.split("Job stats:")[-1].split("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


INCEPTION = "downloads/inception_v3_google-0cc3c7bd.pth"


def give_inception_weights(folder: Path) -> None:
    """A file where paper.yaml looks for them."""
    (folder / INCEPTION).parent.mkdir()
    (folder / INCEPTION).touch()


def expected_jobs(config: dict) -> dict[str, int]:
    """Rule -> number of jobs from nothing."""
    datasets = len(config["datasets"])
    runs = datasets * len(config["models"]) * len(config["seeds"])
    once = ["prepare", "reference", "evaluate_controls", "tables", "compare", "figures"]
    per_dataset = dict.fromkeys(once, datasets) | {"pretrain": (1 + ("held_out_damsm" in config)) * datasets}
    rungs = [block.get("rungs", config.get("rungs", ["species"])) for block in config["datasets"].values()]
    if with_species := sum("species" in each for each in rungs):
        per_dataset["classifier"] = with_species
    with_attributes = sum(block.get("source", "synthbirds") == "synthbirds" for block in config["datasets"].values())
    if with_attributes:
        per_dataset["attributes"] = with_attributes
    per_run = dict.fromkeys(["train", "sample", "evaluate"], runs)
    if "mirrorgan" in config["models"]:  # nothing else needs a captioner
        per_dataset["captioner"] = datasets
    if "mdsp" in config["models"]:
        retrieving = datasets * len(config["seeds"])
        methods = retrieving * len(config.get("retrieval", []))
        per_dataset |= {"memorisation": retrieving, "retrieval_table": datasets}
        if methods:
            per_dataset |= {"sample_retrieval": methods, "evaluate_retrieval": methods}
    total = sum(per_dataset.values()) + sum(per_run.values()) + 2
    return {**per_dataset, **per_run, "parameters": 1, "all": 1, "total": total}


def read_config(name: str) -> dict:
    return yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))


def write_config(path: Path, config: dict) -> Path:
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


# Style.


def test_lint_is_clean():
    lint = run("snakemake", "--lint")
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_format_is_clean():
    check = run("snakefmt", "--check", "Snakefile", "workflow")
    assert check.returncode == 0, check.stdout + check.stderr


def test_dry_run_imports_no_torch():
    for path in [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]:
        assert not re.search(r"^\s*(import|from) (torch|dmgan)", path.read_text(encoding="utf-8"), re.MULTILINE), path


# Jobs.


@pytest.mark.parametrize("name", ["config.yaml", "full-demo.yaml", "mdsp-grid.yaml", "paper.yaml", "smoke.yaml"])
def test_jobs_from_nothing(name, tmp_path):
    project = copy_of_project(tmp_path)
    give_inception_weights(project)
    assert planned_jobs(project, CONFIGS / name) == expected_jobs(read_config(name))


def test_missing_inception_weights_are_found_before_anything_is_prepared(tmp_path):
    project, goal = copy_of_project(tmp_path), "results/cub/damsm/seed0/options.json"
    words = ["snakemake", goal, "--dry-run", "--configfile", CONFIGS / "paper.yaml"]
    dry = run(*words, folder=project)
    assert dry.returncode == 1 and "Missing input files for rule pretrain" in dry.stdout + dry.stderr
    assert INCEPTION in dry.stdout + dry.stderr
    give_inception_weights(project)
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
    assert sorted(read_config("full-demo.yaml")["models"]) == sorted(every)


def test_smoke_has_a_model_of_every_kind_of_job():
    needs = {need for name in read_config("smoke.yaml")["models"] for need in model_class(name).needs}
    assert "captioner" in needs and {"dmgan", "mdsp"} <= set(read_config("smoke.yaml")["models"])


def test_the_grid_runs_every_ablation_of_its_model():
    grid, demo = read_config("mdsp-grid.yaml"), read_config("full-demo.yaml")
    ablations = [each for each in MODELS if MODELS[each].ablation_of == "mdsp"]
    assert sorted(grid["models"]) == sorted(["mdsp", *ablations])
    assert sorted(grid["retrieval"]) == sorted(set(RETRIEVALS) - {DEFAULT_METHOD})
    for key in set(demo) - {"models", "captioner", "hyperparameters"}:
        assert grid[key] == demo[key]
    blocks = list(grid["hyperparameters"]["synthbirds"].values())
    assert blocks == [demo["hyperparameters"]["synthbirds"]["mdsp"]] * len(grid["models"])


def test_a_training_on_several_gpus_is_started_by_torchrun(tmp_path):
    config = read_config("smoke.yaml")
    config["hyperparameters"]["smoke"]["attngan"] |= {"gpus": 2, "precision": "bfloat16", "compile": False}
    written = write_config(tmp_path / "gpus.yaml", config)
    goal = [f"results/smoke/{model}/seed0/generator.safetensors" for model in ("attngan", "dmgan")]
    dry = run(
        "snakemake", *goal, "--dry-run", "--printshellcmds", "--cores", 2, "--configfile", written,
        folder=copy_of_project(tmp_path),
    )  # fmt: skip
    assert dry.returncode == 0, dry.stderr
    several, one = re.findall(r"python workflow/gpu_lease.py --gpus (.* train --model \w+ .*)", dry.stdout)
    several, one = sorted((several, one), reverse=True)
    assert several.startswith("2 -- torchrun --standalone --nproc-per-node 2 -m dmgan train --model attngan ")
    assert "--precision bfloat16 --no-compile" in several and "--gpus" not in several and "--threads 2" in several
    assert one.startswith("1 -- python -m dmgan train --model dmgan ")


@pytest.mark.parametrize("offered", [["--resources", "gpu=1"], ["--workflow-profile", "workflow/profiles/gpu"]])
def test_fewer_gpus_than_a_training_wants_are_refused_before_any_job(offered, tmp_path):
    config = read_config("smoke.yaml")
    config["hyperparameters"]["smoke"]["attngan"]["gpus"] = 4
    written, project = write_config(tmp_path / "gpus.yaml", config), copy_of_project(tmp_path / "project")

    def dry_run(model, *words):
        goal = f"results/smoke/{model}/seed0/generator.safetensors"
        words = ["--dry-run", "--cores", 2, "--configfile", written, *words]
        return run("snakemake", goal, *words, folder=project)

    refused = dry_run("attngan", *offered)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"{written}: hyperparameters.smoke.attngan.gpus: 4, but Snakemake is offered 1; "
        "give --resources gpu=4 (in a profile: gpu: 4), or lower gpus"
    )
    assert dry_run("dmgan", *offered).returncode == 0
    assert dry_run("attngan", "--resources", "gpu=4").returncode == 0
    there = project / "results" / "smoke" / "attngan" / "seed0" / "generator.safetensors"
    there.parent.mkdir(parents=True)
    there.touch()  # a training that is there already wants none
    assert dry_run("attngan", *offered).returncode == 0


def test_prepare_is_told_of_its_source_and_follows_its_files(tmp_path):
    project = copy_of_project(tmp_path / "project")
    config = read_config("paper.yaml")
    config["datasets"]["cub"]["root"] = "my birds"
    give_inception_weights(project)
    (project / "my birds").mkdir()
    (project / "my birds" / "images.txt").write_text("")
    path = write_config(tmp_path / "config.yaml", config)
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path, folder=project)
    assert dry.returncode == 0, dry.stderr
    assert "--source cub --root 'my birds' --metadata data/birds --image-size 256" in dry.stdout
    assert "input: my birds/images.txt" in dry.stdout
    epochs = re.findall(r"dmgan pretrain --data results/data/(\w+) .*--epochs (\d+)", dry.stdout)
    assert sorted(epochs) == [("coco", "100")] * 2 + [("cub", "200")] * 2  # those of the held-out judge too
    references = re.findall(r"dmgan reference --data results/data/(\w+)\s+--rungs (\w+) (.*)", dry.stdout)
    assert sorted(each[:2] for each in references) == [("coco", "tf"), ("cub", "species")]
    assert ["--classifier" in each[2] for each in sorted(references)] == [False, True]
    trained = re.findall(r"dmgan train .*", dry.stdout)
    assert len(trained) == 12
    engine = "--precision bfloat16 --channels-last --fused --fused-adam --cache-captions"
    assert all(engine in each for each in trained)
    limits = set(re.findall(r"dmgan sample --data results/data/(\w+) .*--max-words (\d+)", dry.stdout))
    assert limits == {("cub", "25"), ("coco", "20")}


def test_sampling_is_told_how_to_make_images(tmp_path):
    config = read_config("smoke.yaml")
    config["models"] = ["dmgan", "dmgan-004-two-words", "mdsp"]
    config["hyperparameters"]["smoke"]["dmgan-004-two-words"] = config["hyperparameters"]["smoke"]["dmgan"]
    config["sampling"] = {"packed": True, "max_words": 25, "batch_size": 16}
    config["datasets"]["smoke"]["sampling"] = {"max_words": 20, "precision": "bfloat16"}
    released = ("generator", "text_encoder", "image_encoder", "captions_pickle")
    config["imported"] = {"official": {"model": "dmgan", "dataset": "smoke"} | dict.fromkeys(released, "released.pth")}
    (tmp_path / "released.pth").touch()
    written = write_config(tmp_path / "sampling.yaml", config)
    dry = run(
        "snakemake", "--dry-run", "--printshellcmds", "--configfile", written, folder=copy_of_project(tmp_path)
    )  # fmt: skip
    assert dry.returncode == 0, dry.stderr
    told = re.findall(r"dmgan sample --data .*? --run results/smoke/(\S+) .*--seed 100 (.*?) *--threads", dry.stdout)
    common = "--packed --max-words 20 --batch-size 16 --precision bfloat16"
    without_limit = common.replace(" --max-words 20", "")
    expected = dict.fromkeys((f"{name}/seed0" for name in ("dmgan", "mdsp")), common)
    assert dict(told) == expected | {
        "dmgan-004-two-words/seed0": without_limit, "official/imported/run": without_limit
    }  # fmt: skip
    assert len(told) > 4  # mdsp by further methods of retrieval
    assert "--packed" not in re.search(r"dmgan prepare .*", dry.stdout)[0]


# The schema agrees with the code.


def dataclass_properties(*kinds) -> dict[str, str]:
    return {field.name: TYPES[type(field.default)] for kind in kinds for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(
    "name, kinds, beside",
    [
        ("hyperparameters", [ArchitectureOptions, TrainingOptions, EngineOptions], {"gpus": "integer"}),
        ("damsm", [DamsmOptions], {"seed": "integer", "inception_weights": "string", "deterministic": "boolean"}),
        ("classifier", [ClassifierOptions], {"seed": "integer"}),
        ("captioner", [CaptionerOptions], {"seed": "integer"}),
        ("matching", [MatchingOptions], {}),
        ("sampling", [SamplingOptions], {"batch_size": "integer", "max_words": "integer"}),
    ],
)
def test_schema_has_the_fields_of_the_options(name, kinds, beside):
    definition = SCHEMA["$defs"][name]
    assert definition["additionalProperties"] is False
    types = {key: value["type"] for key, value in definition["properties"].items()}
    assert types == dataclass_properties(*kinds) | beside


def test_schema_has_the_choices_of_the_options():
    of = ((DamsmOptions, "damsm"), (TrainingOptions, "hyperparameters"), (SamplingOptions, "sampling"))
    for kind, name in of:
        for field in dataclasses.fields(kind):
            choices = field.metadata["choices"]
            assert SCHEMA["$defs"][name]["properties"][field.name].get("enum") == (choices and list(choices))
    networks = ArchitectureOptions.__dataclass_fields__["feature_network"].metadata["choices"]
    assert SCHEMA["$defs"]["hyperparameters"]["properties"]["feature_network"]["enum"] == list(networks)
    assert SCHEMA["properties"]["retrieval"]["items"]["enum"] == [each for each in RETRIEVALS if each != DEFAULT_METHOD]


def test_the_workflow_knows_which_models_need_further_networks():
    text = (ROOT / "workflow" / "rules" / "common.smk").read_text(encoding="utf-8")
    named = {
        key: set(re.findall(r"[\w-]+", value)) for key, value in re.findall(r"^(WITH_\w+) = \{(.*)\}$", text, re.M)
    }
    needing = {"WITH_CAPTIONER": "captioner", "WITH_PERCEPTUAL_LOSS": "perceptual"}
    for key, need in needing.items():
        assert named[key] == {name for name in MODELS if need in model_class(name).needs}
    assert named["WITH_FEW_WORDS"] == {name for name, entry in MODELS.items() if "max_words" in entry.training}
    small = ArchitectureOptions(base_size=8, generator_width=2, feature_network="small")
    assert named["WITH_MEMORY"] == {name for name in MODELS if build_model(name, small, 4).reads_features}


def test_schema_has_the_rungs_of_the_evaluation():
    assert SCHEMA["$defs"]["rungs"]["items"]["enum"] == list(RUNGS)


def test_schema_has_the_models_of_the_registry():
    assert SCHEMA["$defs"]["model"]["enum"] == list(MODELS)


# Refused configurations: one line that names file, key and fix.


def _unknown_key(config):
    config["image_count"] = 3


def _unknown_hyperparameter(config):
    config["hyperparameters"]["synthbirds"]["dmgan"]["epoch"] = 3


def _unknown_model(config):
    config["models"].append("dmgann")


def _missing_block(config):
    del config["hyperparameters"]["synthbirds"]["attngan"]


def _missing_key(config):
    del config["seeds"]


def _text_for_a_number(config):
    config["hyperparameters"]["synthbirds"]["dmgan"]["generator_lr"] = "2e-4"


def _held_out_judge_that_is_none(config):
    config["held_out_damsm"]["seed"] = config["damsm"]["seed"]


def _block_without_dataset(config):
    config["hyperparameters"]["bird"] = {}


def _source_without_root(config):
    config["datasets"]["synthbirds"] = {"source": "coco", "image_size": 64}


def _perceptual_loss_without_weights(config):
    config["models"].append("controlgan")
    config["hyperparameters"]["synthbirds"]["controlgan"] = {}


def _inception_without_weights(config):
    del config["damsm"]["image_encoder"]


@pytest.mark.parametrize(
    "spoil, named",
    [
        (_unknown_key, "top level: unknown key image_count; known are datasets, "),
        (_unknown_hyperparameter, "hyperparameters.synthbirds.dmgan: unknown key epoch; known are base_size, "),
        (_unknown_model, "models.2: 'dmgann' is not one of "),
        (_missing_block, "hyperparameters.synthbirds: has no block for attngan; add it"),
        (_missing_key, "top level: has no seeds; add it"),
        (_text_for_a_number, "hyperparameters.synthbirds.dmgan.generator_lr: YAML reads 2e-4 as text; "),
        (_held_out_judge_that_is_none, "held_out_damsm.seed: 0 is damsm.seed; a held-out judge must be of another"),
        (_source_without_root, "datasets.synthbirds: has no root; add it"),
        (_inception_without_weights, "damsm.image_encoder: inception needs inception_weights, torchvision's "),
        (_block_without_dataset, "hyperparameters.bird: is no data set of this file; "),
        (
            _perceptual_loss_without_weights,
            "hyperparameters.synthbirds.controlgan.perceptual: vgg16 needs a vgg16_weights key ",
        ),
    ],
)
def test_bad_configuration_is_one_line(spoil, named, tmp_path):
    config = read_config("config.yaml")
    spoil(config)
    path = write_config(tmp_path / "spoilt.yaml", config)
    dry = run("snakemake", "--dry-run", "--configfile", path)
    assert dry.returncode == 1
    line = dry.stderr.strip()
    assert "\n" not in line
    assert line.startswith(f"{path}: {named}")


def test_overridden_key_of_the_command_line_is_checked():
    dry = run("snakemake", "--dry-run", "--config", "num_images=few")
    assert dry.returncode == 1
    assert "num_images: 'few' is not of type 'integer'" in dry.stderr


# The GPU lease.

LEASE = [sys.executable, ROOT / "workflow" / "gpu_lease.py"]
HOLDER = """
import os, sys, time
from pathlib import Path
for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(","):
    note = Path(sys.argv[1], gpu)
    note.touch(exist_ok=False)
    time.sleep(0.2)
    note.unlink()
    print(gpu)
"""


def without(*names) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in (*names, "SLURM_JOB_ID")}


def start_lease(count, command, folder, **environment):
    settings = without("CUDA_VISIBLE_DEVICES") | {"DMGAN_GPU_LOCKS": str(folder)} | environment
    words = [*LEASE, "--gpus", count, "--", *command]
    return subprocess.Popen([str(word) for word in words], env=settings, stdout=subprocess.PIPE, text=True)


def test_lease_gives_a_gpu_to_one_command_at_a_time(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    holder = [sys.executable, "-c", HOLDER, notes]
    counts = [1, 1, 2, 1, 1, 2, 1, 1]
    jobs = [start_lease(count, holder, tmp_path / "locks", DMGAN_GPU_IDS="0,7") for count in counts]
    printed = [job.communicate(timeout=120)[0].split() for job in jobs]
    assert all(job.returncode == 0 for job in jobs)  # a shared GPU would make touch() fail
    assert [len(gpus) for gpus in printed] == counts
    assert {gpu for gpus in printed for gpu in gpus} == {"0", "7"}


def test_lease_ends_with_a_killed_command(tmp_path):
    sleeper = start_lease(1, ["sleep", "600"], tmp_path, DMGAN_GPU_IDS="0")
    lock = tmp_path / "gpu-0.lock"
    while not (lock.exists() and is_locked(lock)):
        time.sleep(0.05)
    sleeper.kill()
    sleeper.communicate()
    follower = start_lease(1, [sys.executable, "-c", "print('mine')"], tmp_path, DMGAN_GPU_IDS="0")
    assert follower.communicate(timeout=60)[0] == "mine\n"


def is_locked(path: Path) -> bool:
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


SHOW = [sys.executable, "-c", "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', 'unset'))"]


@pytest.mark.parametrize(
    "count, environment, seen",
    [
        (1, {"DMGAN_GPU_IDS": ""}, ""),  # no GPU: the CPU
        (0, {"DMGAN_GPU_IDS": "0,1"}, ""),
        (2, {"DMGAN_GPU_IDS": "3, 4"}, "3,4"),
        (1, {"CUDA_VISIBLE_DEVICES": "5"}, "5"),
        (1, {"CUDA_VISIBLE_DEVICES": "-1"}, ""),
        (1, {"CUDA_VISIBLE_DEVICES": "2", "SLURM_JOB_ID": "9"}, "2"),  # SLURM has assigned it
    ],
)
def test_lease_names_the_gpus(count, environment, seen, tmp_path):
    job = start_lease(count, SHOW, tmp_path, **environment)
    assert job.communicate(timeout=60)[0].strip() == seen


def test_lease_refuses_more_gpus_than_there_are(tmp_path):
    words = [*LEASE, "--gpus", 3, "--", "true"]
    refused = run(*words, DMGAN_GPU_IDS="0,1", DMGAN_GPU_LOCKS=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr == "gpu_lease: 3 GPUs asked for, 2 here (0, 1); ask for fewer\n"


def test_lease_refuses_more_processes_than_gpus(tmp_path):
    command = ["torchrun", "--standalone", "--nproc-per-node", 4, "-m", "dmgan", "train"]
    refused = run(*LEASE, "--gpus", 1, "--", *command, DMGAN_GPU_IDS="0,1", DMGAN_GPU_LOCKS=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr == "gpu_lease: --gpus 1 is too few for 4 processes; give Snakemake --resources gpu=4\n"
    assert list(tmp_path.iterdir()) == []


# workflow/run.py: a run alone in its folder, whatever an earlier one left.

RUNNER = ["python", ROOT / "workflow" / "run.py", "--cores", "1", "--snakefile"]
SLOW = """
rule all:
    input:
        "done",


rule slow:
    output:
        "done",
    shell:
        "touch started; sleep 3; echo $PPID > {output}"
"""


def wait_for(path: Path, seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.05)):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def start_slow(folder: Path, *command) -> subprocess.Popen:
    """A run that is at work on its only job when this returns."""
    (folder / "slow.smk").write_text(SLOW, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = [str(word) for word in (*command, "slow.smk")]
    process = subprocess.Popen(words, cwd=folder, env=os.environ | {"PATH": path}, stderr=subprocess.DEVNULL)
    wait_for(folder / "started")
    return process


def test_second_run_at_the_same_time_is_refused(tmp_path):
    first = start_slow(tmp_path, *RUNNER)
    second = run(*RUNNER, "slow.smk", folder=tmp_path)
    assert second.returncode == 1
    assert second.stderr == "run: a run is at work in this folder; wait for its end, or stop it first\n"
    assert first.wait(timeout=60) == 0


def test_snakemake_started_by_hand_keeps_its_lock(tmp_path):
    first = start_slow(tmp_path, "snakemake", "--cores", "1", "--snakefile")
    second = run(*RUNNER, "slow.smk", folder=tmp_path)
    assert second.returncode == 1
    assert second.stderr == (
        f"run: a run is at work in this folder (process {first.pid}); wait for its end, or stop it first\n"
    )
    assert first.wait(timeout=60) == 0


def test_run_goes_on_after_a_killed_run(tmp_path):
    killed = start_slow(tmp_path, *RUNNER)
    killed.kill()
    killed.wait()
    assert any((tmp_path / ".snakemake" / "locks").iterdir())
    again = run(*RUNNER, "slow.smk", "--rerun-incomplete", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "done").read_text(encoding="utf-8").strip()


# The whole DAG.


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which smoke.yaml has been run from nothing."""
    folder = copy_of_project(tmp_path_factory.mktemp("smoke"))
    done = run_smoke(folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return folder


def run_smoke(folder: Path) -> subprocess.CompletedProcess:
    settings = ["--cores", "2", "--resources", "gpu=2", "--rerun-incomplete", "--show-failed-logs"]
    return run("python", "workflow/run.py", *settings, "--configfile", "workflow/config/smoke.yaml", folder=folder)


def test_smoke_run_makes_every_table_and_figure(finished):
    results = finished / "results" / "smoke"
    of_other_papers = ("kvmgan-table1", "kvmgan-table2", "mdsp-table1", "reproduction-table1")
    for table in ("table1", "table2", "table3", *of_other_papers, "measures", "comparisons"):
        for suffix in ("csv", "md", "tex"):
            assert (results / "tables" / f"{table}.{suffix}").stat().st_size > 0
        with open(results / "tables" / f"{table}.csv", encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) > 0
    for figure in ("figure3", "figure4", "figure5", "figure6", "002-figure1", "002-figure3", "002-figure5"):
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


def test_lost_lab_book_trains_nothing_anew(finished):
    book = finished / "results" / "mlflow.db"
    book.rename(finished / "aside.db")
    try:
        assert planned_jobs(finished, CONFIGS / "smoke.yaml") == {}
    finally:
        (finished / "aside.db").rename(book)


@pytest.mark.parametrize("model", ["dmgan", "attngan"])
def test_changed_hyperparameter_runs_that_models_chain_alone(finished, model, tmp_path):
    config = read_config("smoke.yaml")
    config["hyperparameters"]["smoke"][model]["generator_lr"] = 0.001
    jobs = planned_jobs(finished, write_config(tmp_path / "changed.yaml", config))
    chain = dict.fromkeys(["train", "sample", "evaluate", "tables", "compare", "figures", "all"], 1)
    assert jobs == chain | {"total": 7}


def test_another_seed_runs_its_chains_alone(finished, tmp_path):
    config = read_config("smoke.yaml") | {"seeds": [0, 1]}
    jobs = planned_jobs(finished, write_config(tmp_path / "seeds.yaml", config))
    models = len(config["models"])
    memory = ["memorisation", "sample_retrieval", "evaluate_retrieval", "retrieval_table"]
    assert jobs == {
        **dict.fromkeys(["train", "sample", "evaluate"], models),
        **dict.fromkeys(memory, 1),
        "tables": 1,
        "compare": 1,
        "all": 1,
        "total": 3 * models + 7,
    }


@pytest.mark.parametrize(
    "module, rerun",
    [
        (
            "dmgan/evaluation/metrics.py",
            {
                "reference": 1,
                "evaluate": len(read_config("smoke.yaml")["models"]),
                "evaluate_controls": 1,
                "tables": 1,
                "compare": 1,
            }
            | dict.fromkeys(["evaluate_retrieval", "memorisation", "retrieval_table"], 1),
        ),
        ("dmgan/report/tables.py", {"tables": 1, "compare": 1, "figures": 1, "retrieval_table": 1}),
        ("dmgan/training/train.py", {}),
    ],
)
def test_edited_code_runs_the_cheap_rules_that_use_it(finished, module, rerun):
    path = finished / module
    before = path.read_text(encoding="utf-8")
    times = path.stat().st_atime, path.stat().st_mtime
    path.write_text(before + "\n# edited\n", encoding="utf-8")
    try:
        jobs = planned_jobs(finished, CONFIGS / "smoke.yaml")
    finally:
        path.write_text(before, encoding="utf-8")
        os.utime(path, times)
    assert jobs == (rerun and rerun | {"all": 1, "total": sum(rerun.values()) + 1})


def test_report_holds_tables_and_figures(finished):
    done = run(
        "snakemake", "--report", "results/report.html", "--configfile", "workflow/config/smoke.yaml", folder=finished
    )
    assert done.returncode == 0, done.stderr
    html = (finished / "results" / "report.html").read_text(encoding="utf-8")
    for artefact in ("table1.csv", "table2.csv", "table3.csv", "comparisons.csv", "figure3.png", "figure6.png"):
        assert artefact in html


@pytest.mark.parametrize("rungs", [["species", "tf"], ["tf"]])
def test_the_species_classifier_is_given_where_its_rung_is_asked_for(rungs, tmp_path):
    path = write_config(tmp_path / "rungs.yaml", read_config("smoke.yaml") | {"rungs": rungs})
    dry = run(
        "snakemake", "--dry-run", "--printshellcmds", "--configfile", path, folder=copy_of_project(tmp_path / "project")
    )
    assert dry.returncode == 0, dry.stderr
    commands = re.findall(r"dmgan ((?:reference|evaluate|controls) .*)", dry.stdout)
    assert len({command.split()[0] for command in commands}) == 3
    for command in commands:
        assert f"--rungs {' '.join(rungs)} --weights downloads" in command
        assert ("--classifier results/smoke/species" in command) == ("species" in rungs)
    assert ("rule classifier:" in dry.stdout) == ("species" in rungs)


def test_judges_beside_the_defaults_reach_the_commands(tmp_path):
    """A held-out DAMSM, the attribute classifier and CLIP, each where it is configured; released folds and captions."""
    (tmp_path / "clip.pt").touch()
    config = read_config("smoke.yaml") | {"fold_rule": "released", "caption_words": 25}
    config["clip"] = {"model": "ViT-B-32", "weights": str(tmp_path / "clip.pt")}
    path = write_config(tmp_path / "clip.yaml", config)
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path)
    assert dry.returncode == 0, dry.stderr
    commands = [line for line in dry.stdout.splitlines() if re.search(r"dmgan (evaluate|controls) ", line)]
    assert len(commands) == len(config["models"]) + len(config["retrieval"]) + 1
    for command in commands:
        assert "--held-out-damsm results/smoke/damsm/seed1 --attributes results/smoke/attributes" in command
        assert f"--clip ViT-B-32 --clip-weights {tmp_path}/clip.pt" in command
        assert "--fold-rule released --caption-words 25" in command


def test_a_detector_and_a_memory_reach_the_commands(tmp_path):
    """The detector looks at photographs alone: the tables' images, the control rows, images made as SOA asks for."""
    (tmp_path / "frcnn.pth").touch()
    (tmp_path / "birds").mkdir()
    config = read_config("smoke.yaml") | {"detector": str(tmp_path / "frcnn.pth"), "memory_cache": "my memory"}
    config["datasets"]["photos"] = {"source": "folder", "root": str(tmp_path / "birds"), "image_size": 32}
    config["hyperparameters"]["photos"] = config["hyperparameters"]["smoke"]
    path = write_config(tmp_path / "detector.yaml", config)
    dry = run("snakemake", "--dry-run", "--printshellcmds", "--configfile", path)
    assert dry.returncode == 0, dry.stderr
    commands = re.findall(r"dmgan ((?:evaluate|controls) .*)", dry.stdout)
    looking = [each for each in commands if f"--detector-weights {tmp_path}/frcnn.pth" in each]
    assert looking == [each for each in commands if "results/data/photos " in each]
    models = len(config["models"])
    of_soa = [each for each in looking if re.search(r"/soa/images .*--rungs --damsm .*/soa/metrics.json", each)]
    assert len(of_soa) == models and len(looking) == 2 * models + len(config["retrieval"]) + 1
    sampled = re.findall(r"dmgan sample --soa --data results/data/(\w+) --run results/\w+/([\w-]+)/", dry.stdout)
    assert sorted(sampled) == [("photos", model) for model in sorted(config["models"])]
    retrieving = re.findall(r"dmgan ((?:sample|figures) .*--runs? (?:.* )?results/\w+/mdsp/.*)", dry.stdout)
    assert len(retrieving) == 2 * (1 + len(config["retrieval"]) + 1) + 1  # with the figures, and with SOA's images
    assert [each for each in retrieving if "--memory-cache 'my memory' " in each] == retrieving
    assert dry.stdout.count("--memory-cache") == len(retrieving)


@pytest.mark.parametrize("name", ["dmgan/evaluation/controls.py", "dmgan/report/measured.py", "dmgan/__main__.py"])
def test_the_control_rows_are_the_same_everywhere(name):
    written = re.search(r"^CONTROLS = \[(.+)\]$", (ROOT / "workflow/rules/common.smk").read_text(), re.MULTILINE)
    assert written.group(1) in (ROOT / name).read_text(encoding="utf-8")
