"""One image set to metrics.json: every network's features once, then every metric from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation import metrics
from dmgan.evaluation.comparison import IMAGES_SHA256, METRICS, PER_IMAGE, beside
from dmgan.evaluation.controls import control_images
from dmgan.evaluation.diversity import LIBRARY as DIVERSITY_LIBRARY
from dmgan.evaluation.diversity import diversity
from dmgan.evaluation.features import StoredFeatures, extract
from dmgan.evaluation.images import ImageSet, RealImages, sampled_images
from dmgan.evaluation.judges import (
    AttributeJudge,
    CaptionJudge,
    ClipJudge,
    Verdict,
    caption_verdicts,
    read_damsm_judges,
)
from dmgan.evaluation.networks import FeatureNetwork, ReleasedTorchvisionInception, build_networks
from dmgan.evaluation.soa import ObjectJudge, read_object_judges, soa_keys, soa_scores
from dmgan.evaluation.uncertainty import Bootstrap, bootstrap_inception_score
from dmgan.options import EvaluationOptions
from dmgan.runtime.progress import log
from dmgan.runtime.provenance import provenance
from dmgan.storage import files
from dmgan.storage.png import contact_sheet
from dmgan.text.damsm import Damsm
from dmgan.training.mlflow_run import MlflowRun

SCHEMA = 2
REFERENCE = "reference.json"

Scores = dict[str, tuple[metrics.Score, dict[str, object], int]]  # by METRIC(JUDGE): score, protocol, number of images


def measure_reference(
    *,
    data: Path,
    rungs: tuple[str, ...],
    classifier: Path | None,
    weights: Path,
    out: Path,
    options: EvaluationOptions,
    device: torch.device,
) -> None:
    """Features of all real test images by every rung, into the folder `out`, for every evaluation on this data set."""
    dataset = PreparedDataset(data)
    networks = build_networks(rungs, classifier, weights, device)
    stored = _reference_features(dataset, networks, out, options, device)
    content = {
        "data": dataset.sha256,
        "images": len(dataset.indices("test")),
        "images_sha256": {rung: stored[rung].images_sha256 for rung in rungs},
        "networks": {rung: stored[rung].protocol for rung in rungs},
        "provenance": provenance(),
    }
    files.write_json(Path(out) / REFERENCE, content)


def _reference_features(
    dataset: PreparedDataset,
    networks: dict[str, FeatureNetwork],
    folder: Path,
    options: EvaluationOptions,
    device: torch.device,
) -> dict[str, StoredFeatures]:
    """Features of every real test image, centre crop at the side that models are trained on; computed where missing."""
    test = dataset.indices("test")
    images = RealImages(dataset, test, dataset.image_size)
    networks = list(networks.values())
    return extract(images, len(test), networks, folder, device, options.batch_size, options.workers)


class Judges(NamedTuple):
    """Where the networks are that judge images and captions."""

    rungs: tuple[str, ...]
    classifier: Path | None  # species classifier, for the rung species
    weights: Path  # folder of the Inception weights
    damsm: Path  # the encoders that trained the generators, or came with them
    held_out_damsm: Path | None = None
    clip: tuple[str, Path] | None = None  # model and weights
    attributes: Path | None = None  # attribute classifier
    detector: Path | None = None  # weights of SOA's detector


class Evaluator:
    """Every network of an evaluation, loaded once for all the image sets that it measures."""

    def __init__(
        self,
        data: Path,
        judges: Judges,
        reference: Path,
        options: EvaluationOptions,
        device: torch.device,
        mlflow: str | None,
    ):
        """`reference` is the folder of the real images' features."""
        self.dataset, self.options, self.device, self._mlflow = PreparedDataset(data), options, device, mlflow
        self.rungs, self._reference = judges.rungs, reference
        self._networks = build_networks(judges.rungs, judges.classifier, judges.weights, device)
        self.encoders, self._damsm = Damsm.read(judges.damsm).to(device), judges.damsm
        self._judges: list[CaptionJudge] = read_damsm_judges(
            self.encoders, judges.damsm, judges.held_out_damsm, self.dataset, device
        )
        if judges.clip is not None:
            self._judges.append(ClipJudge(*judges.clip, device))
        reader = None if judges.attributes is None else AttributeJudge(judges.attributes, self.dataset, device)
        if reader is not None:
            self._judges.append(reader)
        self._object_judges: list[ObjectJudge] = read_object_judges(reader, judges.detector, device)

    def sampled(self, folder: Path) -> ImageSet:
        """The images that `sample` wrote; UserError where the judge reads captions otherwise than their generator."""
        subject = sampled_images(folder, self.dataset)
        if subject.inputs["vocabulary_sha256"] != self.encoders.sha256["vocabulary.json"]:
            raise UserError(
                f"{folder}: was sampled from captions in another vocabulary than that of {self._damsm}; "
                "give the encoders of the model that made the images"
            )
        return subject

    def control(self, name: str, folder: Path) -> ImageSet:
        """A control row; what has to be made for it is kept in `folder`."""
        size, seed = self.dataset.image_size, self.options.seed
        return control_images(name, self.dataset, self.encoders, size, seed, folder, self.device)

    def measure(self, subject: ImageSet, out: Path) -> None:
        """Write metrics.json to `out`; features/ and per_image.npz lie beside it (of NAME.json NAME.features/ ...)."""
        if len(subject) < 2 * metrics.FOLDS:
            raise UserError(
                f"{subject.name}: {len(subject)} images do not make ten folds; give at least {2 * metrics.FOLDS}"
            )
        options, out = self.options, Path(out)
        looking = [judge.network for judge in (*self._judges, *self._object_judges) if judge.network is not None]
        every = [*self._networks.values(), *dict.fromkeys(looking)]
        folder = beside(out, "features")
        stored = extract(subject.read, len(subject), every, folder, self.device, options.batch_size, options.workers)
        real = _reference_features(self.dataset, self._networks, self._reference, options, self.device)
        chosen = np.searchsorted(self.dataset.indices("test"), subject.reference)
        scores: Scores = {}
        for rung in self.rungs:
            scores |= _rung_scores(rung, stored[rung], real[rung], chosen, subject, options)
        verdicts = caption_verdicts(self._judges, subject, stored, self.dataset, options)
        scores |= {name: (each.score, each.protocol, each.num_images) for name, each in verdicts.items()}
        scores |= soa_scores(self._object_judges, subject, stored, self.dataset, options)
        _check_finite(scores, subject.name)
        undefined = [key for judge in self._object_judges for key in soa_keys(judge) if key not in scores]
        inputs = {IMAGES_SHA256: stored[every[0].name].images_sha256}
        per_image = beside(out, PER_IMAGE)
        _write_per_image(per_image, subject, scores, verdicts, options.seed, inputs[IMAGES_SHA256])
        further = _further(self.rungs, stored, subject, verdicts, options)
        _write(
            out,
            subject,
            scores,
            undefined if subject.kind == "control" else [],
            further,
            inputs,
            self.device,
            self.dataset,
            self._mlflow,
        )


def evaluate(
    *,
    images: Path,
    data: Path,
    judges: Judges,
    reference: Path | None,
    out: Path,
    options: EvaluationOptions,
    device: torch.device,
    mlflow: str | None = None,
) -> None:
    """Measure a folder of sampled images and write metrics.json to `out`.

    Features lie in features/ beside it (of NAME.json in NAME.features/), those of the real images in `reference`
    (default: reference/ beside it).
    """
    evaluator = Evaluator(data, judges, reference or Path(out).parent / "reference", options, device, mlflow)
    evaluator.measure(evaluator.sampled(images), out)


def evaluate_controls(
    *,
    controls: Sequence[str],
    data: Path,
    judges: Judges,
    reference: Path | None,
    out: Path,
    options: EvaluationOptions,
    device: torch.device,
    mlflow: str | None = None,
) -> None:
    """Measure control rows, each into OUT/CONTROL/metrics.json; networks are loaded once for all of them."""
    evaluator = Evaluator(data, judges, reference or Path(out) / "reference", options, device, mlflow)
    for control in controls:
        folder = Path(out) / control
        evaluator.measure(evaluator.control(control, folder), folder / METRICS)


def _check_finite(scores: Scores, name: str) -> None:
    """UserError naming a metric that is no number, as IS is where a class has no probability left in float32."""
    for metric, (score, _, _) in scores.items():
        if not np.isfinite([score.value, score.spread, *score.interval, *score.without]).all():
            raise UserError(
                f"{name}: {metric} is not finite, so nothing was written; its network's outputs are too large or the "
                "images too few; look at features/ and judge by other weights, or leave this judge out"
            )


def _write_per_image(
    path: Path, subject: ImageSet, scores: Scores, verdicts: dict[str, Verdict], fold_seed: int, images_sha256: str
) -> None:
    """What each image adds to a metric, and each metric with a fold of whole test images left out.

    For comparisons image by image. `folds` (N,) is the fold of each image.
    """
    folds = np.empty(len(subject), dtype=np.int64)
    for fold, rows in enumerate(metrics.clustered_folds(subject.test_images, fold_seed)):
        folds[rows] = fold
    arrays = {"test_images": subject.test_images, "captions": subject.captions, "folds": folds}
    arrays[IMAGES_SHA256] = np.array(images_sha256)
    for name, verdict in verdicts.items():
        arrays |= {f"hits/{name}": verdict.hits, f"counts/{name}": verdict.counts}
    arrays |= {f"without/{name}": np.array(score.without) for name, (score, _, _) in scores.items() if score.without}
    files.write_with(path, lambda file: np.savez_compressed(file, **arrays))


def _further(
    rungs: tuple[str, ...],
    stored: dict[str, StoredFeatures],
    subject: ImageSet,
    verdicts: dict[str, Verdict],
    options: EvaluationOptions,
) -> dict[str, dict[str, object]]:
    """What stands beside a metric's folds: a bootstrap over test images, and what guessing would get."""
    bootstraps: dict[str, Bootstrap] = {
        f"IS({rung})": bootstrap_inception_score(stored[rung]["logits"].blocks(1024), subject.test_images, options.seed)
        for rung in rungs
        if rung in _IS
    }
    bootstraps |= {name: verdict.bootstrap for name, verdict in verdicts.items()}
    further: dict[str, dict[str, object]] = {name: {"bootstrap": each.as_json()} for name, each in bootstraps.items()}
    for name, verdict in verdicts.items():
        further[name]["chance"] = verdict.chance
    return further


# What each rung is asked for: KID and PRDC mean nothing in the released protocols.
_IS = ("species", "tf", "openai-released")
_FID = ("species", "tf", "clean", "torchvision", "torchvision-released")
_KID = ("species", "tf", "clean")
_MANIFOLDS = ("species", "tf", "clean", "torchvision")
_DIVERSITY = ("species",)


def _rung_scores(
    rung: str,
    stored: StoredFeatures,
    real: StoredFeatures,
    chosen: np.ndarray,
    subject: ImageSet,
    options: EvaluationOptions,
) -> Scores:
    """Every score of one rung, as far as it belongs to it; `chosen` are the real images compared with."""
    scores: Scores = {}
    base, count = stored.protocol, len(subject)
    if rung in _IS:
        logits = stored["logits"]
        order, rule = _is_order(rung, count, options.seed)
        protocol = {**base, "library": metrics.LIBRARY, "classes": logits.width, "splits": rule}
        clustered = metrics.clustered_folds(subject.test_images, options.seed)
        scores[f"IS({rung})"] = (metrics.inception_score(logits, order, clustered), protocol, count)
    if rung not in _FID:
        return scores

    features, reference = stored["features"], real["features"].subset(chosen)
    if rung == ReleasedTorchvisionInception.name:
        batch = ReleasedTorchvisionInception.batch
        features = metrics.whole_batches(features, batch, subject.name)
        reference = metrics.whole_batches(reference, batch, "real images")
    count = len(features)
    order = metrics.fold_order(count, options.seed)
    clustered = metrics.clustered_folds(subject.test_images[:count], options.seed)
    against = {
        **base,
        "reference": subject.reference_name,
        "reference_num_images": len(reference),
        "reference_images_sha256": real.images_sha256,  # of all of them, of which a control may take a part
        "fold_seed": options.seed,
    }
    fid = {**against, "library": "this project's, float64 (equal to torch-fidelity's and clean-fid's)"}
    scores[f"FID({rung})"] = (metrics.frechet_distance(features, reference, order, clustered), fid, count)
    if rung in _KID:
        kid = {
            **against,
            "library": metrics.LIBRARY,
            "subsets": metrics.KID_SUBSETS,
            "subset_size": metrics.kid_subset_size(count, len(reference)),
        }
        scores[f"KID({rung})"] = (metrics.kernel_distance(features, reference, order, clustered), kid, count)
    if rung in _MANIFOLDS:
        reference_order = metrics.fold_order(len(reference), options.seed)
        prdc = {**against, "library": "this project's (equal to prdc's)", "neighbours": options.neighbours}
        manifolds = metrics.manifold_scores(features, reference, order, clustered, reference_order, options.neighbours)
        scores |= {f"{name}({rung})": (score, prdc, count) for name, score in manifolds.items()}
    if rung in _DIVERSITY:
        parts = diversity(features.all(), reference.all(), metrics.fold_rows(order), clustered)
        spread = {**against, "library": DIVERSITY_LIBRARY}
        scores[f"diversity({rung})"] = (metrics.whole_with_jackknife(*parts), spread, count)
    return scores


def _is_order(rung: str, count: int, seed: int) -> tuple[np.ndarray, str]:
    """The order in which a rung's ten splits are cut, and what it is called."""
    if rung == "tf":
        return metrics.torch_fidelity_order(count), f"torch-fidelity's permutation, seed {metrics.LIBRARY_SEED}"
    if rung == "openai-released":
        return np.arange(count), "consecutive images, not shuffled"
    return metrics.fold_order(count, seed), f"a permutation of seed {seed}"


def _first_images(subject: ImageSet) -> np.ndarray:
    """One picture of the first 40 images."""
    images = [subject.read(number) for number in range(min(40, len(subject)))]
    return contact_sheet([images[start : start + 10] for start in range(0, len(images), 10)])


def _write(
    out: Path,
    subject: ImageSet,
    scores: Scores,
    undefined: Sequence[str],
    further: dict[str, dict[str, object]],
    inputs: dict[str, object],
    device: torch.device,
    dataset: PreparedDataset,
    mlflow: str | None,
) -> None:
    source = dataset.description["source"]["name"]
    content = {
        "schema": SCHEMA,
        "subject": {
            "kind": subject.kind,
            "name": subject.name,
            "seed": subject.seed,
            "dataset": source,
            "num_images": len(subject),
            "image_size": subject.size,
            **({"imported": True} if subject.imported else {}),
        },
        "metrics": {
            name: {
                "value": score.value,
                "spread": score.spread,
                "spread_over": score.spread_over,
                "interval": list(score.interval),
                "interval_level": 0.95,
                "interval_over": score.interval_over,
                **({} if score.centre is None else {"interval_centre": score.centre}),
                "num_images": count,
                "folds": score.folds,
                "interval_folds": score.interval_folds,
                "protocol": protocol,
                **further.get(name, {}),
            }
            for name, (score, protocol, count) in scores.items()
        }
        | dict.fromkeys(undefined),
        "inputs": {**subject.inputs, **inputs, "data": dataset.sha256},
        "device": device.type,  # moves a value by its rounding: recorded, and not asked for in a table
        "provenance": provenance(),
    }
    files.write_json(out, content)
    for name, (score, _, _) in scores.items():
        log(f"{subject.name}: {name} {score.value:.4g}  ({score.interval[0]:.4g} to {score.interval[1]:.4g})")
    which = "" if subject.seed is None else f" seed{subject.seed}"
    name = f"{subject.name}{' released weights' if subject.imported else which}"
    tags = {"stage": "evaluate", "dataset": source, "model": subject.name, "seed": str(subject.seed)}
    tags |= {
        "kind": subject.kind,
        "config": files.json_sha256(content["inputs"])[:12],
        "commit": content["provenance"]["commit"],
    }
    parameters = {"num_images": len(subject), "reference": subject.reference_name}
    mlflow_run = MlflowRun(mlflow, beside(out, "evaluation"), f"{name} evaluate", tags, parameters)
    mlflow_run.log_scores({metric: score.value for metric, (score, _, _) in scores.items()})
    mlflow_run.log_file(out)
    mlflow_run.log_image(_first_images(subject), "images.png")
    mlflow_run.close()
