"""Put the numbers and pictures of the runs of cub50.yaml and flickr8k.yaml into docs/photographs.md.

Run `python -m docs.update_photographs` after both configurations; all numbers are read from their results and from
benchmarks/results/full_size.json, and stand between markers of the page. Pictures of models are copied, photographs are
not. docs/photographs.json records all digits and the hashes of all weights; `--check` compares another run with it.
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
from dmgan.storage.files import file_sha256, read_json, write_json, write_text
from docs.update_full_demo import jobs
from docs.update_results import copy_small
from workflow.configuration import models_of, read_configuration

PAGE, CONFIGS = Path("docs/photographs.md"), Path("workflow/config")
RECORD = PAGE.with_suffix(".json")  # what the runs made, to the last digit
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


_FILES = (  # of a data set, below results/
    "data/{}/images.bin", "{}/damsm/*/*_encoder.safetensors", "{}/species/classifier.safetensors",
    "{}/probe/probe.safetensors",
)  # fmt: skip


def made(results: Path, dataset: str) -> dict[str, str | float]:
    """Return what the configuration's run made: the SHA-256 of its files, and all digits of its metrics.

    UserError if a training or a measurement of the configuration is not finished.
    """
    config = read_configuration(CONFIGS / f"{dataset}.yaml")
    runs = [run.folder for run in finished(results, dataset, config)]
    measured = [*runs, *(results / dataset / "controls" / name for name in _CONTROLS)]
    expected = len(models_of(config, dataset)) * len(config["seeds"])
    if len(runs) < expected or not all((each / "metrics.json").exists() for each in measured):
        raise UserError(f"{results / dataset}: is not finished; run the workflow with {dataset}.yaml")
    paths = [path for pattern in _FILES for path in sorted(results.glob(pattern.format(dataset)))]
    for run in runs:
        paths += [*sorted(run.glob("snapshots/*.safetensors")), run / "generator.safetensors"]
    found: dict[str, str | float] = {str(path.relative_to(results)): file_sha256(path) for path in paths}
    for path in (run / "validation.csv" for run in runs):
        for row in _rows(path):
            place = f"{path.relative_to(results)}, step {row['step']}"
            found |= {f"{place}, {name}": float(value) for name, value in row.items() if "(" in name}
    for path in (each / "metrics.json" for each in measured):
        metrics = read_evaluation(path).metrics
        found |= {f"{path.relative_to(results)}, {key}": each.value for key, each in metrics.items() if each}
    return found


def check(results: Path, dataset: str) -> str:
    """Compare what a run made with the record of the page; UserError that names the first difference."""
    recorded = read_json(RECORD, "python -m docs.update_photographs writes it").get(dataset)
    if not recorded:
        raise UserError(f"{RECORD}: holds nothing of {dataset}; restore it")
    found = made(results, dataset)
    if differing := [what for what in recorded if found.get(what) != recorded[what]]:
        raise UserError(
            f"{results}: {len(differing)} of {len(recorded)} files and metrics of {dataset} are not those of {RECORD}, "
            f"first {differing[0]}: {found.get(differing[0], 'missing')}, recorded {recorded[differing[0]]}; bits are "
            "the same on one kind of processor, with the locked versions and the same threads"
        )
    files = sum(isinstance(each, str) for each in recorded.values())
    return f"{dataset}: {files} files and {len(recorded) - files} metrics are those of {RECORD}, to the last bit"


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
    """Rewrite the page's sections and its record, or compare results with the record."""
    parser = argparse.ArgumentParser(prog="python -m docs.update_photographs", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"), help="results of the runs (default results)")
    parser.add_argument("--check", action="store_true", help=f"write nothing; compare the results with {RECORD}")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS, help="data sets (default: both)")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            for dataset in arguments.datasets:
                print(check(arguments.results, dataset))
            return 0
        recorded = read_json(RECORD, "restore it") if RECORD.exists() else {}
        made_now = {dataset: made(arguments.results, dataset) for dataset in arguments.datasets}
        for dataset in arguments.datasets:
            fill(PAGE, dataset, of_dataset(arguments.results, dataset))
        fill(PAGE, "full size", full_size())
        write_json(RECORD, recorded | made_now)
    except UserError as error:
        print(f"update_photographs: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
