"""Evaluation of an image set: compute the features of all extractors, then all metrics, and write metrics.json."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.controls import control_images
from dmgan.evaluation.external_images import NO_REFERENCE, OwnImages, read_external_images, reference_images
from dmgan.evaluation.feature_store import StoredFeatures, extract
from dmgan.evaluation.free_captions import FreeCaptions
from dmgan.evaluation.image_sets import ALL_TEST_IMAGES, ImageSet, RealImageSet, real_test_images, sampled_images
from dmgan.evaluation.metrics.base import Measurement, Metric, Result
from dmgan.evaluation.metrics.table import metrics
from dmgan.evaluation.mlflow_scores import log_to_mlflow
from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor
from dmgan.evaluation.networks.loaded import EvaluationNetworks, NetworkFiles
from dmgan.evaluation.networks.table import read_extractors
from dmgan.evaluation.paired_comparison import IMAGES_SHA256, METRICS, PER_IMAGE, VALUE, beside
from dmgan.evaluation.run_of_images import run_of
from dmgan.evaluation.statistics.folds import FOLDS
from dmgan.options import EvaluationOptions
from dmgan.runtime.cost import Cost
from dmgan.runtime.device import worker_count
from dmgan.runtime.progress import log
from dmgan.runtime.provenance import provenance
from dmgan.storage import files
from dmgan.storage.seals import write_sealed_json
from dmgan.text.damsm import VOCABULARY
from dmgan.training.model_card import write_model_card
from dmgan.training.run_folder import OPTIONS

SCHEMA = 2
REFERENCE = "reference.json"


def measure_reference(
    *,
    data: Path,
    extractors: tuple[str, ...],
    networks: ExtractorInputs,
    out: Path,
    options: EvaluationOptions,
) -> None:
    """Write the features of all real test images into the folder `out`, for every evaluation on this data set.

    networks: files and device of the extractors.
    """
    cost, dataset = Cost(networks.device), PreparedDataset(data)
    read = read_extractors(extractors, networks)
    stored = _features_of(real_test_images(dataset, out), list(read.values()), options, networks.device)
    content = {
        "data": dataset.sha256,
        "images": len(dataset.indices("test")),
        "images_sha256": {name: stored[name].images_sha256 for name in extractors},
        "networks": {name: stored[name].protocol for name in extractors},
        "provenance": provenance(cost.measured()),
    }
    write_sealed_json(Path(out) / REFERENCE, content)


def _features_of(
    real: RealImageSet, extractors: list[FeatureExtractor], options: EvaluationOptions, device: torch.device
) -> dict[str, StoredFeatures]:
    """Return the features of real images; compute missing features."""
    workers = worker_count(options.workers, device, on_cpu=0)
    return extract(real.read, len(real.numbers), extractors, real.features, device, options.batch_size, workers)


class Evaluator:
    """Networks and metrics of an evaluation, loaded once for several image sets."""

    def __init__(
        self,
        dataset: PreparedDataset | FreeCaptions,
        real: RealImageSet | None,
        network_files: NetworkFiles,
        options: EvaluationOptions,
        device: torch.device,
        mlflow: str | None,
    ):
        """dataset: whose captions the images belong to; real: the images to compare with (None: only metrics without).

        Raise UserError if no metric can be computed.
        """
        self.dataset, self.options, self.device, self._mlflow = dataset, options, device, mlflow
        self._real, self._damsm_folder = real, network_files.damsm
        self.networks = EvaluationNetworks.read(network_files, dataset, device)
        every = [each for kind in metrics().values() for each in kind.build(self.networks)]
        self.metrics: list[Metric] = [each for each in every if real is not None or not each.reads_reference]
        if not self.metrics:
            raise UserError(
                "no metric can be computed from these images alone; give real images (--reference or --data), an "
                "extractor with an Inception Score (--extractors inception-tf), or captions and an encoder of captions"
            )

    def sampled(self, folder: Path) -> ImageSet:
        """Return the images that `sample` wrote; raise UserError if DAMSM and generator have different vocabularies."""
        if self.networks.damsm is None:
            raise UserError(f"{folder}: was written by sample; give --damsm, the encoders of its model")
        subject = sampled_images(folder, self.dataset)
        if subject.inputs["vocabulary_sha256"] != self.networks.damsm.sha256[VOCABULARY]:
            raise UserError(
                f"{folder}: was sampled from captions in another vocabulary than that of {self._damsm_folder}; "
                "give the encoders of the model that made the images"
            )
        return subject

    def control(self, name: str, folder: Path) -> ImageSet:
        """Return the image set of a control row; adversarial images are stored in `folder`."""
        size, options = self.dataset.image_size, self.options
        return control_images(name, self.dataset, self.networks.damsm, size, options, folder, self.device)

    def measure(self, subject: ImageSet, out: Path) -> None:
        """Evaluate an image set and write metrics.json to `out`, with features/ and per_image.npz in the same folder.

        If `out` is another NAME.json, these are NAME.features/ and NAME.per_image.npz.
        """
        cost = Cost(self.device)
        if len(subject) < 2 * FOLDS:
            raise UserError(f"{subject.name}: {len(subject)} images do not make ten folds; give at least {2 * FOLDS}")
        keys = {metric: metric.key_of(subject) for metric in self.metrics}
        measured = {key: metric for metric, key in keys.items() if key is not None}
        if not measured:
            raise UserError(f"{subject.name}: these images were made for SOA (sample --soa); give --detector-weights")
        out = Path(out)
        run = run_of(out, subject.inputs.get("generator_sha256"))
        if run is not None:
            files.read_json(run / OPTIONS, "train it again")  # the model card and MLflow need it after the measurement
        measurement = self._measurement(subject, out, list(measured.values()))
        computed = {key: _computed(metric, measurement) for key, metric in measured.items()}
        results = {key: result for key, result in computed.items() if result is not None}
        if subject.kind != "control":  # control rows also list undefined metrics, as null
            computed = results
        _check_finite(results, subject.name)
        first = next(iter(measurement.stored.values()))
        inputs = {**subject.inputs, IMAGES_SHA256: first.images_sha256, "data": self.dataset.sha256}
        _write_per_image(beside(out, PER_IMAGE), measurement, results, first.images_sha256)
        content = {
            "schema": SCHEMA,
            "subject": _describe(subject, self.dataset),
            "metrics": {key: None if result is None else _as_json(result) for key, result in computed.items()},
            "inputs": inputs,
            **_places(subject, out),
            "device": self.device.type,  # affects rounding only: recorded, but tables do not require equal devices
            "provenance": provenance(cost.measured()),
        }
        write_sealed_json(out, content, [beside(out, PER_IMAGE).name])
        for key, result in results.items():
            low, high = result.score.interval
            log(f"{subject.name}: {key} {result.score.value:.4g}  ({low:.4g} to {high:.4g})")
        if run is not None:
            write_model_card(run)
        log_to_mlflow(self._mlflow, out, subject, self.dataset, content)

    def _measurement(self, subject: ImageSet, out: Path, metrics: Sequence[Metric]) -> Measurement:
        """Compute the features of the subject and of the reference by every extractor that a metric reads."""
        options, workers = self.options, worker_count(self.options.workers, self.device, on_cpu=0)
        extractors = _extractors_of(metrics)
        folder = beside(out, "features")
        stored = extract(subject.read, len(subject), extractors, folder, self.device, options.batch_size, workers)
        real, chosen = {}, np.arange(0)
        if compared := _extractors_of([metric for metric in metrics if metric.reads_reference]):
            real = _features_of(self._real, compared, options, self.device)
            chosen = np.searchsorted(self._real.numbers, subject.reference)
        return Measurement(subject, self.dataset, options, stored, real, chosen)


class ComparedWith(NamedTuple):
    """Real images that a folder of images is compared with; without any, only metrics that need none are computed."""

    data: Path | None = None  # prepared data set: its test images, unless `reference` is given, and its captions
    reference: Path | None = None  # folder of real images
    features: Path | None = None  # folder that stores the real images' features (default: reference/ beside the result)


def evaluate_folder(
    *,
    images: OwnImages,
    compared_with: ComparedWith,
    network_files: NetworkFiles,
    out: Path,
    options: EvaluationOptions,
    device: torch.device,
    mlflow: str | None = None,
) -> None:
    """Measure a folder of images of any program and write metrics.json to `out`, as `evaluate` does."""
    dataset = None if compared_with.data is None else PreparedDataset(compared_with.data)
    features = compared_with.features or Path(out).parent / "reference"
    real, title = None, NO_REFERENCE
    if compared_with.reference is not None:
        folder = Path(compared_with.reference)
        real, title = reference_images(folder, features), f"all images of {folder.resolve().name}"
    elif dataset is not None:
        real, title = real_test_images(dataset, features), ALL_TEST_IMAGES
    subject, captions = read_external_images(images, dataset, real, title)
    if (subject.captions < 0).all():
        network_files = network_files.without_scorers_of_captions()
    Evaluator(captions, real, network_files, options, device, mlflow).measure(subject, out)


def evaluate(
    *,
    images: Path,
    data: Path,
    network_files: NetworkFiles,
    reference: Path | None,
    out: Path,
    options: EvaluationOptions,
    device: torch.device,
    mlflow: str | None = None,
) -> None:
    """Measure a folder of sampled images and write metrics.json to `out`.

    Features of the images are stored in features/ in the same folder (NAME.features/ if `out` is another NAME.json),
    features of the real images in `reference` (default: reference/ in the same folder).
    """
    dataset = PreparedDataset(data)
    real = real_test_images(dataset, reference or Path(out).parent / "reference")
    evaluator = Evaluator(dataset, real, network_files, options, device, mlflow)
    evaluator.measure(evaluator.sampled(images), out)


def evaluate_controls(
    *,
    controls: Sequence[str],
    data: Path,
    network_files: NetworkFiles,
    reference: Path | None,
    out: Path,
    options: EvaluationOptions,
    device: torch.device,
    mlflow: str | None = None,
) -> None:
    """Measure control rows and write OUT/CONTROL/metrics.json; the networks are loaded once."""
    dataset = PreparedDataset(data)
    real = real_test_images(dataset, reference or Path(out) / "reference")
    evaluator = Evaluator(dataset, real, network_files, options, device, mlflow)
    for control in controls:
        folder = Path(out) / control
        evaluator.measure(evaluator.control(control, folder), folder / METRICS)


def _extractors_of(metrics: Sequence[Metric]) -> list[FeatureExtractor]:
    """Return the extractors that metrics read, without repetition."""
    every = dict.fromkeys(metric.extractor for metric in metrics)
    return [extractor for extractor in every if extractor is not None]


def _computed(metric: Metric, measurement: Measurement) -> Result | None:
    """Return a metric's result; captions that are not those of a test set are part of its protocol."""
    result, captions = metric.compute(measurement), measurement.subject.free_captions
    if result is None:
        return None
    interval, over = metric.facts.clipped(result.score.interval, result.score.interval_over)
    result = result._replace(score=result.score._replace(interval=interval, interval_over=over))
    if result.bootstrap is not None:
        within, _ = metric.facts.clipped(result.bootstrap.interval, "")
        result = result._replace(bootstrap=result.bootstrap._replace(interval=within))
    if captions is None or not metric.facts.reads_captions:
        return result
    return result._replace(protocol={**result.protocol, "captions_sha256": captions})


def _check_finite(results: Mapping[str, Result], name: str) -> None:
    """Raise UserError for a value that is not finite, such as IS if the probability of a class is 0 in float32."""
    for key, result in results.items():
        score = result.score
        if not np.isfinite([score.value, score.spread, *score.interval, *score.without]).all():
            raise UserError(
                f"{name}: {key} is not finite, so nothing was written; its network's outputs are too large or the "
                "images too few; look at features/ and take other weights, or leave this metric's network out"
            )


def _write_per_image(path: Path, measurement: Measurement, results: Mapping[str, Result], images_sha256: str) -> None:
    """Write per_image.npz: per-image hits, and every metric with each fold of whole test images left out.

    Paired comparisons read this file. `folds` (N,) is the fold of each image. `value/KEY` (4,) holds value, spread and
    interval of a metric, for `verify`.
    """
    subject = measurement.subject
    folds = np.empty(len(subject), dtype=np.int64)
    for fold, rows in enumerate(measurement.clustered_folds()):
        folds[rows] = fold
    arrays = {"test_images": subject.test_images, "captions": subject.captions, "folds": folds}
    arrays[IMAGES_SHA256] = np.array(images_sha256)
    for key, result in results.items():
        arrays[f"{VALUE}/{key}"] = np.array([result.score.value, result.score.spread, *result.score.interval])
        if result.hits is not None:
            arrays |= {f"hits/{key}": result.hits, f"counts/{key}": result.counts}
        if result.score.without:
            arrays[f"without/{key}"] = np.array(result.score.without)
    files.write_with(path, lambda file: np.savez_compressed(file, **arrays))


def _describe(subject: ImageSet, dataset: PreparedDataset | FreeCaptions) -> dict[str, object]:
    """Return the `subject` entry of metrics.json."""
    described = {
        "kind": subject.kind,
        "name": subject.name,
        "seed": subject.seed,
        "dataset": dataset.name_of_set,
        "num_images": len(subject),
        "image_size": subject.size,
    }
    if subject.class_of is not None:
        described["made_for"] = "SOA"
    if dataset.published_set is not None:
        title, differences = dataset.published_set
        described |= {"published_set": title, "differences": list(differences)}
    if subject.selection is not None:
        described["selection"] = subject.selection
    return {**described, "imported": True} if subject.imported else described


def _places(subject: ImageSet, out: Path) -> dict[str, str]:
    """Return where images of another program and their captions file are, relative to the folder of metrics.json."""
    places = {"images_folder": subject.folder, "captions_file": subject.captions_file}
    return {name: os.path.relpath(path, out.parent) for name, path in places.items() if path is not None}


def _as_json(result: Result) -> dict[str, object]:
    """Return the entry of one metric in metrics.json."""
    score = result.score
    return {
        "value": score.value,
        "spread": score.spread,
        "spread_over": score.spread_over,
        "interval": list(score.interval),
        "interval_level": 0.95,
        "interval_over": score.interval_over,
        **({} if score.centre is None else {"interval_centre": score.centre}),
        "num_images": result.num_images,
        "folds": score.folds,
        "interval_folds": score.interval_folds,
        "protocol": result.protocol,
        **({} if result.bootstrap is None else {"bootstrap": result.bootstrap.as_json()}),
        **({} if result.chance is None else {"chance": result.chance}),
    }
