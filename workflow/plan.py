"""Estimate the cost of a configuration before a run: steps, hours by measured rates, disk space.

python workflow/plan.py [--configfile FILE] [--rates FILE] [--tflops SPEED]
"""

import argparse
import csv
import dataclasses
import io
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))  # a script only finds modules in its own folder

from dmgan.data.sources.listing import files_under, is_image
from dmgan.errors import UserError
from dmgan.evaluation.networks.table import WITHOUT_INCEPTION
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
from dmgan.runtime.output import exit_at_closed_pipe
from dmgan.storage.reading import read_object, read_text
from workflow.configuration import (
    compares_retrieval,
    damsm_block,
    external_of,
    extractors_of,
    has_attributes,
    has_detector,
    has_probe,
    model_block,
    models_of,
    needs_captioner,
    read_configuration,
    sampling_block,
    source_of,
)

ROOT = Path(__file__).parent.parent
RATES = ROOT / "benchmarks" / "results" / "rates.csv"
_OVERSIZE = 76 / 64
_TRUNK_CHANNELS = 1280  # dmgan.text.efficientnet_lite.CHANNELS; that module imports torch
_PNG_BYTES_PER_PIXEL = 1.87  # photographs, png_level 1
_FEATURE_BYTES = 2048 * 4
_SNAPSHOT_SHARE = 1 / 4  # at most: a checkpoint also holds the generator's averages and Adam's two moments


class Cost(NamedTuple):
    """Cost of all jobs of a rule on a data set."""

    dataset: str
    rule: str  # the part before "_" is the stage in the table of rates
    what: str
    jobs: int
    steps: int  # of all jobs; 0 for jobs without steps
    images: int  # images that pass the network, over all jobs
    network: str  # name from `network_of`; "" if no rate is measured
    disk: float | None  # bytes; None if unknown
    engine: str = ""  # name from `engine_of`

    @property
    def stage(self) -> str:
        return self.rule.split("_")[0]


_FASTEST = 1_000_000  # TFLOP/s of no device
KEPT_CHECKPOINTS = 2  # of a run: dmgan.training.checkpoints.KEPT, which imports torch


class Rate(NamedTuple):
    """Measured rate of a network on a device."""

    images_per_second: float
    gflop_per_image: float
    checkpoint_bytes: float
    batch: int  # images per step


def read_rates(path: Path) -> dict[str, dict[tuple[str, str], Rate]]:
    """Read the table of `python -m benchmarks.rates` as {device: {(stage, `measured_name`): rate}}."""
    hint = "make it: python -m benchmarks.rates"
    text = read_text(path, hint)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        rates: dict[str, dict[tuple[str, str], Rate]] = {}
        for row in rows:
            rate = Rate(
                float(row["images_per_second"]), float(row["gflop_per_image"]), 1e6 * float(row["checkpoint_mb"]),
                int(row["batch"]),
            )  # fmt: skip
            device = f"{row['device']} (over {row['over']})"
            rates.setdefault(device, {})[row["stage"], row["network"]] = rate
            if not all(0 <= each < math.inf for each in rate) or not rate.images_per_second:
                raise ValueError(f"{row['network']}: a number is negative or not finite, or no image passes a second")
    except (csv.Error, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is not a table of rates ({error}); {hint}") from error
    return rates


def network_of(stage: str, config: dict, dataset: str = "", model: str = "") -> str:
    """Return the name of a stage's network, with the sizes that its speed depends on."""
    damsm = _values(DamsmOptions, config["damsm"])
    if stage == "pretrain":
        return f"{_image_encoder(damsm)}{', stored maps' if damsm['trunk_crops'] else ''}"
    if stage == "trunk":
        return f"{_image_encoder(damsm)}, trunk"
    if stage in ("classifier", "attributes"):
        options = _values(ClassifierOptions, config[stage])
        return f"classifier {options['image_size']} px, width {options['width']}"
    if stage == "captioner":
        options = _values(CaptionerOptions, config["captioner"])
        return f"captioner, {options['hidden_dim']} units, {_image_encoder(damsm)}"
    if stage == "evaluate":
        extractors = extractors_of(config, dataset)
        networks = [network_of("classifier", config)] if "species" in extractors else []
        networks += [each for each in extractors if each == "efficientnet-lite0"]
        networks.append(_image_encoder(damsm))
        return f"small networks: {', '.join(networks)}{', held-out' if 'held_out_damsm' in config else ''}"
    options = model_block(config, dataset, model)
    block = _values(ArchitectureOptions, options) | _values(TrainingOptions, options)
    sides = "/".join(str(block["base_size"] << stage) for stage in range(block["stages"]))
    widths = f"G {block['generator_width']}, D {block['discriminator_width']}, R {block['residual_blocks']}"
    augmented = "" if block["diff_augment"] == "none" else f", {block['diff_augment']}"
    return f"{model} {sides} px, {widths}, {_trunk(damsm)}{augmented}"


def _trunk(damsm: dict) -> str:
    """Return the name of the DAMSM's image encoder, with the side to which its trunk resizes images."""
    sized = damsm["image_encoder"] == "efficientnet-lite0"
    return f"{damsm['image_encoder']} {damsm['trunk_size']} px" if sized else damsm["image_encoder"]


def _image_encoder(damsm: dict) -> str:
    """Return the name of the DAMSM's image encoder with the side of its images."""
    sized = damsm["image_encoder"] == "efficientnet-lite0"
    of_trunk = f" (trunk {damsm['trunk_size']} px)" if sized else ""
    return f"{damsm['image_encoder']} {damsm['image_size']} px{of_trunk}"


def engine_of(stage: str, config: dict, dataset: str, model: str = "") -> str:
    """Return the engine options that a stage's speed depends on and that differ from the plain engine; "" for none."""
    if stage == "train":
        block = model_block(config, dataset, model)
        values, plain = (
            _values(EngineOptions, block) | {"gpus": block.get("gpus", 1)},
            {**vars(PLAIN_ENGINE), "gpus": 1},
        )
        elsewhere = ("cache_captions",)  # captions are encoded outside the step
    elif stage == "sample":
        return _sampling_engine(sampling_block(config, dataset))
    else:
        return ""
    return _engine_name(values, plain, elsewhere)


def _sampling_engine(block: dict) -> str:
    """Return the engine of sampling with the options of a block."""
    plain = vars(SamplingOptions(fused=False, channels_last=False))
    return _engine_name(_values(SamplingOptions, block), plain, ("batch_size", "workers", "packed", "png_level"))


def _engine_name(values: dict, plain: dict, elsewhere: tuple[str, ...]) -> str:
    """Return the options that differ from the plain ones, without those that do not change the speed."""
    other = {name: value for name, value in values.items() if value != plain[name] and name not in elsewhere}
    return ", ".join(
        name if value is True else value if name == "precision" else f"{name} {value}" for name, value in other.items()
    )


def measured_name(network: str, engine: str) -> str:
    """Return the name of a network and its engine in the table of rates."""
    return f"{network}; {engine}" if engine else network


def _values(kind: type, block: dict) -> dict[str, object]:
    """Return the defaults of an options class, updated with the values of a block."""
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    return fields | {name: value for name, value in block.items() if name in fields}


def image_counts(config: dict, dataset: str, results: Path = Path("results")) -> tuple[int, int]:
    """Return the numbers of training and test images: of the prepared data set, else as expected by its source."""
    prepared = results / "data" / dataset / "dataset.json"
    if prepared.exists():
        counts = read_object(prepared, "prepare the data set again", {"images": {"train": int, "test": int}})["images"]
        return counts["train"], counts["test"]
    source = source_of(config, dataset)
    return source.image_counts(source.options(config["datasets"][dataset]))


def costs(config: dict, checkpoint_bytes: dict[str, float]) -> list[Cost]:
    """Return the costs of all rules of a configuration, without existing results; checkpoint_bytes by network."""
    found = []
    for dataset in config["datasets"]:
        train, test = image_counts(config, dataset)
        found += _costs_of_preparation(config, dataset, train, test)
        found += _costs_of_scorers(config, dataset, train, test)
        found += _costs_of_models(config, dataset, train, checkpoint_bytes)
        found += _costs_of_evaluation(config, dataset, train, test)
    return found


def _costs_of_preparation(config: dict, dataset: str, train: int, test: int) -> list[Cost]:
    """Return the costs of preparing a data set, and of pretraining its encoders and held-out encoders."""
    source, side = source_of(config, dataset), int(config["datasets"][dataset].get("image_size", 64) * _OVERSIZE)
    stored = (train + test) * 3 * side * side * source.aspect
    prepare = Cost(dataset, "prepare", source.name, 1, 0, train + test, source.rate, stored)
    damsm, jobs = _values(DamsmOptions, damsm_block(config, dataset)), 1 + ("held_out_damsm" in config)
    what = "DAMSM" if jobs == 1 else "DAMSM and held-out DAMSM"
    shown = train - DamsmOptions(**damsm).held_out(train)
    pretrain = _steps(dataset, "pretrain", what, jobs, damsm, shown, network_of("pretrain", config))
    found = [prepare, pretrain._replace(disk=_encoded_captions_bytes(config, dataset, train))]
    if crops := damsm["trunk_crops"]:
        disk = 2.0 * train * crops * _TRUNK_CHANNELS * (damsm["trunk_size"] // 32) ** 2  # float16
        what = "the trunk's maps, in pretraining"
        found.append(Cost(dataset, "trunk", what, 0, 0, train * crops, network_of("trunk", config), disk))
    return found


def _encoded_captions_bytes(config: dict, dataset: str, train: int) -> float:
    """Return the bytes of captions that trainings with `cache_captions` store: float32, one set per `max_words`."""
    source = source_of(config, dataset)
    captions = config["datasets"][dataset].get("captions_per_image") or source.captions_per_image
    models = [model_block(config, dataset, model) for model in models_of(config, dataset)]
    limits = {_values(TrainingOptions, block)["max_words"] for block in models if block.get("cache_captions")}
    vectors = sum(min(limit, source.words_per_caption) + 1 for limit in limits)  # of the words and of the sentence
    return 4.0 * _values(DamsmOptions, config["damsm"])["embedding_dim"] * train * captions * vectors


def _steps(dataset: str, rule: str, what: str, jobs: int, options: dict, shown: int, network: str) -> Cost:
    """Return the cost of `jobs` trainings on `shown` images, in whole batches, for `options["epochs"]` epochs."""
    steps = jobs * options["epochs"] * (shown // options["batch_size"])
    return Cost(dataset, rule, what, jobs, steps, steps * options["batch_size"], network, 0.0)


def _costs_of_scorers(config: dict, dataset: str, train: int, test: int) -> list[Cost]:
    """Return the costs of the classifiers of evaluations, and of the captioner of some models' losses."""
    found = []
    for rule, what, wanted in (
        ("classifier", "species", "species" in extractors_of(config, dataset)),
        ("attributes", "attributes", has_attributes(config, dataset)),
    ):
        if wanted:
            options = _values(ClassifierOptions, config[rule])
            images = test if config[rule].get("classes") == "test" else train
            shown = images - max(1, int(images * options["validation_share"]))
            found.append(_steps(dataset, rule, what, 1, options, shown, network_of(rule, config)))
    if readers := list(filter(needs_captioner, models_of(config, dataset))):
        options, network = _values(CaptionerOptions, config["captioner"]), network_of("captioner", config)
        found.append(_steps(dataset, "captioner", f"for {', '.join(readers)}", 1, options, train, network))
    return found


def _costs_of_models(config: dict, dataset: str, train: int, checkpoint_bytes: dict[str, float]) -> list[Cost]:
    """Return the costs of training and sampling models, with all retrieval methods, and of sampling imported models."""
    found, seeds = [], len(config["seeds"])
    made_as = engine_of("sample", config, dataset)
    for model in models_of(config, dataset):
        block = model_block(config, dataset, model)
        network, options = network_of("train", config, dataset, model), _values(TrainingOptions, block)
        held_out = TrainingOptions(**options).held_out(train)
        trained = _steps(dataset, "train", model, seeds, options, train - held_out, network)
        snapshots = -(-trained.steps // seeds // options["evaluate_every"]) if held_out else 0
        size = checkpoint_bytes.get(network)
        disk = None if size is None else seeds * size * (KEPT_CHECKPOINTS + snapshots * _SNAPSHOT_SHARE)
        found.append(trained._replace(disk=disk, engine=engine_of("train", config, dataset, model)))
        if held_out:
            found += _costs_of_validation(config, dataset, model, snapshots, held_out)
        sizes = _values(ArchitectureOptions, block)
        disk = _image_bytes(config, dataset, sizes["base_size"] << (sizes["stages"] - 1))
        ways = [("sample", seeds)]
        if compares_retrieval(model) and config["retrieval"]:
            ways.append(("sample_retrieval", seeds * len(config["retrieval"])))
        for rule, jobs in ways:
            images = jobs * config["num_images"]
            found.append(Cost(dataset, rule, model, jobs, 0, images, network, images * disk, made_as))
    for name in _imported(config, dataset):  # sizes are unknown before the weights are read
        found.append(Cost(dataset, "sample_imported", name, 1, 0, config["num_images"], "", None))
    return found


def _costs_of_validation(config: dict, dataset: str, model: str, snapshots: int, held_out: int) -> list[Cost]:
    """Return the costs of measuring snapshots on held-out images; both are part of the training jobs."""
    what, runs = f"{model}, validation in training", len(config["seeds"])
    made = runs * snapshots * held_out
    sampled = Cost(dataset, "sample", what, 0, 0, made, network_of("train", config, dataset, model), 0.0)
    passes, network = _passes(config, dataset)
    measured = (made + runs * held_out) * max(passes, 1)  # with the held-out images
    return [
        sampled._replace(engine=_sampling_engine({})),
        Cost(dataset, "evaluate", what, 0, 0, measured, network, 0.0),
    ]


def _passes(config: dict, dataset: str) -> tuple[int, str]:
    """Return the Inception passes of an image in an evaluation, and the network whose rate counts."""
    passes = sum(extractor not in WITHOUT_INCEPTION for extractor in extractors_of(config, dataset))
    if _values(DamsmOptions, config["damsm"])["image_encoder"] == "inception":
        passes += 1 + ("held_out_damsm" in config)
    return passes, "inception 299" if passes else network_of("evaluate", config, dataset)


def _image_bytes(config: dict, dataset: str, side: int) -> float:
    """Return the bytes of one test image of `side` px: PNG, and 3 bytes per pixel more if images are packed."""
    packed = sampling_block(config, dataset).get("packed", SamplingOptions.packed)
    return side * side * (_PNG_BYTES_PER_PIXEL + (3 if packed else 0))


def _imported(config: dict, dataset: str) -> list[str]:
    return [name for name, block in config["imported"].items() if block["dataset"] == dataset]


def _costs_of_evaluation(config: dict, dataset: str, train: int, test: int) -> list[Cost]:
    """Return the costs of evaluating models, control rows, the reference and the linear probe's training images."""
    passes, network = _passes(config, dataset)
    what = f"{passes} Inception passes an image" if passes else "small networks"
    # The control rows: real and shuffled (a half each), nearest, noise, adversarial.
    controls = 2 * (test // 2) + 2 * test + min(test, config["adversarial_images"])
    models, imported = models_of(config, dataset), len(_imported(config, dataset))
    runs = len(models) * len(config["seeds"])
    retrieving = len(config["seeds"]) * len(config["retrieval"]) * sum(map(compares_retrieval, models))
    external = external_of(config, dataset)
    found, further, probe = [], [], int(has_probe(config, dataset))
    for rule, jobs, images in (
        ("evaluate", runs + 2 + probe, runs * config["num_images"] + controls + test + probe * train),
        ("evaluate_retrieval", retrieving, retrieving * config["num_images"]),
        ("evaluate_imported", 2 * imported, imported * (config["num_images"] + controls)),
        ("evaluate_external", len(external), sum(_external_images(config, name) for name in external)),
    ):
        if not jobs:
            continue
        disk = images * passes * _FEATURE_BYTES
        found.append(Cost(dataset, rule, what, jobs, 0, images * max(passes, 1), network, disk))
        further += [
            Cost(dataset, rule, f"of these: {scorer}", 0, 0, images, "", 0.0)
            for scorer, asked in (("CLIP", "clip" in config), ("detector", has_detector(config, dataset)))
            if asked
        ]
    return found + further


def _external_images(config: dict, name: str) -> int:
    """Return the number of images in the folder of an external method."""
    return sum(map(is_image, files_under(Path(config["external"][name]["images"]))))


def hours(cost: Cost, rates: dict[tuple[str, str], Rate]) -> float | None:
    """Return the hours of a rule's jobs in sequence, by the rate of network and engine; None if not measured."""
    rate = rates.get((cost.stage, measured_name(cost.network, cost.engine)))
    return None if rate is None else cost.images / rate.images_per_second / 3600


def extrapolated(cost: Cost, rates: Iterable[dict[tuple[str, str], Rate]], tflops: float) -> float | None:
    """Return the hours by counted operations at an assumed speed; None if no operations were counted.

    The operations of the plain network are used if counted, whatever engine is configured.
    """
    rates = list(rates)
    for name in (cost.network, measured_name(cost.network, cost.engine)):
        for each in rates:
            rate = each.get((cost.stage, name))
            if rate is not None and rate.gflop_per_image:
                return cost.images * rate.gflop_per_image / (1e3 * tflops) / 3600
    return None


def plan(configfile: Path, rates_file: Path, tflops: float) -> str:
    """Return the plan as text: one row per rule, totals, and notes on the columns."""
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
        if cost.rule == "prepare":  # no network, so no operations to extrapolate from
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
            "?: no measured rate of this network and engine, or no size. python -m benchmarks.rates --configfile FILE "
            "[--device cuda] measures them, except models that read loss networks or retrieved features. A total that "
            'leaves out unknown values is marked "at least".'
        )
    notes += [
        "Hours are of jobs in sequence on one device, without reading, PNG encoding, checkpoints and start-up, and "
        "without imports, memorisation, tables and figures (minutes).",
        "GB: prepared images, encoded captions if trainings store them, two checkpoints per training and at most a "
        "quarter of it for each snapshot of evaluate_every, images at 1.87 bytes per pixel (3 more if packed), float32 "
        "features of Inception.",
    ]
    return "\n".join([f"{configfile}, from nothing:", "", *map(str.rstrip, lines), "", *notes])


def _hours(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def _total(values: Iterable[float | None], write: Callable[[float], str]) -> str:
    """Return the sum of the known values, as a lower bound if a value is unknown."""
    values = list(values)
    known = [value for value in values if value is not None]
    if not known:
        return "?"
    return write(sum(known)) if len(known) == len(values) else f"at least {write(sum(known))}"


def _batches(rates: dict[tuple[str, str], Rate]) -> str:
    """Return the batch sizes that rates were measured at; rates of the preparation have no batch size."""
    return ", ".join(map(str, sorted({rate.batch for rate in rates.values() if rate.batch}))) or "0"


def _speed(text: str) -> float:
    """Return a speed in TFLOP/s."""
    speed = float(text)
    if not 0 < speed < _FASTEST:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0 and below {_FASTEST:,}")
    return speed


_speed.__name__ = "float"  # named in argparse's message for other text


def main(arguments: list[str] | None = None) -> int:
    """Print the plan of a configuration; print a UserError as one line on standard error and return 1."""
    parser = argparse.ArgumentParser(prog="python workflow/plan.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--configfile", type=Path, default=Path("workflow/config/config.yaml"),
        help="configuration to estimate (default workflow/config/config.yaml)",
    )  # fmt: skip
    parser.add_argument(
        "--rates", type=Path, default=RATES, help="table of measured rates (default benchmarks/results/rates.csv)"
    )
    parser.add_argument(
        "--tflops", type=_speed, default=40.0,
        help="assumed sustained speed of the device in the extrapolated column, TFLOP/s (default 40)",
    )  # fmt: skip
    with exit_at_closed_pipe():
        given = parser.parse_args(arguments)
        try:
            print(plan(given.configfile, given.rates, given.tflops))
        except UserError as error:
            print(f"plan: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
