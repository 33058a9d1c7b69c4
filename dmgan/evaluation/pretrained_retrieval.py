"""R-precision of real training images by encoders that were just pretrained: whether the scorer can tell at all."""

import numpy as np
import torch

from dmgan.data.dataset import PreparedDataset
from dmgan.data.validation import SEED, cut_validation_split
from dmgan.evaluation.feature_store import features_in_ram
from dmgan.evaluation.image_sets import ImageSet, RealImages
from dmgan.evaluation.metrics.base import Measurement
from dmgan.evaluation.metrics.r_precision import RPrecision
from dmgan.evaluation.networks.damsm import TRAINING, DamsmEncoder
from dmgan.evaluation.statistics.retrieval import CANDIDATES
from dmgan.options import MOST_VALIDATION_IMAGES, EvaluationOptions
from dmgan.runtime.progress import log
from dmgan.runtime.randomness import generator
from dmgan.text.damsm import Damsm

_HELD_OUT = "training images that were held out of pretraining"
_SHOWN = "training images, on which the encoders were pretrained"


def r_precision_of_training_images(
    damsm: Damsm, dataset: PreparedDataset, held_out: int, device: torch.device
) -> dict[str, object] | None:
    """Log and return the R-precision of real training images, in percent, with its interval and what it is over.

    held_out: number of training images that pretraining held out, which are measured; 0: at most 500 of the images that
    it was trained on. None, with a log line, if the measured images have fewer than two classes.
    """
    if held_out:
        measured = cut_validation_split(dataset, held_out).validation
    else:
        train = generator(SEED, "measured training images").permutation(dataset.indices("train"))
        measured = dataset.with_splits(dataset.indices("train"), np.sort(train[:MOST_VALIDATION_IMAGES]), 0)
    images, kind = measured.indices("test"), _HELD_OUT if held_out else _SHOWN
    if len(np.unique(measured.class_ids[images])) < 2:
        log(f"R-precision of the encoders is not measured: the {len(images)} {kind}, are of one class")
        return None
    metric = RPrecision(DamsmEncoder(TRAINING, damsm, measured, dataset.folder))
    subject = _subject(measured, images)
    stored = features_in_ram(subject.read, len(images), [metric.extractor], device)
    share = metric.share(Measurement(subject, measured, EvaluationOptions(seed=SEED), stored, {}, np.arange(0)))
    chance, (low, high) = 100 / CANDIDATES, share.interval
    weak = "" if low > chance else "; these encoders cannot tell images apart better than chance"
    log(f"R-precision {share.value:.2f} % ({low:.2f} to {high:.2f}) of {len(images)} {kind}; chance {chance:g} %{weak}")
    return {"of": kind, "num_images": len(images), "chance": chance, "seed": SEED, **share.as_json()}


def _subject(dataset: PreparedDataset, images: np.ndarray) -> ImageSet:
    """Return real images, each with one of its captions."""
    captions = np.array([generator(SEED, "caption", i).integers(dataset.caption_count(i)) for i in images])
    return ImageSet(
        kind="control",
        name="real training images",
        seed=None,
        size=dataset.image_size,
        read=RealImages(dataset, images, dataset.image_size),
        test_images=images,
        captions=captions,
        tokens=[dataset.tokens(*each) for each in zip(images, captions, strict=True)],
        reference=images,
        reference_name="real training images, centre crop",
        inputs={},
    )
