"""What a configuration costs before anything starts: steps, hours by measured rates, disk."""

import csv
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dmgan.data import coco, cub
from dmgan.errors import UserError
from dmgan.files import read_json
from dmgan.options import ArchitectureOptions, ClassifierOptions, DamsmOptions, TrainingOptions

ROOT = Path(__file__).parent.parent
RATES = ROOT / "benchmarks" / "results" / "rates.csv"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
_SYNTHBIRDS = {"num_species": 200, "images_per_species": 16}
_ADVERSARIAL_IMAGES = 1000  # of one control row, at most
_OVERSIZE = 76 / 64
# Width over height of stored images, of which the disk is estimated: CUB's are squares now and then clipped.
_ASPECT = {"synthbirds": 1.0, "cub": 1.05, "coco": 1.37, "folder": 1.37}
_PNG_BYTES_PER_PIXEL = 1.75
_FEATURE_BYTES = 2048 * 4


class Cost(NamedTuple):
    """One rule's jobs on one data set."""

    dataset: str
    rule: str
    what: str
    jobs: int
    steps: int  # of all jobs; 0 where there are none
    images: int  # that pass the network, over all jobs
    network: str  # as the table of rates names it; "" where nothing is measured
    disk: float  # bytes


class Rate(NamedTuple):
    """What was measured of one network on one device."""

    images_per_second: float
    gflop_per_image: float
    checkpoint_bytes: float


def read_configuration(path: Path) -> dict:
    """A configuration with the schema's defaults; UserError naming its first fault."""
    import yaml
    from jsonschema import Draft202012Validator

    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give a file such as those in workflow/config"
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())}); mend it") from error
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    for error in Draft202012Validator(schema).iter_errors(config):
        place = ".".join(map(str, error.absolute_path)) or "top level"
        raise UserError(f"{path}: {place}: {error.message}; see workflow/schemas/config.schema.yaml")
    defaults = {name: each["default"] for name, each in schema["properties"].items() if "default" in each}
    for dataset in config["datasets"]:
        blocks = config["hyperparameters"].get(dataset, {})
        missing = [model for model in config["models"] if model not in blocks]
        if missing:
            raise UserError(f"{path}: hyperparameters.{dataset}: has no block for {', '.join(missing)}; add it")
    return defaults | config


def read_rates(path: Path) -> dict[str, dict[tuple[str, str], Rate]]:
    """Device -> (stage, network) -> rate, of the table that `python -m benchmarks.rates` writes."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        rates: dict[str, dict[tuple[str, str], Rate]] = {}
        for row in rows:
            rate = Rate(
                float(row["images_per_second"]), float(row["gflop_per_image"]), 1e6 * float(row["checkpoint_mb"])
            )
            device = f"{row['device']} ({row['precision']}, over {row['over']})"
            rates.setdefault(device, {})[row["stage"], row["network"]] = rate
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is no table of rates ({error}); make it: python -m benchmarks.rates") from error
    return rates


def network_of(stage: str, config: dict, dataset: str = "", model: str = "") -> str:
    """How the table of rates names what a stage runs: the network and the sizes that its speed depends on."""
    damsm = _values(DamsmOptions, config["damsm"])
    if stage == "pretrain":
        return f"{damsm['image_encoder']} {damsm['image_size']} px"
    if stage == "classifier":
        options = _values(ClassifierOptions, config["classifier"])
        return f"classifier {options['image_size']} px, width {options['width']}"
    block = _values(ArchitectureOptions, config["hyperparameters"][dataset][model])
    sides = "/".join(str(block["base_size"] << stage) for stage in range(block["stages"]))
    widths = f"G {block['generator_width']}, D {block['discriminator_width']}, R {block['residual_blocks']}"
    return f"{model} {sides} px, {widths}, {damsm['image_encoder']}"


def _values(kind: type, block: dict) -> dict[str, object]:
    """The defaults of an options class with what a block says of them."""
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    return fields | {name: value for name, value in block.items() if name in fields}


def image_counts(name: str, block: dict, results: Path = Path("results")) -> tuple[int, int]:
    """Training and test images of a data set: as prepared, else as published, drawn or listed."""
    prepared = results / "data" / name / "dataset.json"
    if prepared.exists():
        counts = read_json(prepared, "prepare the data set again")["images"]
        return counts["train"], counts["test"]
    source = block.get("source", "synthbirds")
    if source == "synthbirds":
        wanted = _SYNTHBIRDS | {key: value for key, value in block.items() if key in _SYNTHBIRDS}
        test = min(max(1, round(wanted["num_species"] / 4)), wanted["num_species"] - 1)
        return (wanted["num_species"] - test) * wanted["images_per_species"], test * wanted["images_per_species"]
    if source == "folder":
        from dmgan.data.folder import TEST_SHARE, list_folder

        captions = block.get("captions")
        images = list_folder(
            block["root"], captions and Path(captions), test_share=block.get("test_share", TEST_SHARE)
        ).images
        return tuple(sum(image.split == split for image in images) for split in ("train", "test"))
    published = cub.PUBLISHED if source == "cub" else coco.PUBLISHED[block.get("year", "2014")]
    return published["train"], published["test"]


def costs(config: dict, checkpoint_bytes: dict[str, float]) -> list[Cost]:
    """What every rule of a configuration has to do, from nothing; checkpoint_bytes by network."""
    found = []
    passes = sum(rung != "species" for rung in config["rungs"])
    passes += _values(DamsmOptions, config["damsm"])["image_encoder"] == "inception"
    for dataset, block in config["datasets"].items():
        train, test = image_counts(dataset, block)
        source, side = block.get("source", "synthbirds"), int(block.get("image_size", 64) * _OVERSIZE)
        stored = (train + test) * 3 * side * side * _ASPECT[source]
        network = "birds" if source == "synthbirds" else "photographs"
        found.append(Cost(dataset, "prepare", source, 1, 0, train + test, network, stored))

        damsm = _values(DamsmOptions, config["damsm"] | block.get("damsm", {}))
        steps = damsm["epochs"] * (train // damsm["batch_size"])
        network = network_of("pretrain", config)
        found.append(Cost(dataset, "pretrain", "DAMSM", 1, steps, steps * damsm["batch_size"], network, 0.0))

        if "species" in config["rungs"]:
            options = _values(ClassifierOptions, config["classifier"])
            shown = train - max(1, int(train * options["validation_share"]))
            steps = options["epochs"] * (shown // options["batch_size"])
            network = network_of("classifier", config)
            found.append(Cost(dataset, "classifier", "species", 1, steps, steps * options["batch_size"], network, 0.0))

        seeds = len(config["seeds"])
        for model in config["models"]:
            hyperparameters = config["hyperparameters"][dataset][model]
            options, network = _values(TrainingOptions, hyperparameters), network_of("train", config, dataset, model)
            architecture = _values(ArchitectureOptions, hyperparameters)
            steps = seeds * options["epochs"] * (train // options["batch_size"])
            disk = seeds * checkpoint_bytes.get(network, 0.0)
            found.append(Cost(dataset, "train", model, seeds, steps, steps * options["batch_size"], network, disk))
            images, side = seeds * config["num_images"], architecture["base_size"] << (architecture["stages"] - 1)
            disk = images * side * side * _PNG_BYTES_PER_PIXEL
            found.append(Cost(dataset, "sample", model, seeds, 0, images, network, disk))
        runs = len(config["models"]) * seeds
        # The control rows: real and shuffled (a half each), nearest, noise, adversarial; and the reference.
        others = 2 * (test // 2) + 2 * test + min(test, _ADVERSARIAL_IMAGES) + test
        images, jobs = runs * config["num_images"] + others, runs + 2
        what = f"{passes} Inception passes an image" if passes else "small networks"
        network = "inception 299" if passes else network_of("classifier", config)
        disk = images * passes * _FEATURE_BYTES
        found.append(Cost(dataset, "evaluate", what, jobs, 0, images * max(passes, 1), network, disk))
    return found


def hours(cost: Cost, rates: dict[tuple[str, str], Rate]) -> float | None:
    """Hours of a rule's jobs one after another by measured rates; None where none was measured."""
    rate = rates.get((cost.rule, cost.network))
    return None if rate is None else cost.images / rate.images_per_second / 3600


def extrapolated(cost: Cost, rates: Iterable[dict[tuple[str, str], Rate]], tflops: float) -> float | None:
    """Hours by counted operations at an assumed speed, wherever these were counted; None for what is no network's."""
    for each in rates:
        rate = each.get((cost.rule, cost.network))
        if rate is not None and rate.gflop_per_image:
            return cost.images * rate.gflop_per_image / (1e3 * tflops) / 3600
    return None


def plan(configfile: Path, rates_file: Path, tflops: float) -> str:
    """The plan as text: a row a rule, totals, and what each column rests on."""
    if tflops <= 0:
        raise UserError(f"--tflops {tflops}: must be above 0")
    config, rates = read_configuration(configfile), read_rates(rates_file)
    sizes = {network: rate.checkpoint_bytes for each in rates.values() for (_, network), rate in each.items()}
    rows = costs(config, {network: size for network, size in sizes.items() if size})
    heads = [f"[{number}]" for number in range(1, len(rates) + 2)]
    table = [["data set", "rule", "what", "jobs", "steps", "images", *[f"h {head}" for head in heads], "GB"]]
    columns = [[hours(cost, each) for cost in rows] for each in rates.values()]
    columns.append([extrapolated(cost, rates.values(), tflops) for cost in rows])
    for number, cost in enumerate(rows):
        times = [_hours(column[number]) for column in columns]
        if cost.rule == "prepare":  # no network: there are no operations to extrapolate from
            times[-1] = "-"
        steps = f"{cost.steps:,}" if cost.steps else "-"
        disk = f"{cost.disk / 1e9:,.1f}" if cost.disk else "-"
        table.append(
            [cost.dataset, cost.rule, cost.what, f"{cost.jobs}", steps, f"{cost.images:,}", *times, disk]
        )  # fmt: skip
    sums = [_hours(sum(value for value in column if value is not None)) for column in columns]
    total = sum(cost.disk for cost in rows) / 1e9
    jobs = sum(cost.jobs for cost in rows)
    table.append(["total", "", "", f"{jobs}", f"{sum(cost.steps for cost in rows):,}", "", *sums, f"{total:,.1f}"])
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    left = 3  # the columns of words
    lines = [
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(len(lines) - 1, lines[1])
    notes = [f"[{number}] measured on {device}" for number, device in enumerate(rates, 1)]
    notes.append(
        f"[{len(rates) + 1}] extrapolated: the steps' counted operations at {tflops:g} TFLOP/s sustained, "
        "an assumption (--tflops), not a measurement"
    )
    notes += [
        "?: no rate; python -m benchmarks.rates --configfile FILE [--device cuda] measures it. Totals leave it out.",
        "Hours are of jobs one after another on one device; reading, PNG encoding and start-up are not in them, "
        "nor are tables and figures (minutes).",
        "GB: prepared images, one checkpoint a training, images at 1.75 bytes a pixel, float32 features of Inception.",
    ]
    return "\n".join([f"{configfile}, from nothing:", "", *map(str.rstrip, lines), "", *notes])


def _hours(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"
