"""Put the numbers and pictures of the runs of cub50.yaml and flickr8k.yaml into docs/photographs.md.

Run `python -m docs.update_photographs` after both configurations; all numbers are read from their results and from
benchmarks/results/full_size.json, and stand between markers of the page. Pictures of models are copied, photographs are
not. `--repeated FOLDER`: results of a second run of the same commands, which are compared with those of the first.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from benchmarks import record
from dmgan.errors import UserError
from dmgan.report.results import Evaluation, read_evaluation, summarise
from dmgan.storage.files import file_sha256, read_json, write_text
from docs.update_full_demo import jobs
from docs.update_results import copy_small
from workflow.configuration import models_of, read_configuration

PAGE, CONFIGS = Path("docs/photographs.md"), Path("workflow/config")
DATASETS = ("cub50", "flickr8k")
_SHOWN, _SIDE, _GAP = 12, 96, 4  # pictures of a run on the page; px
_COLUMNS = {
    "FID(efficientnet-lite0)": ("FID (EfficientNet) ↓", 1),
    "KID(efficientnet-lite0)": ("KID (EfficientNet) ↓", 3),
    "precision(efficientnet-lite0)": ("precision (EfficientNet) ↑", 2),
    "coverage(efficientnet-lite0)": ("coverage (EfficientNet) ↑", 2),
    "IS(efficientnet-lite0)": ("IS (probe of EfficientNet) ↑", 2),
    "FID(species)": ("FID (species) ↓", 1),
    "precision(species)": ("precision (species) ↑", 2),
    "IS(species)": ("IS (species) ↑", 2),
    "R-precision(training DAMSM)": ("R-precision (training DAMSM), % ↑", 1),
    "R-precision(held-out DAMSM)": ("R-precision (held-out DAMSM), % ↑", 1),
}
_CONTROLS = {
    "real": "real test images, one half against the other",
    "nearest": "training images with the nearest caption",
    "shuffled": "real test images with other captions",
    "noise": "uniform noise",
    "adversarial": "noise optimised against the training DAMSM",
}
_TITLES = {"dmgan": "DM-GAN", "attngan": "AttnGAN"}


class Run(NamedTuple):
    """A finished training."""

    model: str
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        return f"{_TITLES[self.model]} seed {self.seed}"


def finished(results: Path, dataset: str, config: dict) -> list[Run]:
    """Return the finished trainings of a configuration; UserError if there is none."""
    runs = [
        Run(model, seed, results / dataset / model / f"seed{seed}")
        for model in models_of(config, dataset)
        for seed in config["seeds"]
    ]
    found = [run for run in runs if (run.folder / "images" / "manifest.json").exists()]
    if not found:
        raise UserError(f"{results / dataset}: has no finished training; run the workflow with {dataset}.yaml")
    return found


def numbers(results: Path, dataset: str, runs: Sequence[Run]) -> str:
    """Return the table of the test images, or that of the validation images if a training is not evaluated."""
    if all((run.folder / "metrics.json").exists() for run in runs):
        about = "± is the standard deviation over seeds of training; rows without ± are of one seed, or of real images."
        return f"{about}\n\n{table(results, dataset, runs)}"
    about = (
        "These trainings are not evaluated on test images. On held-out training images, at the step of their weights:"
    )
    return f"{about}\n\n{validation_table(runs)}"


def validation_table(runs: Sequence[Run]) -> str:
    """Return a Markdown table of the metrics on validation images at the chosen step of every run."""
    lines: list[str] = []
    for run in runs:
        chosen = read_json(run.folder / "options.json", "run the workflow")["selection"]["step"]
        row = next(each for each in _rows(run.folder / "validation.csv") if int(each["step"]) == chosen)
        metrics = {name: float(value) for name, value in row.items() if "(" in name}
        lines = lines or [f"| images | {' | '.join(metrics)} | n |", "|---" + "|--:" * (len(metrics) + 1) + "|"]
        cells = " | ".join(f"{value:.1f}" for value in metrics.values())
        lines.append(f"| {run.title}, step {chosen} | {cells} | {row['images']} |")
    return "\n".join(lines)


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(results: Path, dataset: str, runs: Sequence[Run]) -> str:
    """Return a Markdown table with the models' mean over seeds and the control rows."""
    models: dict[str, list[Evaluation]] = {}
    for run in runs:
        models.setdefault(run.model, []).append(read_evaluation(run.folder / "metrics.json"))
    controls = {name: [read_evaluation(results / dataset / "controls" / name / "metrics.json")] for name in _CONTROLS}
    first = next(iter(models.values()))[0]
    columns = {key: shown for key, shown in _COLUMNS.items() if key in first.metrics}
    lines = [f"| images | {' | '.join(heading for heading, _ in columns.values())} | n |"]
    lines.append("|---" + "|--:" * (len(columns) + 1) + "|")
    for name, rows in {**models, **controls}.items():
        cells = [_cell(rows, key, digits) for key, (_, digits) in columns.items()]
        lines.append(f"| {_TITLES.get(name) or _CONTROLS[name]} | {' | '.join(cells)} | {rows[0].num_images:,} |")
    return "\n".join(lines)


def _cell(rows: list[Evaluation], key: str, digits: int) -> str:
    """Return the value of one evaluation, or mean and standard deviation over seeds."""
    summary = summarise(rows, key)
    if summary is None:
        return "-"
    spread = f" ± {summary.spread:.{digits}f}" if len(rows) > 1 else ""
    return f"{summary.value:.{digits}f}{spread}"


def costs(results: Path, dataset: str) -> str:
    """Return a Markdown table of the CPU minutes of every rule, from Snakemake's benchmarks."""
    by_rule: dict[str, list[float]] = {}
    for name, job in jobs(results / "benchmarks").items():
        rule, _, which = name.partition(" ")
        if which == dataset or which.startswith(f"{dataset}-"):
            by_rule.setdefault(rule, []).append(job["cpu"])
    lines = ["| rule | jobs | CPU minutes |", "|---|--:|--:|"]
    lines += [f"| {rule} | {len(each)} | {sum(each) / 60:.1f} |" for rule, each in by_rule.items()]
    total = sum(sum(each) for each in by_rule.values())
    return "\n".join([*lines, f"| all | {sum(map(len, by_rule.values()))} | {total / 60:.1f} |"])


def facts(results: Path, dataset: str, config: dict, runs: Sequence[Run]) -> str:
    """Return a list of facts on the prepared set, the encoders and the trainings."""
    described = read_json(results / "data" / dataset / "dataset.json", "run the workflow")
    images, classes = described["images"], described["classes"]
    species = f" of {classes['train']} and {classes['test']} species" if classes else ""
    encoders = [config["damsm"]["seed"], config["held_out_damsm"]["seed"]]
    options = [read_json(results / dataset / "damsm" / f"seed{seed}" / "options.json", "") for seed in encoders]
    found = " and ".join(f"{each['r_precision']['value']:.1f} %" for each in options)
    written = [read_json(run.folder / "options.json", "run the workflow") for run in runs]
    steps, training = written[0]["validation"]["snapshots"][-1], written[0]["training"]
    chosen = ", ".join(f"{run.title} step {each['selection']['step']}" for run, each in zip(runs, written, strict=True))
    lines = (
        f"{images['train']:,} training and {images['test']:,} test images{species}",
        f"{described['captions']:,} captions, {described['vocabulary']:,} words",
        f"R-precision of {options[0]['r_precision']['num_images']} held-out training images by the training DAMSM and "
        f"the held-out DAMSM: {found} (chance: 1 %)",
        f"every model: {steps:,} steps of {training['batch_size']} images, DiffAugment `{training['diff_augment']}`",
        f"weights chosen by FID on {written[0]['validation']['images']} held-out training images: {chosen}",
    )
    return "\n".join(f"- {line}" for line in lines)


def picture(runs: Sequence[Run], target: Path) -> None:
    """Write the first images of every run: a row per run, a column per caption."""
    width, height = _SHOWN * (_SIDE + _GAP) - _GAP, len(runs) * (_SIDE + _GAP) - _GAP
    sheet = Image.new("RGB", (width, height), "white")
    for row, run in enumerate(runs):
        for column in range(_SHOWN):
            with Image.open(run.folder / "images" / f"{column:06d}.png") as image:
                shown = image.resize((_SIDE, _SIDE), Image.BICUBIC)
            sheet.paste(shown, (column * (_SIDE + _GAP), row * (_SIDE + _GAP)))
    sheet.quantize(256).save(target, optimize=True)


def captions(results: Path, dataset: str, run: Run) -> str:
    """Return the captions of the pictures as a numbered list."""
    manifest = read_json(run.folder / "images" / "manifest.json", "run the workflow")
    records = read_json(results / "data" / dataset / "captions.json", "run the workflow")
    shown = [records[each["test_image"]]["captions"][each["caption"]] for each in manifest["images"][:_SHOWN]]
    return "\n".join(f"{number}. {caption}" for number, caption in enumerate(shown, 1))


_COMPARED = {
    "prepared sets": "data/*/images.bin",
    "encoders": "*/damsm/*/*_encoder.safetensors",
    "classifiers": "*/species/classifier.safetensors",
    "snapshots of generators": "*/*/*/snapshots/*.safetensors",
    "generators": "*/*/*/generator.safetensors",
}


def repeated(results: Path, again: Path) -> str:
    """Compare what a second run made with the first results; return a list of what is equal, by kind.

    The second run may have been stopped before its end. UserError if a file or a number differs, naming it.
    """
    found = []
    for what, pattern in _COMPARED.items():
        paths = [path.relative_to(again) for path in sorted(again.glob(pattern))]
        for path in paths:
            if file_sha256(results / path) != file_sha256(again / path):
                raise UserError(f"{again / path}: differs from that of {results}")
        if paths:
            found.append(f"{what}, byte by byte: `{'`, `'.join(map(str, paths))}`")
    numbers = 0
    for path in sorted(again.glob("*/*/*/validation.csv")):
        first, second = (_numbers(folder / path.relative_to(again)) for folder in (results, again))
        if first[: len(second)] != second:
            raise UserError(f"{path}: differs from that of {results}")
        numbers += sum(map(len, second))
    if numbers:
        found.append(f"{numbers} metrics on validation images, to the last digit")
    numbers = 0
    for path in sorted(again.glob("*/*/*/metrics.json")):
        first, second = (read_evaluation(folder / path.relative_to(again)).metrics for folder in (results, again))
        for key, measure in second.items():
            if measure is not None and measure.value != first[key].value:
                raise UserError(f"{path}: {key} is {measure.value}, not {first[key].value} as in {results}")
            numbers += measure is not None
    if numbers:
        found.append(f"{numbers} metrics on test images, to the last digit")
    return "\n".join(f"- {each}" for each in found)


def _numbers(path: Path) -> list[list[str]]:
    """Return the metrics of every step in validation.csv, without the step and the time that it took."""
    return [[value for name, value in row.items() if "(" in name] for row in _rows(path)]


def of_dataset(results: Path, dataset: str) -> str:
    """Write the pictures of a data set and return its section."""
    config = read_configuration(CONFIGS / f"{dataset}.yaml")
    runs = finished(results, dataset, config)
    picture(runs, PAGE.with_name(f"photographs-{dataset}.png"))
    copy_small(results / dataset / "figures/validation.png", PAGE.with_name(f"photographs-{dataset}-validation.png"))
    missing = len(models_of(config, dataset)) * len(config["seeds"]) - len(runs)
    absent = f" {missing} trainings of the configuration are not finished." if missing else ""
    return "\n\n".join(
        [
            facts(results, dataset, config, runs),
            f"![Generated images](photographs-{dataset}.png)",
            f"Rows: {', '.join(run.title for run in runs)}.{absent} Captions, from left to right:",
            captions(results, dataset, runs[0]),
            numbers(results, dataset, runs),
            f"![Metrics on held-out training images during training](photographs-{dataset}-validation.png)",
            "CPU time as Snakemake measured it; a job that was interrupted counts from its last start.",
            costs(results, dataset),
        ]
    )


def full_size() -> str:
    """Return the numbers of the released architecture at 256 px, from benchmarks/results/full_size.json."""
    result = record.read(record.RESULTS / "full_size.json")
    lines = [
        f"`{result.command}` ({result.machine['cpu']}):",
        "",
        f"- {result.details['training images']} photographs, batches of {result.details['batch_size']}, "
        f"{result.details['precision']}; {result.details['steps']} steps, of which the second run made those after "
        f"step {result.details['resumed from step']}",
        *(f"- {figure.name}: {figure.value:,.4g} {figure.unit}" for figure in result.figures),
    ]
    return "\n".join(lines)


def fill(page: Path, section: str, body: str) -> None:
    """Replace everything between the markers of a section of the page."""
    begin, end = f"<!-- {section}: docs/update_photographs.py -->", f"<!-- end of {section} -->"
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise UserError(f"{page}: the markers of a section are missing; restore {begin} and {end}")
    head, rest = text.split(begin)
    write_text(page, f"{head}{begin}\n\n{body.strip()}\n\n{end}{rest.split(end)[1]}")


def main() -> int:
    """Rewrite the page's sections."""
    parser = argparse.ArgumentParser(prog="python -m docs.update_photographs", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"), help="results of both runs (default results)")
    parser.add_argument("--repeated", type=Path, help="results of a second run of the same commands, to compare")
    arguments = parser.parse_args()
    try:
        for dataset in DATASETS:
            fill(PAGE, dataset, of_dataset(arguments.results, dataset))
        fill(PAGE, "full size", full_size())
        if arguments.repeated is not None:
            fill(PAGE, "second run", repeated(arguments.results, arguments.repeated))
    except UserError as error:
        print(f"update_photographs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
