"""The results of a data set as the workflow writes them, small: for tests of the report page."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from dmgan.report.page.build import ReportInputs
from dmgan.report.tables.comparisons import write_comparisons
from dmgan.report.tables.render import write_tables
from dmgan.storage.files import file_sha256
from dmgan.storage.seals import write_sealed_json
from tests.report.made_metrics import MODEL, REAL, TRAINING, metrics

RESULTS, DATA = Path("results/synthbirds"), Path("results/data/synthbirds")
MODELS = {"dmgan": {}, "attngan": {"FID(species)": 25.5, TRAINING: 55.25, "diversity(species)": 0.04}}
CONTROLS = {
    "real": REAL,
    "shuffled": {**REAL, TRAINING: 1.5},
    "noise": {"IS(species)": 1.5, "FID(species)": 300.0, "KID(species)": 0.9, TRAINING: 70.0},
}
FIGURES = ("figure3", "figure6", "losses")
VERSIONS = {"python": "3.11.7", "torch": "2.14.1"}
OPTIONS = {
    "training": {"epochs": 8, "batch_size": 12, "generator_lr": 0.0008, "discriminator_lr": 0.001},
    "engine": [{"device": "cpu", "processes": 1, "precision": "float32"}],
    "inputs": {},
    "provenance": {"commit": "c0ffee"},
}
CLASSES = {"train": 450, "test": 150}
_IMAGES = 100


def make_results(classes: dict[str, int] | None = CLASSES) -> ReportInputs:
    """Write results/ into the current folder, and return the inputs of its report page.

    classes: numbers of classes of the splits; None for a data set without classes.
    """
    DATA.mkdir(parents=True)
    (DATA / "captions.json").write_text("[]")
    data = {"captions.json": file_sha256(DATA / "captions.json")}
    described = {"images": {"train": 2700, "test": 900}, "classes": classes, "captions": 36000}
    write_sealed_json(DATA / "dataset.json", {**described, "vocabulary": 86, "sha256": data})
    files = [_write_model(name, scores, data) for name, scores in MODELS.items()]
    controls = [_write_control(name, scores, data) for name, scores in CONTROLS.items()]
    write_tables([*files, *controls], RESULTS / "tables")
    write_comparisons([*files, *controls], RESULTS / "tables", 100)
    (RESULTS / "figures").mkdir()
    for number, name in enumerate(FIGURES):
        pixels = np.full((60, 90, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(RESULTS / "figures" / f"{name}.png")
    benchmark = Path("results/benchmarks/train/synthbirds-dmgan-seed0.tsv")
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text("s\th:m:s\tmax_rss\n777.65\t0:12:57\t1241.17\n")
    DATA.with_name("synthbirds-64").mkdir()
    (benchmark.parent / "synthbirds-64-dmgan-seed0.tsv").write_text("s\th:m:s\tmax_rss\n9.5\t0:00:09\t99\n")
    return ReportInputs((*files, *controls), RESULTS, RESULTS / "report")


def _write_model(name: str, scores: dict[str, float], data: dict[str, str]) -> Path:
    folder = RESULTS / name / "seed0"
    inputs = {"generator_sha256": "ab" * 32, "sampling_seed": 100, "images_sha256": f"{name} images", "data": data}
    file = _write(folder, _subject("model", name, 0), metrics(MODEL | scores), inputs)
    write_sealed_json(folder / "options.json", {**OPTIONS, "model": name, "seed": 0})
    return file


def _write_control(name: str, scores: dict[str, float], data: dict[str, str]) -> Path:
    inputs = {"images_sha256": f"{name} images", "data": data}
    return _write(RESULTS / "controls" / name, _subject("control", name, None), metrics(scores), inputs)


def _subject(kind: str, name: str, seed: int | None) -> dict[str, object]:
    about = {"kind": kind, "name": name, "seed": seed, "dataset": "synthbirds"}
    return {**about, "num_images": 2000, "image_size": 64}


def _write(folder: Path, subject: dict, measures: dict, inputs: dict) -> Path:
    """Write metrics.json and per_image.npz, whose arrays hold the value of every metric."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    arrays = {f"without/{key}": each["value"] + random.normal(size=10) / 100 for key, each in measures.items()}
    for key, each in measures.items():
        arrays[f"value/{key}"] = np.array([each["value"], each["spread"], *each["interval"]])
    rows = {"test_images": np.arange(_IMAGES), "captions": np.zeros(_IMAGES, int), "folds": np.arange(_IMAGES) % 10}
    np.savez(folder / "per_image.npz", images_sha256=inputs["images_sha256"], **rows, **arrays)
    provenance = {"commit": "c0ffee", "versions": VERSIONS, "machine": {"system": "Linux", "processor": "x86_64"}}
    content = {"schema": 2, "subject": subject, "metrics": measures, "inputs": inputs, "device": "cpu"}
    write_sealed_json(folder / "metrics.json", {**content, "provenance": provenance}, ["per_image.npz"])
    return folder / "metrics.json"


def edit_metric(file: Path, key: str, value: float) -> None:
    """Change the value of a metric in a metrics.json by hand, and nothing else."""
    content = json.loads(file.read_text())
    content["metrics"][key]["value"] = value
    file.write_text(json.dumps(content))
