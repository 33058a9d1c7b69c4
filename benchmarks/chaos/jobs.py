"""The jobs that faults are injected into: every kind of job of the workflow, at the smallest sizes, with one thread."""

from dataclasses import dataclass

DATA, DAMSM, RUN = "results/data/smoke", "results/smoke/damsm/seed0", "results/smoke/dmgan/seed0"
MLFLOW_FILE = "results/mlflow.db"
MLFLOW = f"--mlflow sqlite:///{MLFLOW_FILE}"
_CPU = "--device cpu --threads 1"
_ARCHITECTURE = "--base-size 8 --generator-width 4 --discriminator-width 4 --noise-dim 8 --condition-dim 8"
_SMALLEST = f"{_ARCHITECTURE} --residual-blocks 1 --batch-size 4 --max-words 12 --checkpoint-every 20"
_CLASSIFIER = "--image-size 32 --width 8 --features 16 --epochs 4 --batch-size 4 --checkpoint-every 20"
_SCORERS = (
    f"--data {DATA} --reference-features results/smoke/reference --extractors species --classifier"
    f" results/smoke/species --attributes results/smoke/attributes --damsm {DAMSM} --seed 100"
)


@dataclass(frozen=True)
class Job:
    """A kind of job.

    words: arguments of the program; makes: its results; reads: results of other jobs that it reads; workers: whether it
    has worker processes; program: command in place of the program's; project: files of the project that it reads in
    its folder; trains: whether its steps are training steps.
    """

    name: str
    words: tuple[str, ...]
    makes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    workers: bool = False
    program: tuple[str, ...] = ()
    project: tuple[str, ...] = ()
    trains: bool = False


def _job(name: str, words: str, makes: str, reads: tuple[str, ...] = (), **others) -> Job:
    return Job(name, tuple(words.split()), tuple(makes.split()), reads, **others)


def _training(name: str, program: tuple[str, ...] = ()) -> Job:
    words = f"train --model dmgan --data {DATA} --damsm {DAMSM} --out {RUN} --epochs 3 {_SMALLEST} {_CPU} {MLFLOW}"
    made = " ".join(f"{RUN}/{file}" for file in ("generator.safetensors", "history.csv", "options.json"))
    return _job(name, words, made, (DATA, DAMSM), program=program, trains=True)


SPECIES, ATTRIBUTES, IMAGES = "results/smoke/species", "results/smoke/attributes", f"{RUN}/images"
_SCORED_BY = (DATA, DAMSM, SPECIES, ATTRIBUTES, "results/smoke/reference")
LAUNCH = ("python", "-m", "dmgan.runtime.launch", "--nproc-per-node", "2", "--module", "benchmarks.chaos.probe", "--")
WORKFLOW = (
    "--cores 1 --resources gpu=1 --rerun-incomplete results/smoke/dmgan/seed0/generator.safetensors"
    " --configfile workflow/config/smoke.yaml"
)

# In the order in which their results are needed.
JOBS = {
    job.name: job
    for job in (
        _job(
            "prepare",
            f"prepare --out {DATA} --source synthbirds --image-size 32 --num-species 8 --images-per-species 24"
            " --captions-per-image 3 --seed 0 --workers 2",
            DATA,
            workers=True,
        ),
        _job(
            "pretrain",
            f"pretrain --data {DATA} --out {DAMSM} --image-encoder small --image-size 32 --width 8 --embedding-dim 16"
            f" --epochs 4 --batch-size 4 --checkpoint-every 20 {_CPU}",
            DAMSM,
            (DATA,),
            trains=True,
        ),
        _job(
            "classifier",
            f"classifier --data {DATA} --out {SPECIES} {_CLASSIFIER} {_CPU}",
            SPECIES,
            (DATA,),
            trains=True,
        ),
        _job(
            "attributes",
            f"attributes --data {DATA} --out {ATTRIBUTES} {_CLASSIFIER} {_CPU}",
            ATTRIBUTES,
            (DATA,),
            trains=True,
        ),
        _job(
            "captioner",
            f"captioner --data {DATA} --damsm {DAMSM} --out results/smoke/captioner --embedding-dim 16 --hidden-dim 16"
            f" --epochs 4 --batch-size 4 --checkpoint-every 20 {_CPU}",
            "results/smoke/captioner",
            (DATA, DAMSM),
            trains=True,
        ),
        _training("train"),
        _job(
            "sample",
            f"sample --data {DATA} --run {RUN} --out {IMAGES} --num-images 120 --batch-size 10 --seed 100 --workers 2"
            f" {_CPU}",
            IMAGES,
            (DATA, DAMSM, f"{RUN}/generator.safetensors", f"{RUN}/options.json"),
            workers=True,
        ),
        _job(
            "reference",
            f"reference --data {DATA} --extractors species --classifier {SPECIES} --out results/smoke/reference {_CPU}",
            "results/smoke/reference",
            (DATA, SPECIES),
        ),
        _job(
            "evaluate",
            f"evaluate --images {IMAGES} {_SCORERS} --out {RUN}/metrics.json --workers 2 {_CPU}",
            f"{RUN}/metrics.json",
            (*_SCORED_BY, IMAGES),
            workers=True,
        ),
        _job(
            "controls",
            f"controls --controls real shuffled noise {_SCORERS} --out results/smoke/controls {_CPU}",
            "results/smoke/controls",
            _SCORED_BY,
        ),
        _job(
            "tables",
            f"tables --metrics {RUN}/metrics.json --out results/smoke/tables",
            "results/smoke/tables",
            (f"{RUN}/metrics.json",),
        ),
    )
}
# Their results are compared with a reference of their own: two ranks and the workflow's sizes give other bits.
APART = {
    job.name: job
    for job in (
        _training("train on two ranks", LAUNCH),
        _job(
            "workflow",
            WORKFLOW,
            f"{DATA} {DAMSM} {RUN}/generator.safetensors {RUN}/history.csv {RUN}/options.json",
            program=("python", "workflow/run.py"),
            project=("Snakefile", "workflow", "dmgan", "baselines", "environment.yml"),
        ),
    )
}
