"""SOA-C and SOA-I (semantic object accuracy, Hinz et al. 2022): does an image show the objects its caption names?

Recall alone counts: further objects, their number and their colours do not. What is an object, who names it and who
looks for it depends on the data set:

attribute classifier: on synthbirds an object is an attribute's value, such as a blue wing; the classifier that judges
    attribute accuracy looks for it.
truth: the same objects, looked up in the stored truth; real images alone have one.
frcnn-v2@0.5: on photographs an object is one of COCO's 80 classes, and Faster R-CNN looks for it.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dmgan.data.coco_objects import COCO_CLASSES, named_coco_classes
from dmgan.data.dataset import PreparedDataset
from dmgan.data.sources.synthbirds.attributes import SPECIES_ATTRIBUTES
from dmgan.errors import UserError
from dmgan.evaluation import attributes, metrics
from dmgan.evaluation.features import StoredFeatures
from dmgan.evaluation.images import ImageSet, RealImages
from dmgan.evaluation.networks import FeatureNetwork
from dmgan.options import EvaluationOptions

TRUTH, ATTRIBUTE_CLASSIFIER = "truth", "attribute classifier"


class Accuracies(NamedTuple):
    """SOA of one image set, shares from 0 to 1."""

    by_class: np.ndarray  # (C,) r_c: share of the images of class c that show it; 0 for a class without images
    images: np.ndarray  # (C,) |I_c|
    soa_c: float
    soa_i: float


# SOA-C = (1 / |C|) sum_c r_c;  SOA-I = sum_c |I_c| r_c / sum_c |I_c|
def semantic_object_accuracy(class_of: np.ndarray, shown: np.ndarray, num_classes: int) -> Accuracies:
    """SOA of N pairs of an image and a class: class_of (N,) numbers, shown (N,) whether the image shows its class.

    A class without images counts as 0 in SOA-C, as in the release. UserError without any image.
    """
    if not len(class_of):
        raise UserError("SOA: no caption names a class, so there is nothing to look for; give captions of this set")
    images = np.bincount(class_of, minlength=num_classes)
    hits = np.bincount(class_of, weights=shown, minlength=num_classes)
    by_class = np.divide(hits, images, out=np.zeros(num_classes), where=images > 0)
    return Accuracies(by_class, images, float(by_class.mean()), float(hits.sum() / images.sum()))


class Sought(NamedTuple):
    """P pairs of an image and a class that its caption names."""

    rows: np.ndarray  # (P,) number of the image in its set
    class_of: np.ndarray  # (P,)
    shown: np.ndarray  # (P,) whether the image shows it
    num_classes: int


class ObjectJudge(Protocol):
    """Looks for the objects that captions name."""

    name: str  # as a metric's key has it: SOA-C(NAME)
    network: FeatureNetwork | None  # whose stored rows it reads; None where it needs none
    protocol: dict[str, object]

    def sought(
        self, subject: ImageSet, stored: Mapping[str, StoredFeatures], dataset: PreparedDataset
    ) -> Sought | None:
        """What is looked for in an image set, and what is found; None where this judge cannot say."""


def soa_keys(judge: ObjectJudge) -> tuple[str, str]:
    """The keys of a judge's SOA-C and SOA-I in metrics.json."""
    return f"SOA-C({judge.name})", f"SOA-I({judge.name})"


def soa_scores(
    judges: Sequence[ObjectJudge],
    subject: ImageSet,
    stored: Mapping[str, StoredFeatures],
    dataset: PreparedDataset,
    options: EvaluationOptions,
) -> dict[str, tuple[metrics.Score, dict[str, object], int]]:
    """SOA-C and SOA-I in percent by every judge that can say: score, protocol and number of images by key."""
    scores = {}
    single = metrics.fold_rows(metrics.fold_order(len(subject), options.seed))
    clustered = metrics.clustered_folds(subject.test_images, options.seed)
    for judge in judges:
        sought = judge.sought(subject, stored, dataset)
        if sought is None:
            continue
        protocol = {**judge.protocol, "images_of_a_class": _COUNTED[subject.class_of is not None]}
        protocol |= {"classes": sought.num_classes, "fold_seed": options.seed}
        whole, alone, without = _over_folds(sought, single, clustered)
        for column, key in enumerate(soa_keys(judge)):
            score = metrics.whole_with_jackknife(whole[column], alone[:, column].tolist(), without[:, column].tolist())
            scores[key] = (score, protocol, len(subject))
    return scores


_COUNTED = {
    False: "every evaluated image whose caption names it",
    True: "three of each caption that names it; of person one of each of 30,000 drawn captions",
}


def _over_folds(
    sought: Sought, single: list[np.ndarray], clustered: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SOA-C and SOA-I in percent of all images (2,), of each fold (F, 2) and of all but each clustered one (F', 2).

    A class without images in a part, but with some in the whole, is left out of that part's mean.
    """
    whole = semantic_object_accuracy(sought.class_of, sought.shown, sought.num_classes)
    with_images = (whole.images > 0).mean()

    def of_part(mask: np.ndarray) -> tuple[float, float]:
        part = semantic_object_accuracy(sought.class_of[mask], sought.shown[mask], sought.num_classes)
        return 100 * with_images * part.by_class[part.images > 0].mean(), 100 * part.soa_i

    alone = [of_part(np.isin(sought.rows, rows)) for rows in single]
    without = [of_part(~np.isin(sought.rows, rows)) for rows in clustered]
    return np.array([100 * whole.soa_c, 100 * whole.soa_i]), np.array(alone), np.array(without)


# synthbirds: an object is an attribute's value.

_FIRST = np.cumsum([0, *attributes.SIZES])  # number of each attribute's first value among all values


def _sought_values(subject: ImageSet, values: np.ndarray, dataset: PreparedDataset) -> Sought:
    """The values that captions name, and whether the images have them; values (N, attributes) of the images."""
    texts = [dataset.caption(*each) for each in zip(subject.test_images, subject.captions, strict=True)]
    wanted = attributes.wanted_values(texts)
    rows, columns = np.nonzero(wanted >= 0)
    named = _FIRST[columns] + wanted[rows, columns]
    classes = _named_values(dataset)
    class_of = np.searchsorted(classes, named)
    return Sought(rows, class_of, values[rows, columns] == wanted[rows, columns], len(classes))


@lru_cache(maxsize=1)
def _named_values(dataset: PreparedDataset) -> np.ndarray:
    """Numbers, ascending, of the values that test captions name: the classes of every image set of a data set."""
    test = dataset.indices("test")
    texts = [dataset.caption(image, caption) for image in test for caption in range(dataset.caption_count(image))]
    wanted = attributes.wanted_values(texts)
    rows, columns = np.nonzero(wanted >= 0)
    return np.unique(_FIRST[columns] + wanted[rows, columns])


_VALUES = {"objects": "attribute values that test captions name"}


class AttributeObjects:
    """The attribute classifier looks."""

    name = ATTRIBUTE_CLASSIFIER

    def __init__(self, judge: "AttributeReader"):
        self._judge, self.network = judge, judge.network
        self.protocol = {**judge.network.protocol, **_VALUES}

    def sought(self, subject: ImageSet, stored: Mapping[str, StoredFeatures], dataset: PreparedDataset) -> Sought:
        return _sought_values(subject, self._judge.values(stored[self.network.name]), dataset)


class AttributeReader(Protocol):
    """What reads attributes off images (judges.AttributeJudge)."""

    network: FeatureNetwork

    def values(self, stored: StoredFeatures) -> np.ndarray:
        """The value (N, attributes) it sees in each image."""


class TrueObjects:
    """The stored truth is looked up."""

    name = TRUTH
    network = None
    protocol = {"feature_network": "the stored truth", **_VALUES}

    def sought(
        self, subject: ImageSet, stored: Mapping[str, StoredFeatures], dataset: PreparedDataset
    ) -> Sought | None:
        if not isinstance(subject.read, RealImages):
            return None
        shown = [dataset.attributes(image) for image in subject.read.indices]
        values = [[each.index(truth[name]) for name, each in SPECIES_ATTRIBUTES.items()] for truth in shown]
        return _sought_values(subject, np.array(values), dataset)


# Photographs: an object is one of COCO's classes.


class Detector(Protocol):
    """Says which of COCO's classes images show."""

    name: str
    protocol: dict[str, object]

    def __call__(self, images: list[Tensor]) -> list[set[int]]:
        """Numbers of the classes in each image (3, h, w), 0 to 1."""


class ShownObjects(FeatureNetwork):
    """A detector's finding in rows: 1 for each class that an image shows."""

    packages = ("torch", "torchvision", "pillow")

    def __init__(self, detector: Detector):
        self.name, self._detector = detector.name, detector
        super().__init__({"shown": len(COCO_CLASSES)}, {**detector.protocol, "codec": "8-bit RGB, lossless"})

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        images = list(batch.permute(0, 3, 1, 2).float() / 255)
        shown = torch.zeros(len(images), len(COCO_CLASSES))
        for row, found in zip(shown, self._detector(images), strict=True):
            row[list(found)] = 1
        return {"shown": shown}


class DetectedObjects:
    """A detector looks for the classes that captions name by COCO's words."""

    def __init__(self, detector: Detector):
        self.name, self.network = detector.name, ShownObjects(detector)
        self.protocol = {**self.network.protocol, "objects": "COCO's 80 classes, named by whole words"}

    def sought(self, subject: ImageSet, stored: Mapping[str, StoredFeatures], dataset: PreparedDataset) -> Sought:
        texts = [dataset.caption(*each) for each in zip(subject.test_images, subject.captions, strict=True)]
        named = [named_coco_classes(text) for text in texts]
        if subject.class_of is not None:
            named = [(int(number),) for number in subject.class_of]
        rows = np.repeat(np.arange(len(texts)), [len(each) for each in named])
        class_of = np.array([number for each in named for number in each], dtype=np.int64)
        shown = stored[self.network.name]["shown"].all()[rows, class_of] > 0.5
        return Sought(rows, class_of, shown, len(COCO_CLASSES))


def read_object_judges(
    attribute_judge: "AttributeReader | None", detector_weights: Path | None, device: torch.device
) -> list[ObjectJudge]:
    """Those who can look here: attributes need their classifier, COCO's classes the detector's weights."""
    judges: list[ObjectJudge] = []
    if attribute_judge is not None:
        judges += [AttributeObjects(attribute_judge), TrueObjects()]
    if detector_weights is not None:
        from dmgan.evaluation.detector import FasterRcnn  # torchvision's detection models take seconds to import

        judges.append(DetectedObjects(FasterRcnn.read(detector_weights, device)))
    return judges
