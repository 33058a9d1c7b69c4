"""Costs of all rules of a configuration: jobs, steps, images and disk space."""

from pathlib import Path
from typing import NamedTuple

from dmgan.data.sources.listing import files_under, is_image
from dmgan.evaluation.networks.table import WITHOUT_INCEPTION
from dmgan.options import (
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmOptions,
    SamplingOptions,
    TrainingOptions,
)
from dmgan.storage.reading import read_object
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
    sampling_block,
    source_of,
)
from workflow.rates import engine_of, network_of, sampling_engine, values_of

KEPT_CHECKPOINTS = 2  # of a run: dmgan.training.checkpoints.KEPT, which imports torch
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
    damsm, jobs = values_of(DamsmOptions, damsm_block(config, dataset)), 1 + ("held_out_damsm" in config)
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
    limits = {values_of(TrainingOptions, block)["max_words"] for block in models if block.get("cache_captions")}
    vectors = sum(min(limit, source.words_per_caption) + 1 for limit in limits)  # of the words and of the sentence
    return 4.0 * values_of(DamsmOptions, config["damsm"])["embedding_dim"] * train * captions * vectors


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
            options = values_of(ClassifierOptions, config[rule])
            images = test if config[rule].get("classes") == "test" else train
            shown = images - max(1, int(images * options["validation_share"]))
            found.append(_steps(dataset, rule, what, 1, options, shown, network_of(rule, config)))
    if readers := list(filter(needs_captioner, models_of(config, dataset))):
        options, network = values_of(CaptionerOptions, config["captioner"]), network_of("captioner", config)
        found.append(_steps(dataset, "captioner", f"for {', '.join(readers)}", 1, options, train, network))
    return found


def _costs_of_models(config: dict, dataset: str, train: int, checkpoint_bytes: dict[str, float]) -> list[Cost]:
    """Return the costs of training and sampling models, with all retrieval methods, and of sampling imported models."""
    found, seeds = [], len(config["seeds"])
    made_as = engine_of("sample", config, dataset)
    for model in models_of(config, dataset):
        block = model_block(config, dataset, model)
        network, options = network_of("train", config, dataset, model), values_of(TrainingOptions, block)
        held_out = TrainingOptions(**options).held_out(train)
        trained = _steps(dataset, "train", model, seeds, options, train - held_out, network)
        snapshots = -(-trained.steps // seeds // options["evaluate_every"]) if held_out else 0
        size = checkpoint_bytes.get(network)
        disk = None if size is None else seeds * size * (KEPT_CHECKPOINTS + snapshots * _SNAPSHOT_SHARE)
        found.append(trained._replace(disk=disk, engine=engine_of("train", config, dataset, model)))
        if held_out:
            found += _costs_of_validation(config, dataset, model, snapshots, held_out)
        sizes = values_of(ArchitectureOptions, block)
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
        sampled._replace(engine=sampling_engine({})),
        Cost(dataset, "evaluate", what, 0, 0, measured, network, 0.0),
    ]


def _passes(config: dict, dataset: str) -> tuple[int, str]:
    """Return the Inception passes of an image in an evaluation, and the network whose rate counts."""
    passes = sum(extractor not in WITHOUT_INCEPTION for extractor in extractors_of(config, dataset))
    if values_of(DamsmOptions, config["damsm"])["image_encoder"] == "inception":
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
