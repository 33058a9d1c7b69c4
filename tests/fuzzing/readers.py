"""Table of all functions that read files of unknown origin, with valid files and mutations of them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from torch import nn

from dmgan.data import vocabulary
from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.caption_files import read_caption_file
from dmgan.data.sources.coco import list_coco
from dmgan.data.sources.cub import list_cub
from dmgan.data.sources.folder import list_folder
from dmgan.data.sources.listing import caption_lines, read_lines
from dmgan.data.sources.photographs import read_photograph
from dmgan.errors import UserError
from dmgan.evaluation.captions_file import Faults, read_captions_file
from dmgan.evaluation.feature_store import Rows
from dmgan.evaluation.image_sets import ImageFiles, sampled_images
from dmgan.evaluation.memorisation import read_memorisation
from dmgan.evaluation.networks.attributes import TrainedAttributes
from dmgan.evaluation.networks.bird_inception import read_variables
from dmgan.evaluation.networks.classifier import TrainedClassifier
from dmgan.evaluation.networks.linear_probe import FittedProbe
from dmgan.evaluation.networks.reference_statistics import ReferenceStatistics
from dmgan.evaluation.paired_comparison import check_pairs, read_per_image
from dmgan.report.figures.validation_curves import read_curves
from dmgan.report.literature.published import read_published
from dmgan.report.results import read_measured
from dmgan.report.tables.own_claims import read_comparisons
from dmgan.report.verify import verify
from dmgan.sampling.generate import read_captions
from dmgan.sampling.image_folder import was_sampled
from dmgan.sampling.trained_model import load_run
from dmgan.storage import reading
from dmgan.storage.downloads import Asset, fetch, read_part_state
from dmgan.storage.npy import open_array
from dmgan.storage.plain_pickle import load_plain_pickle
from dmgan.storage.png import read_png
from dmgan.storage.weights import check_weights, load_weights, read_state_dict
from dmgan.text.captioner import TrainedCaptioner
from dmgan.text.damsm import Damsm
from dmgan.training.checkpoints import Checkpoint
from tests.conftest import CPU
from tests.fuzzing import mutations
from tests.fuzzing.mutations import Mutation
from workflow.configuration import read_configuration
from workflow.costs import image_counts
from workflow.rates import read_rates

_HINT = "make it again"
_ASSET = Asset("a", "a.bin", "a file", "https://example.org/a.bin", "https://example.org", "any", "ask")


@dataclass(frozen=True)
class Reader:
    """A function that reads a file, and how the file is made wrong.

    read: takes a path; it may only raise an exception of `refusals`. file: the valid file, below the folder of the
    seeds; the files beside it stay valid. covers: further functions that `read` calls. weight: share of the inputs that
    a run of all readers tries, for slow readers.
    """

    read: Callable[[Path], object]
    file: str
    mutate: Mutation
    refusals: tuple[type[Exception], ...] = (UserError,)
    covers: tuple[Callable, ...] = ()
    weight: float = 1.0


class _SmallExtractor:
    """Name and widths of an extractor, for the statistics of its features."""

    name, widths = "small", {"features": 16}


def _read_prepared(file: Path) -> None:
    """Open a prepared data set without comparing hashes, as if its hashes had been made to fit, and use all of it."""
    dataset = PreparedDataset(file.parent, check=False)
    for index in chain(dataset.indices("train"), dataset.indices("test")):
        dataset.image(index), dataset.name(index), dataset.attributes(index)
        for caption in range(dataset.caption_count(index)):
            dataset.tokens(index, caption), dataset.caption(index, caption)
    _ = dataset.name_of_set, dataset.has_classes, dataset.image_size, dataset.published_set, dataset.sha256


def _list_cub(file: Path) -> None:
    folder = next(each for each in file.parents if each.name == "cub")
    list_cub(folder / "CUB_200_2011", folder / "birds")


def _read_per_image(file: Path) -> None:
    values = read_per_image(file.parent / "metrics.json")
    check_pairs([values, values])
    _ = values.compared


def _load_checkpoint(file: Path) -> None:
    checkpoint = Checkpoint(file.parent, "dmgan", "f" * 64)
    checkpoint.set_aside(10)
    if (saved := checkpoint.load()) is not None:
        checkpoint.require(["model", "rng"], saved["state"])


def _load_linear(file: Path) -> None:
    load_weights(nn.Linear(2, 3), file, _HINT)


def _read_rows(file: Path) -> None:
    rows = Rows(file)
    rows.take(np.arange(len(rows)))


def _sampled(file: Path) -> None:
    was_sampled(file.parent)
    images = sampled_images(file.parent, PreparedDataset(file.parents[2] / "data", check=False))
    images.read(0)


def _plan(file: Path) -> None:
    config = read_configuration(file)
    for dataset in config["datasets"]:
        image_counts(config, dataset, file.parent)


READERS: dict[str, Reader] = {
    # storage
    "text": Reader(lambda file: reading.read_text(file, _HINT), "texts/captions.txt", mutations.LINES,
                   covers=(reading.read_regular_file, reading.decode_text)),
    "JSON": Reader(lambda file: reading.read_json(file, _HINT), "evaluated/metrics.json", mutations.BYTES,
                   covers=(reading.parse_json, reading.read_object)),
    "YAML": Reader(lambda file: reading.read_yaml(file, _HINT), "texts/anchors.yaml", mutations.BYTES),
    "pickle": Reader(load_plain_pickle, "texts/captions.pickle", mutations.PICKLE),
    "safetensors": Reader(lambda file: check_weights(file, _HINT), "attributes/classifier.safetensors",
                          mutations.SAFETENSORS),
    "state dict": Reader(read_state_dict, "attributes/linear.pth", mutations.ZIP),
    "PNG": Reader(read_png, "images/a.png", mutations.BYTES, refusals=(OSError, SyntaxError, ValueError)),
    "origin of a download": Reader(lambda file: fetch(_ASSET, file.parent), "fetched/a.bin.origin.json",
                                   mutations.JSON),
    "partial download": Reader(lambda file: read_part_state(file, _ASSET.url), "fetched/a.bin.part.json",
                               mutations.JSON),
    # data
    **{
        f"photograph, {kind}": Reader(lambda file: read_photograph(file, (1, 2, 9, 9), 19), f"images/a.{kind}",
                                      mutations.BYTES, refusals=())
        for kind in ("png", "jpg", "gif", "tiff", "webp", "ppm", "bmp")
    },
    "list, JSON lines": Reader(read_caption_file, "lists/rows.jsonl", mutations.JSON_LINES),
    "list, CSV": Reader(read_caption_file, "lists/rows.csv", mutations.LINES),
    "list, Flickr": Reader(read_caption_file, "lists/rows.token", mutations.LINES),
    "list, Karpathy": Reader(read_caption_file, "lists/rows.json", mutations.JSON),
    "folder": Reader(lambda file: list_folder(file.parent, file), "lists/rows.jsonl", mutations.JSON_LINES,
                     covers=(read_lines,)),
    "captions of an image": Reader(caption_lines, "texts/captions.txt", mutations.LINES),
    "COCO": Reader(lambda file: list_coco(file.parents[1]), "coco/annotations/captions_train2014.json", mutations.JSON),
    **{
        f"CUB, {Path(name).name}": Reader(_list_cub, f"cub/{name}", mutation, weight=0.5)
        for name, mutation in {
            "CUB_200_2011/images.txt": mutations.LINES, "CUB_200_2011/image_class_labels.txt": mutations.LINES,
            "CUB_200_2011/bounding_boxes.txt": mutations.LINES, "birds/train/filenames.pickle": mutations.PICKLE,
            "birds/train/class_info.pickle": mutations.PICKLE,
        }.items()
    },
    "vocabulary": Reader(vocabulary.Vocabulary.read, "data/vocabulary.json", mutations.JSON),
    "released vocabulary": Reader(vocabulary.read_vocabulary, "texts/captions.pickle", mutations.PICKLE),
    **{
        f"prepared data set, {name}": Reader(_read_prepared, f"data/{name}", mutation)
        for name, mutation in {
            "dataset.json": mutations.JSON, "captions.json": mutations.JSON, "vocabulary.json": mutations.JSON,
            "index.npz": mutations.NPZ,
        }.items()
    },
    # networks and runs
    "encoders": Reader(lambda file: Damsm.read(file.parent), "damsm/options.json", mutations.JSON, weight=0.3),
    "captioner": Reader(lambda file: TrainedCaptioner.read(file.parent, Damsm.read(file.parents[1] / "damsm"), CPU),
                        "captioner/options.json", mutations.JSON, weight=0.3),
    "classifier": Reader(lambda file: TrainedClassifier.read(file.parent, CPU), "classifier/options.json",
                         mutations.JSON, weight=0.3),
    "linear probe": Reader(lambda file: FittedProbe.read(file.parent, CPU), "probe/options.json", mutations.JSON,
                           weight=0.3),
    "attribute classifier": Reader(lambda file: TrainedAttributes.read(file.parent, CPU), "attributes/options.json",
                                   mutations.JSON, weight=0.3),
    "training run": Reader(lambda file: load_run(file.parent, CPU), "run/options.json", mutations.JSON, weight=0.3),
    "weights of a network": Reader(_load_linear, "attributes/linear.safetensors", mutations.SAFETENSORS),
    "checkpoint": Reader(_load_checkpoint, "checkpoint/checkpoint.pt", mutations.ZIP),
    "sampled images": Reader(_sampled, "sampled/images/manifest.json", mutations.JSON, weight=0.5),
    "own captions": Reader(read_captions, "texts/captions.txt", mutations.LINES),
    # evaluation
    "image of a set": Reader(lambda file: ImageFiles([file], 24, _HINT)(0), "images/a.png", mutations.BYTES),
    "captions of own images": Reader(lambda file: read_captions_file(file, Faults()), "texts/captions.jsonl",
                                     mutations.JSON_LINES),
    "stored features": Reader(_read_rows, "evaluated/features.npy", mutations.NPY),
    "mapped array": Reader(open_array, "evaluated/features.npy", mutations.NPY, refusals=(OSError, ValueError)),
    "FID statistics": Reader(lambda file: ReferenceStatistics.read(file, _SmallExtractor()),
                             "evaluated/statistics.npz", mutations.NPZ),
    "variables of a checkpoint": Reader(read_variables, "evaluated/statistics.npz", mutations.NPZ),
    "per-image values": Reader(_read_per_image, "evaluated/per_image.npz", mutations.NPZ),
    "metrics of per-image values": Reader(_read_per_image, "evaluated/metrics.json", mutations.JSON),
    # report
    "metrics": Reader(lambda file: read_measured([file]), "evaluated/metrics.json", mutations.JSON),
    "memorisation": Reader(read_memorisation, "evaluated/memorisation.json", mutations.JSON),
    "published numbers": Reader(read_published, "texts/published.csv", mutations.LINES),
    "comparisons": Reader(read_comparisons, "texts/comparisons.csv", mutations.LINES),
    "validation metrics": Reader(lambda file: read_curves(file.parent), "run/validation.csv", mutations.LINES),
    "options of validation metrics": Reader(lambda file: read_curves(file.parent), "run/options.json", mutations.JSON),
    "verified table": Reader(lambda file: list(verify(file.parent)), "evaluated/measures.csv", mutations.LINES,
                             weight=0.1),
    "verified metrics": Reader(lambda file: list(verify(file.parent)), "evaluated/metrics.json", mutations.JSON,
                               weight=0.1),
    "verified run": Reader(lambda file: list(verify(file.parent)), "run/options.json", mutations.JSON, weight=0.1),
    "verified images": Reader(lambda file: list(verify(file.parent)), "sampled/images/manifest.json", mutations.JSON,
                              weight=0.1),
    # workflow
    "configuration": Reader(_plan, "texts/smoke.yaml", mutations.YAML, weight=0.05),
    "prepared data set of a plan": Reader(
        lambda file: image_counts({"datasets": {"birds": {"source": "synthbirds"}}}, "birds", file.parents[2]),
        "planned/data/birds/dataset.json", mutations.JSON),
    "rates": Reader(read_rates, "texts/rates.csv", mutations.LINES),
}  # fmt: skip

# Functions that read files and are not reached from the table, with the reason.
_OF_READER = "calls a reader of the table and uses nothing but its text"
_OF_WEIGHTS = "reads weights by the readers of safetensors or state dicts, then compares names and shapes"
_OF_LARGE_NETWORK = "reads a state dict, then builds a network that takes seconds"
_OF_PROJECT = "reads a file of the project itself, or of the system"
_OF_REPORT = "reads tables and records of this project's own results folder, for a page or a figure"
_OF_OWN_OUTPUT = "reads an object of the job's own unfinished folder and compares it"
NOT_TRIED = {
    "dmgan/api:evaluate": "returns the metrics.json that it has just written",
    "dmgan/data/prepare:_complete_lines": _OF_OWN_OUTPUT,
    "dmgan/data/prepare:_resume_or_start": _OF_OWN_OUTPUT,
    "dmgan/data/sources/cub:_split_by_species": _OF_READER,
    "dmgan/data/sources/folder:_is_list": _OF_READER,
    "dmgan/evaluation/controls:adversarial_images": _OF_OWN_OUTPUT,
    "dmgan/evaluation/evaluate:measure": "refuses an altered options.json before it measures, and uses nothing of it",
    "dmgan/evaluation/feature_store:_has_array": _OF_OWN_OUTPUT,
    "dmgan/evaluation/feature_store:_read_manifest": _OF_OWN_OUTPUT,
    "dmgan/evaluation/networks/base:read_weights": _OF_WEIGHTS,
    "dmgan/evaluation/networks/clip:_read_clip": _OF_LARGE_NETWORK,
    "dmgan/evaluation/networks/detector:network_with": _OF_LARGE_NETWORK,
    "dmgan/evaluation/networks/inception_birds:read": _OF_LARGE_NETWORK,
    "dmgan/evaluation/validation:_images": _OF_WEIGHTS,
    "dmgan/models/new_model:_check_name": _OF_PROJECT,
    "dmgan/models/new_model:write_model": _OF_PROJECT,
    "dmgan/models/vgg:vgg16": _OF_LARGE_NETWORK,
    "dmgan/report/verify:_features": _OF_OWN_OUTPUT,
    "dmgan/report/verify:_recorded_hashes": _OF_READER,
    "dmgan/runtime/threads:_quota": _OF_PROJECT,
    "dmgan/sampling/image_folder:_read_inputs": _OF_OWN_OUTPUT,
    "dmgan/text/caption_cache:__init__": _OF_OWN_OUTPUT,
    "dmgan/text/caption_cache:_is_whole": _OF_OWN_OUTPUT,
    "dmgan/text/efficientnet_lite:load_imagenet_weights": _OF_LARGE_NETWORK,
    "dmgan/text/trunk_maps:__init__": _OF_OWN_OUTPUT,
    "dmgan/text/trunk_maps:_is_whole": _OF_OWN_OUTPUT,
    "dmgan/training/import_released:_image_encoder": _OF_LARGE_NETWORK,
    "dmgan/training/import_released:_refuse_training": _OF_READER,
    "dmgan/training/import_released:_text_encoder": _OF_WEIGHTS,
    "dmgan/training/import_released:import_released": _OF_WEIGHTS,
    "dmgan/training/loop:_clear_failure": _OF_OWN_OUTPUT,
    "dmgan/training/mlflow_run:_recorded": _OF_OWN_OUTPUT,
    "dmgan/training/pretrain_damsm:_load_inception": _OF_LARGE_NETWORK,
    "workflow/slurm:require_plugin": _OF_PROJECT,
    "dmgan/training/train:_select_weights": _OF_WEIGHTS,
    "dmgan/evaluation/mlflow_scores:_config_of": _OF_READER,
    "dmgan/inspection/nearest:_was_trained_on": _OF_READER,
    "dmgan/inspection/playground:_read_vocabulary": _OF_READER,
    "dmgan/inspection/runs:_model": _OF_READER,
    "dmgan/report/checklist:__init__": _OF_REPORT,
    "dmgan/report/checklist:_options_of": _OF_REPORT,
    "dmgan/report/figures/records:_read_run": _OF_REPORT,
    "dmgan/report/figures/records:_read_seconds": _OF_REPORT,
    "dmgan/report/figures/step_grids:_panel": _OF_WEIGHTS,
    "dmgan/report/page/comparisons:read_table": _OF_REPORT,
    "dmgan/report/page/failures:_failed_trainings": _OF_REPORT,
    "dmgan/report/page/figures:encode": _OF_REPORT,
    "dmgan/report/page/html:_css": _OF_PROJECT,
    "dmgan/report/page/run_facts:_jobs_of": _OF_REPORT,
    "dmgan/report/page/run_facts:read_dataset": _OF_REPORT,
    "dmgan/report/page/run_facts:read_records": _OF_REPORT,
    "dmgan/report/tables/retrieval:retrieval_files": _OF_REPORT,
    "dmgan/report/verify_tables:_as_compared": _OF_REPORT,
    "dmgan/runtime/bibliography:references": _OF_PROJECT,
    "dmgan/sampling/hub:self_contained_copy": _OF_READER,
    "dmgan/training/model_card:_dataset": _OF_READER,
    "dmgan/training/model_card:_evaluation": _OF_READER,
    "dmgan/training/model_card:model_card": _OF_READER,
    "workflow/slurm:slurm_flags": _OF_READER,
}
