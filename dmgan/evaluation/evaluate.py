"""One image set to metrics.json: features once, then IS, FID, KID and R-precision over ten folds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from dmgan import files
from dmgan.contact_sheet import contact_sheet
from dmgan.damsm import Damsm
from dmgan.data.batches import centre_crop, to_tensor
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation import metrics
from dmgan.evaluation.classifier import TrainedClassifier
from dmgan.evaluation.rprecision import CANDIDATES, mismatched_captions, retrieval_hits
from dmgan.progress import Progress, say
from dmgan.provenance import provenance
from dmgan.randomness import generator
from dmgan.sampling import MANIFEST
from dmgan.tracking import LabBook

_BATCH = 64
CONTROLS = ("real", "shuffled", "noise")
TRAINED_JUDGE = "DAMSM, the one that trained the generators"
RELEASED_JUDGE = "DAMSM, the released one (imported)"


class ImageSet(NamedTuple):
    """Images to judge, each with the caption it should show."""

    kind: str  # "model" or "control"
    name: str
    seed: int | None  # of the training
    size: int  # side in px
    read: Callable[[int], np.ndarray]  # number -> (s, s, 3) uint8
    test_images: np.ndarray  # (N,) test image whose class the caption has
    captions: np.ndarray  # (N,) which of that image's captions
    tokens: Sequence[np.ndarray]  # the caption as the generator read it
    reference: np.ndarray  # numbers of the real test images it is compared with
    reference_name: str
    inputs: dict[str, object]
    imported: bool = False  # released weights, not trained here

    def __len__(self) -> int:
        return len(self.test_images)


def sampled_images(folder: Path, dataset: PreparedDataset) -> ImageSet:
    """The images that `sample` wrote, against all real test images; a missing image is a UserError."""
    folder = Path(folder)
    mend = "sample the images again: python -m dmgan sample --run FOLDER --data FOLDER --out " + str(folder)
    manifest = files.read_json(folder / MANIFEST, mend)
    if manifest["data_sha256"] != dataset.sha256:
        raise UserError(f"{folder}: was sampled from captions of another data set than {dataset.folder}; {mend}")
    suffix = "" if (folder / "000000.png").exists() else f"_{manifest['image_size']}"
    paths = [folder / f"{number:06d}{suffix}.png" for number in range(len(manifest["images"]))]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(paths)} images are missing, the first is {missing[0]}; {mend}"
        )

    def read(number: int) -> np.ndarray:
        try:
            with Image.open(paths[number]) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(f"{paths[number]}: is not a readable image ({error}); {mend}") from error

    return ImageSet(
        kind="model",
        name=manifest["model"],
        seed=manifest["training_seed"],
        size=manifest["image_size"],
        read=read,
        test_images=np.array([each["test_image"] for each in manifest["images"]]),
        captions=np.array([each["caption"] for each in manifest["images"]]),
        tokens=[np.array(tokens, dtype=np.int32) for tokens in manifest["tokens"]],
        reference=dataset.indices("test"),
        reference_name="all real test images, centre crop",
        inputs={
            "generator_sha256": manifest["generator_sha256"],
            "sampling_seed": manifest["seed"],
            "vocabulary_sha256": manifest["vocabulary_sha256"],
            "switches": manifest["switches"],
            **_memory_used(manifest),
        },
        imported=manifest["imported"],
    )


def _memory_used(manifest: dict) -> dict[str, object]:
    """How a model that retrieves did so; nothing of others."""
    used = manifest.get("retrieval")
    return {} if used is None else {"retrieval": {key: value for key, value in used.items() if key != "images"}}


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

    def read(number: int) -> np.ndarray:
        if control == "noise":
            return generator(seed, "noise pixels", number).integers(256, size=(size, size, 3), dtype=np.uint8)
        return centre_crop(dataset, shown[number], size)

    whole = control == "noise"
    return ImageSet(
        kind="control",
        name=control,
        seed=None,
        size=size,
        read=read,
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


def evaluate(
    *,
    images: Path | None,
    control: str | None,
    data: Path,
    damsm: Path,
    classifier: Path,
    out: Path,
    seed: int,
    device: torch.device,
    mlflow: str | None = None,
) -> None:
    """Measure a folder of sampled images, or a control row, and write metrics.json to `out`."""
    dataset = PreparedDataset(data)
    judge = TrainedClassifier.read(classifier, device)
    encoders = Damsm.read(damsm).to(device)
    tokens_of = encoders.caption_reader(
        dataset, f"{damsm}: its vocabulary is not that of {data}; give the encoders of this data set"
    )
    size = judge.options.image_size
    if images is not None:
        subject = sampled_images(images, dataset)
        if subject.inputs["vocabulary_sha256"] != encoders.sha256["vocabulary.json"]:
            raise UserError(
                f"{images}: was sampled from captions in another vocabulary than that of {damsm}; "
                "give the encoders of the model that made the images"
            )
    else:
        subject = control_images(control, dataset, size, seed, tokens_of)
    if len(subject) < 2 * metrics.FOLDS:
        raise UserError(
            f"{images or control}: {len(subject)} images do not make ten folds; give at least {2 * metrics.FOLDS}"
        )

    features, logits, codes = _encode(subject, judge, encoders, device)
    reference, _ = _real_features(dataset, subject.reference, judge, device)
    folds = metrics.fold_of_each(len(subject), generator(seed, "folds").permutation(len(subject)))

    species = {
        "feature_network": "species-classifier",
        "feature_network_sha256": judge.sha256,
        "feature_network_accuracy": judge.validation_accuracy,
        "resize": "none" if subject.size == size else f"{subject.size} to {size} px, bilinear with antialiasing",
        "codec": "8-bit RGB, lossless",
        "library": metrics.LIBRARY,
        "fold_seed": seed,
    }
    against = {"reference": subject.reference_name, "reference_num_images": len(subject.reference)}
    retrieval = {
        "feature_network": RELEASED_JUDGE if encoders.imported else TRAINED_JUDGE,
        "feature_network_sha256": encoders.sha256,
        "candidates": CANDIDATES,
        "mismatched": "captions of test images of other classes, with replacement",
        "caption_seed": seed,
        "fold_seed": seed,
        "codec": "8-bit RGB, lossless",
    }
    if encoders.vocabulary != dataset.vocabulary:
        retrieval["captions"] = "encoded anew in the encoders' own vocabulary, unknown words left out"
    scores = {
        "IS": (metrics.inception_score(logits, folds), {**species, "classes": logits.shape[1]}),
        "FID": (metrics.frechet_distance(features, reference, folds), {**species, **against}),
        "KID": (
            metrics.kernel_distance(features, reference, folds),
            {**species, **against, "subsets": metrics.KID_SUBSETS, "subset_size": metrics.KID_SUBSET_SIZE},
        ),
        "R-precision": (_r_precision(subject, codes, dataset, encoders, tokens_of, folds, seed), retrieval),
    }
    _write(out, subject, scores, dataset, mlflow)


def _encode(
    subject: ImageSet, judge: TrainedClassifier, encoders: Damsm, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Classifier features (N, D) and logits (N, classes), and DAMSM codes (N, E), in one pass over the images."""
    parts = []
    progress = Progress(len(subject), "images")
    for start in range(0, len(subject), _BATCH):
        rows = range(start, min(start + _BATCH, len(subject)))
        batch = to_tensor([subject.read(number) for number in rows]).to(device)
        with torch.inference_mode():
            features, logits = judge.network(_resized(batch, judge.options.image_size))
            _, codes = encoders.image_encoder(_for_encoder(batch, encoders))
        parts.append((features.cpu(), logits.cpu(), codes.cpu()))
        progress.step(len(rows))
    progress.close()
    features, logits, codes = (torch.cat(each) for each in zip(*parts, strict=True))
    for each in (features, logits, codes):
        metrics.refuse_non_finite(each, subject.name)
    return features, logits, codes


def _for_encoder(images: Tensor, encoders: Damsm) -> Tensor:
    """Images at the side the encoder was trained on; Inception's trunk resizes as the released code does."""
    return images if encoders.options.image_encoder == "inception" else _resized(images, encoders.options.image_size)


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def _real_features(
    dataset: PreparedDataset, indices: np.ndarray, judge: TrainedClassifier, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Classifier features (M, D) and logits of real images."""
    size, parts = judge.options.image_size, []
    for start in range(0, len(indices), _BATCH):
        batch = to_tensor([centre_crop(dataset, i, size) for i in indices[start : start + _BATCH]]).to(device)
        with torch.inference_mode():
            parts.append([each.cpu() for each in judge.network(batch)])
    features, logits = (torch.cat(each) for each in zip(*parts, strict=True))
    metrics.refuse_non_finite(features, "real images")
    return features, logits


def _encode_captions(encoders: Damsm, captions: Sequence[np.ndarray]) -> Tensor:
    """Sentence features (N, E)."""
    starts = range(0, len(captions), 256)
    return torch.cat([encoders.encode_captions(list(captions[i : i + 256])).sentence.cpu() for i in starts])


def _r_precision(
    subject: ImageSet,
    codes: Tensor,
    dataset: PreparedDataset,
    encoders: Damsm,
    tokens_of: Callable[[int, int], np.ndarray],
    folds: np.ndarray,
    seed: int,
) -> metrics.Score:
    """R-precision (R = 1) in percent."""
    test = dataset.indices("test")
    pool = [tokens_of(i, caption) for i in test for caption in range(dataset.caption_count(i))]
    pool_classes = np.repeat(dataset.class_ids[test], [dataset.caption_count(i) for i in test])
    mismatched = mismatched_captions(dataset.class_ids[subject.test_images], pool_classes, seed)
    hits = retrieval_hits(
        codes, _encode_captions(encoders, subject.tokens), _encode_captions(encoders, pool), mismatched
    )
    return metrics.mean_over_folds(np.array([100 * hits[folds == fold].mean() for fold in range(metrics.FOLDS)]))


def _first_images(subject: ImageSet) -> np.ndarray:
    """One picture of the first 40 images."""
    images = [subject.read(number) for number in range(min(40, len(subject)))]
    return contact_sheet([images[start : start + 10] for start in range(0, len(images), 10)])


def _write(out: Path, subject: ImageSet, scores, dataset: PreparedDataset, mlflow: str | None) -> None:
    source = dataset.description["source"]["name"]
    content = {
        "schema": 1,
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
                "num_images": len(subject),
                "folds": metrics.FOLDS,
                "protocol": protocol,
            }
            for name, (score, protocol) in scores.items()
        },
        "inputs": {**subject.inputs, "data": dataset.sha256},
        "provenance": provenance(),
    }
    files.write_json(out, content)
    for name, (score, _) in scores.items():
        say(f"{subject.name}: {name} {score.value:.4g}  ({score.interval[0]:.4g} to {score.interval[1]:.4g})")
    which = "" if subject.seed is None else f" seed{subject.seed}"
    name = f"{subject.name}{' released weights' if subject.imported else which}"
    tags = {"stage": "evaluate", "dataset": source, "model": subject.name, "seed": str(subject.seed)}
    tags |= {
        "kind": subject.kind,
        "config": files.json_sha256(content["inputs"])[:12],
        "commit": content["provenance"]["commit"],
    }
    parameters = {"num_images": len(subject), **{f"{k}_reference": p.get("reference") for k, (_, p) in scores.items()}}
    lab_book = LabBook(mlflow, out.parent / "evaluation", f"{name} evaluate", tags, parameters)
    lab_book.scores({metric: score.value for metric, (score, _) in scores.items()})
    lab_book.file(out)
    lab_book.picture(_first_images(subject), "images.png")
    lab_book.close()
