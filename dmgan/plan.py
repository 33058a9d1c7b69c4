"""What a configuration costs before anything starts: steps, hours by measured rates, disk."""

import csv
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from dmgan.data.sources import coco, cub
from dmgan.errors import UserError
from dmgan.options import (
    PLAIN_ENGINE,
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmOptions,
    EngineOptions,
    SamplingOptions,
    TrainingOptions,
)
from dmgan.storage.files import read_json

ROOT = Path(__file__).parent.parent
RATES = ROOT / "benchmarks" / "results" / "rates.csv"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
_SYNTHBIRDS = {"num_species": 200, "images_per_species": 16}
_ADVERSARIAL_IMAGES = 1000  # of one control row, at most
_OVERSIZE = 76 / 64
# Width over height of stored images, of which the disk is estimated: CUB's are squares now and then clipped.
_ASPECT = {"synthbirds": 1.0, "cub": 1.05, "coco": 1.37, "folder": 1.37}
# Captions an image where the configuration does not say, and words a caption: synthbirds as drawn, folders as COCO.
_CAPTIONS = {"synthbirds": (10, 12), "cub": (10, 15), "coco": (5, 11), "folder": (5, 11)}
_PNG_BYTES_PER_PIXEL = 1.75
_FEATURE_BYTES = 2048 * 4


class Cost(NamedTuple):
    """One rule's jobs on one data set."""

    dataset: str
    rule: str  # its word before "_" is the stage, as the table of rates names it
    what: str
    jobs: int
    steps: int  # of all jobs; 0 where there are none
    images: int  # that pass the network, over all jobs
    network: str  # as `network_of` names it; "" where nothing is measured
    disk: float | None  # bytes; None where they are not known
    engine: str = ""  # as `engine_of` names it

    @property
    def stage(self) -> str:
        return self.rule.split("_")[0]


class Rate(NamedTuple):
    """What was measured of one network on one device."""

    images_per_second: float
    gflop_per_image: float
    checkpoint_bytes: float
    batch: int  # images a step


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
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())}); fix it") from error
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
    """Device -> (stage, what `measured_name` gives) -> rate, of the table that `python -m benchmarks.rates` writes."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        rates: dict[str, dict[tuple[str, str], Rate]] = {}
        for row in rows:
            rate = Rate(
                float(row["images_per_second"]), float(row["gflop_per_image"]), 1e6 * float(row["checkpoint_mb"]),
                int(row["batch"]),
            )  # fmt: skip
            device = f"{row['device']} (over {row['over']})"
            rates.setdefault(device, {})[row["stage"], row["network"]] = rate
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is no table of rates ({error}); make it: python -m benchmarks.rates") from error
    return rates


def network_of(stage: str, config: dict, dataset: str = "", model: str = "") -> str:
    """The network that a stage runs, and the sizes that its speed depends on."""
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


def engine_of(stage: str, config: dict, dataset: str, model: str = "") -> str:
    """How a stage runs its network: the options that its speed depends on and that are not plain; "" for none."""
    if stage == "train":
        block = config["hyperparameters"][dataset][model]
        values, plain = (
            _values(EngineOptions, block) | {"gpus": block.get("gpus", 1)},
            {**vars(PLAIN_ENGINE), "gpus": 1},
        )
        elsewhere = ("cache_captions",)  # captions are encoded outside the step
    elif stage == "sample":
        values = _values(SamplingOptions, sampling_block(config, dataset))
        plain = vars(SamplingOptions(fused=False, channels_last=False))
        elsewhere = ("workers", "packed")
    else:
        return ""
    other = {name: value for name, value in values.items() if value != plain[name] and name not in elsewhere}
    return ", ".join(
        name if value is True else value if name == "precision" else f"{name} {value}" for name, value in other.items()
    )


def sampling_block(config: dict, dataset: str) -> dict[str, object]:
    """How test images of a data set are made: the sampling block with what the data set's own says."""
    return config["sampling"] | config["datasets"].get(dataset, {}).get("sampling", {})


def measured_name(network: str, engine: str) -> str:
    """How the table of rates names a network and how it runs."""
    return f"{network}; {engine}" if engine else network


def rungs_of(config: dict, dataset: str) -> list[str]:
    """Feature networks that the images of a data set are measured with."""
    return config["datasets"].get(dataset, {}).get("rungs", config["rungs"])


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
        from dmgan.data.sources.folder import TEST_SHARE, list_folder

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
    for dataset, block in config["datasets"].items():
        train, test = image_counts(dataset, block)
        found += _costs_of_preparation(config, dataset, train, test)
        found += _costs_of_judges(config, dataset, train)
        found += _costs_of_models(config, dataset, train, checkpoint_bytes)
        found += _costs_of_evaluation(config, dataset, test)
    return found


def _costs_of_preparation(config: dict, dataset: str, train: int, test: int) -> list[Cost]:
    """The data set and its encoders, those of the held-out judge with them."""
    block = config["datasets"][dataset]
    source, side = block.get("source", "synthbirds"), int(block.get("image_size", 64) * _OVERSIZE)
    stored = (train + test) * 3 * side * side * _ASPECT[source]
    network = "birds" if source == "synthbirds" else "photographs"
    prepare = Cost(dataset, "prepare", source, 1, 0, train + test, network, stored)
    damsm, jobs = _values(DamsmOptions, config["damsm"] | block.get("damsm", {})), 1 + ("held_out_damsm" in config)
    what = "DAMSM" if jobs == 1 else "DAMSM and held-out DAMSM"
    pretrain = _steps(dataset, "pretrain", what, jobs, damsm, train, network_of("pretrain", config))
    return [prepare, pretrain._replace(disk=_encoded_captions_bytes(config, dataset, train))]


def _encoded_captions_bytes(config: dict, dataset: str, train: int) -> float:
    """Bytes of the captions that trainings with `cache_captions` keep beside the encoders: float32, one set a limit."""
    block = config["datasets"][dataset]
    captions, words = _CAPTIONS[block.get("source", "synthbirds")]
    captions = block.get("captions_per_image") or captions
    models = [config["hyperparameters"][dataset][model] for model in config["models"]]
    limits = {_values(TrainingOptions, each)["max_words"] for each in models if each.get("cache_captions")}
    vectors = sum(min(limit, words) + 1 for limit in limits)  # of the words and of the sentence
    return 4.0 * _values(DamsmOptions, config["damsm"])["embedding_dim"] * train * captions * vectors


def _steps(dataset: str, rule: str, what: str, jobs: int, options: dict, shown: int, network: str) -> Cost:
    """The cost of jobs that each pass `shown` images, in whole batches, for some epochs."""
    steps = jobs * options["epochs"] * (shown // options["batch_size"])
    return Cost(dataset, rule, what, jobs, steps, steps * options["batch_size"], network, 0.0)


def _costs_of_judges(config: dict, dataset: str, train: int) -> list[Cost]:
    """The classifiers that evaluations read, and the captioner that MirrorGAN reads."""
    found = []
    names_attributes = config["datasets"][dataset].get("source", "synthbirds") == "synthbirds"
    for rule, what, wanted in (
        ("classifier", "species", "species" in rungs_of(config, dataset)),
        ("attributes", "named attributes", names_attributes),
    ):
        if wanted:
            options = _values(ClassifierOptions, config[rule])
            shown = train - max(1, int(train * options["validation_share"]))
            network = network_of("classifier", config) if rule == "classifier" else ""
            found.append(_steps(dataset, rule, what, 1, options, shown, network))
    if "mirrorgan" in config["models"]:
        options = _values(CaptionerOptions, config["captioner"])
        found.append(_steps(dataset, "captioner", "for mirrorgan", 1, options, train, ""))
    return found


def _costs_of_models(config: dict, dataset: str, train: int, checkpoint_bytes: dict[str, float]) -> list[Cost]:
    """Training and sampling of every model, by the further methods of retrieval too, and sampling of imported ones."""
    found, seeds = [], len(config["seeds"])
    made_as = engine_of("sample", config, dataset)
    for model in config["models"]:
        block = config["hyperparameters"][dataset][model]
        network = network_of("train", config, dataset, model)
        trained = _steps(dataset, "train", model, seeds, _values(TrainingOptions, block), train, network)
        size = checkpoint_bytes.get(network)
        trained = trained._replace(disk=None if size is None else seeds * size)
        found.append(trained._replace(engine=engine_of("train", config, dataset, model)))
        sizes = _values(ArchitectureOptions, block)
        disk = _image_bytes(config, dataset, sizes["base_size"] << (sizes["stages"] - 1))
        ways = [("sample", seeds)]
        if model == "mdsp" and config["retrieval"]:
            ways.append(("sample_retrieval", seeds * len(config["retrieval"])))
        for rule, jobs in ways:
            images = jobs * config["num_images"]
            found.append(Cost(dataset, rule, model, jobs, 0, images, network, images * disk, made_as))
    for name in _imported(config, dataset):  # sizes are read from the weights
        found.append(Cost(dataset, "sample_imported", name, 1, 0, config["num_images"], "", None))
    return found


def _image_bytes(config: dict, dataset: str, side: int) -> float:
    """Bytes of one test image of side px, as PNG, and once more where they are packed."""
    packed = sampling_block(config, dataset).get("packed", SamplingOptions.packed)
    return side * side * (_PNG_BYTES_PER_PIXEL + (3 if packed else 0))


def _imported(config: dict, dataset: str) -> list[str]:
    return [name for name, block in config["imported"].items() if block["dataset"] == dataset]


def _costs_of_evaluation(config: dict, dataset: str, test: int) -> list[Cost]:
    """Passes of the networks that measure images: of models, control rows and the reference."""
    passes = sum(rung != "species" for rung in rungs_of(config, dataset))
    if _values(DamsmOptions, config["damsm"])["image_encoder"] == "inception":
        passes += 1 + ("held_out_damsm" in config)
    what = f"{passes} Inception passes an image" if passes else "small networks"
    network = "inception 299" if passes else network_of("classifier", config)
    # The control rows: real and shuffled (a half each), nearest, noise, adversarial.
    controls = 2 * (test // 2) + 2 * test + min(test, _ADVERSARIAL_IMAGES)
    runs, imported = len(config["models"]) * len(config["seeds"]), len(_imported(config, dataset))
    retrieving = len(config["seeds"]) * len(config["retrieval"]) * ("mdsp" in config["models"])
    found, further = [], []
    for rule, jobs, images in (
        ("evaluate", runs + 2, runs * config["num_images"] + controls + test),  # the reference too
        ("evaluate_retrieval", retrieving, retrieving * config["num_images"]),
        ("evaluate_imported", 2 * imported, imported * (config["num_images"] + controls)),
    ):
        if not jobs:
            continue
        disk = images * passes * _FEATURE_BYTES
        found.append(Cost(dataset, rule, what, jobs, 0, images * max(passes, 1), network, disk))
        with_detector = "detector" in config and config["datasets"][dataset].get("source", "synthbirds") != "synthbirds"
        further += [
            Cost(dataset, rule, f"of these: {judge}", 0, 0, images, "", 0.0)
            for judge, asked in (("CLIP", "clip" in config), ("detector", with_detector))
            if asked
        ]
    return found + further


def hours(cost: Cost, rates: dict[tuple[str, str], Rate]) -> float | None:
    """Hours of a rule's jobs one after another by rates measured as configured; None where none was measured."""
    rate = rates.get((cost.stage, measured_name(cost.network, cost.engine)))
    return None if rate is None else cost.images / rate.images_per_second / 3600


def extrapolated(cost: Cost, rates: Iterable[dict[tuple[str, str], Rate]], tflops: float) -> float | None:
    """Hours by counted operations at an assumed speed, wherever these were counted; None for what is no network's.

    The plain network's operations are taken where they were counted, whatever engine is configured.
    """
    rates = list(rates)
    for name in (cost.network, measured_name(cost.network, cost.engine)):
        for each in rates:
            rate = each.get((cost.stage, name))
            if rate is not None and rate.gflop_per_image:
                return cost.images * rate.gflop_per_image / (1e3 * tflops) / 3600
    return None


def plan(configfile: Path, rates_file: Path, tflops: float) -> str:
    """The plan as text: a row a rule, totals, and what each column rests on."""
    if tflops <= 0:
        raise UserError(f"--tflops {tflops}: must be above 0")
    config, rates = read_configuration(configfile), read_rates(rates_file)
    sizes = {
        name.split("; ")[0]: rate.checkpoint_bytes for each in rates.values() for (_, name), rate in each.items()
        if rate.checkpoint_bytes
    }  # fmt: skip
    rows = costs(config, sizes)
    heads = [f"[{number}]" for number in range(1, len(rates) + 2)]
    table = [["data set", "rule", "what", "jobs", "steps", "images", *[f"h {head}" for head in heads], "GB"]]
    columns = [[hours(cost, each) for cost in rows] for each in rates.values()]
    columns.append([extrapolated(cost, rates.values(), tflops) for cost in rows])
    for number, cost in enumerate(rows):
        times = [_hours(column[number]) for column in columns]
        if cost.rule == "prepare":  # no network: there are no operations to extrapolate from
            times[-1] = "-"
        steps = f"{cost.steps:,}" if cost.steps else "-"
        disk = "?" if cost.disk is None else f"{cost.disk / 1e9:,.1f}" if cost.disk else "-"
        table.append(
            [cost.dataset, cost.rule, cost.what, f"{cost.jobs}", steps, f"{cost.images:,}", *times, disk]
        )  # fmt: skip
    timed = [cost.rule != "prepare" for cost in rows]
    columns[-1] = [value for value, of_network in zip(columns[-1], timed, strict=True) if of_network]
    sums = [_total(column, _hours) for column in columns]
    total = _total([cost.disk for cost in rows], lambda disk: f"{disk / 1e9:,.1f}")
    jobs = sum(cost.jobs for cost in rows)
    table.append(["total", "", "", f"{jobs}", f"{sum(cost.steps for cost in rows):,}", "", *sums, total])
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
    notes = [
        f"[{number}] measured on {device}, in batches of {_batches(each)} images"
        for number, (device, each) in enumerate(rates.items(), 1)
    ]
    notes.append(
        f"[{len(rates) + 1}] extrapolated: operations counted in the plain step at {tflops:g} TFLOP/s sustained, "
        "an assumption (--tflops), not a measurement"
    )
    if any("?" in row for row in table):
        notes.append(
            "?: no rate of this network run as configured, or no size. python -m benchmarks.rates --configfile FILE "
            "[--device cuda] measures models, encoders and species classifiers. Totals say at least where one is left "
            "out."
        )
    notes += [
        "Hours are of jobs one after another on one device; reading, PNG encoding, checkpoints and start-up are not in "
        "them, nor are imports, memorisation, tables and figures (minutes).",
        "GB: prepared images, encoded captions where trainings keep them, one checkpoint a training, images at 1.75 "
        "bytes a pixel (3 more where they are packed), float32 features of Inception.",
    ]
    return "\n".join([f"{configfile}, from nothing:", "", *map(str.rstrip, lines), "", *notes])


def _hours(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def _total(values: Iterable[float | None], write: Callable[[float], str]) -> str:
    """The sum of what is known, as a lower bound where something is not."""
    values = list(values)
    known = [value for value in values if value is not None]
    if not known:
        return "?"
    return write(sum(known)) if len(known) == len(values) else f"at least {write(sum(known))}"


def _batches(rates: dict[tuple[str, str], Rate]) -> str:
    """The sizes of batch that rates were measured at; the preparation has none."""
    return ", ".join(map(str, sorted({rate.batch for rate in rates.values() if rate.batch}))) or "0"
