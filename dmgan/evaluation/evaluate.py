"""One image set to metrics.json: every network's features once, then IS, FID, KID, PRDC and R-precision from them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dmgan import files
from dmgan.contact_sheet import contact_sheet
from dmgan.damsm import Damsm
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation import metrics
from dmgan.evaluation.features import Rows, StoredFeatures, extract
from dmgan.evaluation.images import ImageSet, RealImages, sampled_images
from dmgan.evaluation.networks import DamsmCodes, FeatureNetwork, ReleasedTorchvisionInception, build_networks
from dmgan.evaluation.rprecision import CANDIDATES, mismatched_captions, retrieval_hits
from dmgan.options import EvaluationOptions
from dmgan.progress import say
from dmgan.provenance import provenance
from dmgan.randomness import generator
from dmgan.tracking import LabBook

SCHEMA = 2
REFERENCE = "reference.json"
CONTROLS = ("real", "shuffled", "noise")
TRAINED_JUDGE = "DAMSM, the one that trained the generators"
RELEASED_JUDGE = "DAMSM, the released one (imported)"

Scores = dict[str, tuple[metrics.Score, dict[str, object], int]]  # by METRIC(JUDGE): score, protocol, number of images


class NoiseImages:
    """Uniform noise."""

    def __init__(self, seed: int, size: int):
        self.seed, self.size = seed, size

    def __call__(self, number: int) -> np.ndarray:
        shape = (self.size, self.size, 3)
        return generator(self.seed, "noise pixels", number).integers(256, size=shape, dtype=np.uint8)

    def name(self, number: int) -> str:
        return f"noise image {number}"


def control_images(
    control: str,
    dataset: PreparedDataset,
    size: int,
    seed: int,
    tokens_of: Callable[[int, int], np.ndarray] | None = None,
) -> ImageSet:
    """A control row; `tokens_of` reads captions where the encoders have a vocabulary of their own.

    real: one half of the real test images against the other half; shuffled: the same with captions of
    other classes; noise: uniform noise pixels with real captions, against all real test images.
    """
    test = generator(seed, "halves of the test images").permutation(dataset.indices("test"))
    half = np.sort(test[: len(test) // 2])
    shown = np.sort(test) if control == "noise" else half
    captions = np.array([generator(seed, "control caption", i).integers(dataset.caption_count(i)) for i in shown])
    described = shown
    if control == "shuffled":
        described = _of_other_classes(shown, dataset, seed)
        captions = np.array([c % dataset.caption_count(i) for c, i in zip(captions, described, strict=True)])

    whole = control == "noise"
    return ImageSet(
        kind="control",
        name=control,
        seed=None,
        size=size,
        read=NoiseImages(seed, size) if control == "noise" else RealImages(dataset, shown, size),
        test_images=described,
        captions=captions,
        tokens=[(tokens_of or dataset.tokens)(i, c) for i, c in zip(described, captions, strict=True)],
        reference=np.sort(test) if whole else np.sort(test[len(test) // 2 :]),
        reference_name="all real test images, centre crop"
        if whole
        else "the other half of the real test images, centre crop",
        inputs={"control_seed": seed},
    )


def _of_other_classes(shown: np.ndarray, dataset: PreparedDataset, seed: int) -> np.ndarray:
    """For each image another test image of another class."""
    position = mismatched_captions(dataset.class_ids[shown], dataset.class_ids[shown], seed)[:, 0]
    return shown[position]


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


def evaluate(
    *,
    images: Path | None,
    control: str | None,
    data: Path,
    damsm: Path,
    rungs: tuple[str, ...],
    classifier: Path | None,
    weights: Path,
    reference: Path | None,
    out: Path,
    options: EvaluationOptions,
    device: torch.device,
    mlflow: str | None = None,
) -> None:
    """Measure a folder of sampled images, or a control row, and write metrics.json to `out`.

    Features lie in features/ beside it, those of the real images in `reference` (default: reference/ beside it).
    """
    out = Path(out)
    dataset = PreparedDataset(data)
    networks = build_networks(rungs, classifier, weights, device)
    encoders = Damsm.read(damsm).to(device)
    tokens_of = encoders.caption_reader(
        dataset, f"{damsm}: its vocabulary is not that of {data}; give the encoders of this data set"
    )
    if images is not None:
        subject = sampled_images(images, dataset)
        if subject.inputs["vocabulary_sha256"] != encoders.sha256["vocabulary.json"]:
            raise UserError(
                f"{images}: was sampled from captions in another vocabulary than that of {damsm}; "
                "give the encoders of the model that made the images"
            )
    else:
        subject = control_images(control, dataset, dataset.image_size, options.seed, tokens_of)
    if len(subject) < 2 * metrics.FOLDS:
        raise UserError(
            f"{images or control}: {len(subject)} images do not make ten folds; give at least {2 * metrics.FOLDS}"
        )

    judge = DamsmCodes(encoders, "damsm")
    folder = out.parent / "features"
    every = [*networks.values(), judge]
    stored = extract(subject.read, len(subject), every, folder, device, options.batch_size, options.workers)
    real = _reference_features(dataset, networks, reference or out.parent / "reference", options, device)
    chosen = np.searchsorted(dataset.indices("test"), subject.reference)
    scores: Scores = {}
    for rung in rungs:
        scores |= _rung_scores(rung, stored[rung], real[rung], chosen, subject, options)
    scores |= _r_precision(subject, stored[judge.name]["codes"], dataset, encoders, tokens_of, options.seed)
    inputs = {"images_sha256": stored[judge.name].images_sha256}
    _write(out, subject, scores, inputs, dataset, mlflow)


# What each rung is asked for: KID and PRDC mean nothing in the released protocols.
_IS = ("species", "tf", "openai-released")
_FID = ("species", "tf", "clean", "torchvision", "torchvision-released")
_KID = ("species", "tf", "clean")
_MANIFOLDS = ("species", "tf", "clean", "torchvision")


def _rung_scores(
    rung: str,
    stored: StoredFeatures,
    real: StoredFeatures,
    chosen: np.ndarray,
    subject: ImageSet,
    options: EvaluationOptions,
) -> Scores:
    """IS, FID, KID and PRDC of one rung, as far as they belong to it; `chosen` are the real images compared with."""
    scores: Scores = {}
    base, count = stored.protocol, len(subject)
    if rung in _IS:
        logits = stored["logits"]
        order, rule = _is_order(rung, count, options.seed)
        protocol = {**base, "library": metrics.LIBRARY, "classes": logits.width, "splits": rule}
        scores[f"IS({rung})"] = (metrics.inception_score(logits, order), protocol, count)
    if rung not in _FID:
        return scores

    features, reference = stored["features"], real["features"].subset(chosen)
    if rung == ReleasedTorchvisionInception.name:
        batch = ReleasedTorchvisionInception.batch
        features = metrics.whole_batches(features, batch, subject.name)
        reference = metrics.whole_batches(reference, batch, "real images")
    count = len(features)
    order = _fold_order(count, options.seed)
    against = {
        **base,
        "reference": subject.reference_name,
        "reference_num_images": len(reference),
        "fold_seed": options.seed,
    }
    fid = {**against, "library": "this project's, float64 (equal to torch-fidelity's and clean-fid's)"}
    scores[f"FID({rung})"] = (metrics.frechet_distance(features, reference, order), fid, count)
    if rung in _KID:
        kid = {
            **against,
            "library": metrics.LIBRARY,
            "subsets": metrics.KID_SUBSETS,
            "subset_size": metrics.kid_subset_size(count, len(reference)),
        }
        scores[f"KID({rung})"] = (metrics.kernel_distance(features, reference, order), kid, count)
    if rung in _MANIFOLDS:
        reference_order = _fold_order(len(reference), options.seed)
        prdc = {**against, "library": "this project's (equal to prdc's)", "neighbours": options.neighbours}
        manifolds = metrics.manifold_scores(features, reference, order, reference_order, options.neighbours)
        scores |= {f"{name}({rung})": (score, prdc, count) for name, score in manifolds.items()}
    return scores


def _fold_order(count: int, seed: int) -> np.ndarray:
    """The permutation that folds are cut from."""
    return generator(seed, "folds").permutation(count)


def _is_order(rung: str, count: int, seed: int) -> tuple[np.ndarray, str]:
    """The order in which a rung's ten splits are cut, and what it is called."""
    if rung == "tf":
        return metrics.torch_fidelity_order(count), f"torch-fidelity's permutation, seed {metrics.LIBRARY_SEED}"
    if rung == "openai-released":
        return np.arange(count), "consecutive images, not shuffled"
    return _fold_order(count, seed), f"a permutation of seed {seed}"


def _encode_captions(encoders: Damsm, captions: Sequence[np.ndarray]) -> Tensor:
    """Sentence features (N, E)."""
    starts = range(0, len(captions), 256)
    return torch.cat([encoders.encode_captions(list(captions[i : i + 256])).sentence.cpu() for i in starts])


def _r_precision(
    subject: ImageSet,
    codes: Rows,
    dataset: PreparedDataset,
    encoders: Damsm,
    tokens_of: Callable[[int, int], np.ndarray],
    seed: int,
) -> Scores:
    """R-precision (R = 1) in percent, by one DAMSM."""
    test = dataset.indices("test")
    pool = [tokens_of(i, caption) for i in test for caption in range(dataset.caption_count(i))]
    pool_classes = np.repeat(dataset.class_ids[test], [dataset.caption_count(i) for i in test])
    mismatched = mismatched_captions(dataset.class_ids[subject.test_images], pool_classes, seed)
    own, others = _encode_captions(encoders, subject.tokens), _encode_captions(encoders, pool)
    hits = retrieval_hits(torch.from_numpy(codes.all()), own, others, mismatched)
    folds = metrics.fold_rows(_fold_order(len(subject), seed))
    protocol = {
        "feature_network": RELEASED_JUDGE if encoders.imported else TRAINED_JUDGE,
        "feature_network_sha256": encoders.sha256,
        "candidates": CANDIDATES,
        "mismatched": "captions of test images of other classes, with replacement",
        "caption_seed": seed,
        "fold_seed": seed,
        "codec": "8-bit RGB, lossless",
    }
    if encoders.vocabulary != dataset.vocabulary:
        protocol["captions"] = "encoded anew in the encoders' own vocabulary, unknown words left out"
    score = metrics.mean_over_folds(np.array([100 * hits[rows].mean() for rows in folds]))
    name = "released DAMSM" if encoders.imported else "training DAMSM"
    return {f"R-precision({name})": (score, protocol, len(subject))}


def _first_images(subject: ImageSet) -> np.ndarray:
    """One picture of the first 40 images."""
    images = [subject.read(number) for number in range(min(40, len(subject)))]
    return contact_sheet([images[start : start + 10] for start in range(0, len(images), 10)])


def _write(
    out: Path,
    subject: ImageSet,
    scores: Scores,
    inputs: dict[str, object],
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
                "num_images": count,
                "folds": metrics.FOLDS,
                "protocol": protocol,
            }
            for name, (score, protocol, count) in scores.items()
        },
        "inputs": {**subject.inputs, **inputs, "data": dataset.sha256},
        "provenance": provenance(),
    }
    files.write_json(out, content)
    for name, (score, _, _) in scores.items():
        say(f"{subject.name}: {name} {score.value:.4g}  ({score.interval[0]:.4g} to {score.interval[1]:.4g})")
    which = "" if subject.seed is None else f" seed{subject.seed}"
    name = f"{subject.name}{' released weights' if subject.imported else which}"
    tags = {"stage": "evaluate", "dataset": source, "model": subject.name, "seed": str(subject.seed)}
    tags |= {
        "kind": subject.kind,
        "config": files.json_sha256(content["inputs"])[:12],
        "commit": content["provenance"]["commit"],
    }
    parameters = {"num_images": len(subject), "reference": subject.reference_name}
    lab_book = LabBook(mlflow, out.parent / "evaluation", f"{name} evaluate", tags, parameters)
    lab_book.scores({metric: score.value for metric, (score, _, _) in scores.items()})
    lab_book.file(out)
    lab_book.picture(_first_images(subject), "images.png")
    lab_book.close()
