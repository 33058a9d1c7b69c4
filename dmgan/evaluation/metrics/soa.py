"""SOA-C and SOA-I (semantic object accuracy, Hinz et al. 2022): does an image show the objects that its caption names?

SOA measures recall only: extra objects, object counts and colours have no influence. The reader decides what an object
is and detects it:

attribute classifier: on synthbirds an object is an attribute's value, such as a blue wing, detected by the classifier
    of attribute accuracy.
truth: attribute values, looked up in the stored attributes; defined for real images only.
frcnn-v2@0.5: on photographs an object is one of COCO's 80 classes, detected by Faster R-CNN. Images that were made for
    SOA (`sample --soa`) have a key of their own, which names the rule of their captions.
"""

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dmgan.errors import UserError
from dmgan.evaluation.metrics.base import FEWEST_FOR_SHARES, Facts, Measurement, Metric, Result
from dmgan.evaluation.statistics import folds

if TYPE_CHECKING:
    from dmgan.data.dataset import PreparedDataset
    from dmgan.evaluation.image_sets import ImageSet
    from dmgan.evaluation.networks.attributes import AttributeClassifier
    from dmgan.evaluation.networks.base import FeatureExtractor
    from dmgan.evaluation.networks.loaded import EvaluationNetworks

TRUTH, ATTRIBUTE_CLASSIFIER = "truth", "attribute classifier"
_IMAGES_OF_A_CLASS = {  # by whether the images were made for one class each (sample --soa)
    False: "every evaluated image whose caption names it",
    True: "three of each caption that names it; of person one of each of 30,000 drawn captions",
}
_OWN_IMAGES = "three images per caption"  # in the key of images made for SOA
_ATTRIBUTE_OBJECTS = {"objects": "attribute values that test captions name"}


class Accuracies(NamedTuple):
    """SOA of one image set, shares from 0 to 1."""

    by_class: np.ndarray  # (C,) r_c: share of the images of class c that show it; nan for a class without images
    images: np.ndarray  # (C,) |I_c|
    soa_c: float
    soa_i: float


# SOA-C = (1 / |C|) sum_c r_c;  SOA-I = sum_c |I_c| r_c / sum_c |I_c|;  C: the classes with images
def semantic_object_accuracy(class_of: np.ndarray, shown: np.ndarray, num_classes: int) -> Accuracies:
    """Return the SOA of N pairs of an image and a class: class_of (N,) numbers, shown (N,) whether the class is shown.

    A class that no image was asked for is not in the mean of SOA-C: nobody knows whether it would be shown. Raise
    UserError if there are no pairs.
    """
    if not len(class_of):
        raise UserError("SOA: no caption names a class, so there is nothing to look for; give captions of this set")
    images = np.bincount(class_of, minlength=num_classes)
    hits = np.bincount(class_of, weights=shown, minlength=num_classes)
    by_class = np.divide(hits, images, out=np.full(num_classes, np.nan), where=images > 0)
    return Accuracies(by_class, images, float(np.nanmean(by_class)), float(hits.sum() / images.sum()))


class NamedObjects(NamedTuple):
    """P pairs of an image and a class that its caption names."""

    rows: np.ndarray  # (P,) number of the image in its set
    class_of: np.ndarray  # (P,)
    shown: np.ndarray  # (P,) whether the image shows the class
    num_classes: int


class ObjectReader(ABC):
    """Detects the objects that captions name."""

    name: str  # in a metric's key: SOA-C(NAME)
    extractor: "FeatureExtractor | None"  # whose stored rows it reads
    protocol: dict[str, object]
    has_own_images = False  # whether `sample --soa` makes images for its classes

    @abstractmethod
    def detect(self, measurement: Measurement) -> NamedObjects | None:
        """Return the objects named in captions and whether the images show them; None if undefined for these images."""


class AttributeObjects(ObjectReader):
    """Attribute values, detected by the attribute classifier."""

    name = ATTRIBUTE_CLASSIFIER

    def __init__(self, classifier: "AttributeClassifier"):
        self.extractor, self.protocol = classifier, {**classifier.protocol, **_ATTRIBUTE_OBJECTS}

    def detect(self, measurement: Measurement) -> NamedObjects:
        logits = measurement.stored[self.extractor.name]["logits"].all()
        return _named_attribute_values(measurement.subject, self.extractor.values(logits), measurement.dataset)


class TrueObjects(ObjectReader):
    """Attribute values, looked up in the stored attributes of real images."""

    name = TRUTH
    extractor = None
    protocol = {"feature_network": "the stored truth", **_ATTRIBUTE_OBJECTS}

    def detect(self, measurement: Measurement) -> NamedObjects | None:
        from dmgan.data.sources.synthbirds.attributes import SPECIES_ATTRIBUTES
        from dmgan.evaluation.image_sets import RealImages

        read = measurement.subject.read
        if not isinstance(read, RealImages):
            return None
        true = [measurement.dataset.attributes(image) for image in read.indices]
        values = [[each.index(attributes[name]) for name, each in SPECIES_ATTRIBUTES.items()] for attributes in true]
        return _named_attribute_values(measurement.subject, np.array(values), measurement.dataset)


class CocoObjects(ObjectReader):
    """COCO classes that captions name, detected by an object detector."""

    has_own_images = True

    def __init__(self, detector: "FeatureExtractor"):
        self.name, self.extractor = detector.name, detector
        self.protocol = {**detector.protocol, "objects": "COCO's 80 classes, named by whole words"}

    def detect(self, measurement: Measurement) -> NamedObjects:
        from dmgan.data.coco_objects import COCO_CLASSES, named_coco_classes

        subject, dataset = measurement.subject, measurement.dataset
        texts = [dataset.caption(*each) for each in zip(subject.test_images, subject.captions, strict=True)]
        named = [named_coco_classes(text) for text in texts]
        if subject.class_of is not None:
            named = [(int(number),) for number in subject.class_of]
        rows = np.repeat(np.arange(len(texts)), [len(each) for each in named])
        class_of = np.array([number for each in named for number in each], dtype=np.int64)
        shown = measurement.stored[self.extractor.name]["shown"].all()[rows, class_of] > 0.5
        return NamedObjects(rows, class_of, shown, len(COCO_CLASSES))


class _ObjectMetric(Metric):
    """Base of SOA-C and SOA-I, which share the detected objects."""

    column: int  # of the pair (SOA-C, SOA-I)

    def __init__(self, reader: ObjectReader):
        self.objects, self.reader, self.extractor = reader, reader.name, reader.extractor

    @classmethod
    def build(cls, networks: "EvaluationNetworks") -> list[Metric]:
        readers: list[ObjectReader] = []
        if networks.attributes is not None:
            readers += [AttributeObjects(networks.attributes), TrueObjects()]
        if networks.detector is not None:
            readers.append(CocoObjects(networks.detector))
        return [cls(each) for each in readers]

    def key_of(self, subject: "ImageSet") -> str | None:
        """Return the key, with the rule of the images' captions if they were made for SOA."""
        if subject.class_of is None or not self.objects.has_own_images:
            return super().key_of(subject)
        return f"{self.facts.name}({self.reader}, {_OWN_IMAGES})"

    def compute(self, measurement: Measurement) -> Result | None:
        found = measurement.once(("objects", self.reader), lambda: self._scores(measurement))
        if found is None:
            return None
        scores, num_classes, with_images = found
        subject = measurement.subject
        protocol = {
            **self.objects.protocol,
            "images_of_a_class": _IMAGES_OF_A_CLASS[subject.class_of is not None],
            "classes": num_classes,
            "classes_with_images": with_images,
            "fold_seed": measurement.options.seed,
        }
        return Result(scores[self.column], protocol, len(subject))

    def _scores(self, measurement: Measurement) -> tuple[list[folds.Score], int, int] | None:
        """Return the scores of SOA-C and SOA-I, the number of classes, and how many of them have images."""
        objects = self.objects.detect(measurement)
        if objects is None:
            return None
        single = folds.fold_rows(measurement.fold_order())
        whole, of_folds, without = _over_folds(objects, single, measurement.clustered_folds())
        scores = [
            folds.whole_with_jackknife(whole[column], of_folds[:, column].tolist(), without[:, column].tolist())
            for column in range(2)
        ]
        return scores, objects.num_classes, len(np.unique(objects.class_of))


def _facts(name: str) -> Facts:
    protocol = ("objects", "images_of_a_class", "classes", "classes_with_images", "fold_seed")
    return Facts(
        name, "up", "this project's", "hinz2022semantic", unit="%", least=0.0, largest=100.0,
        fewest_images=FEWEST_FOR_SHARES, reads_captions=True, protocol=protocol,
        controls_may_differ=("classes_with_images",), published_readers=(("COCO", "YOLOv3"),),
    )  # fmt: skip


class SoaC(_ObjectMetric):
    """Mean over classes."""

    facts = _facts("SOA-C")
    column = 0


class SoaI(_ObjectMetric):
    """Mean over images."""

    facts = _facts("SOA-I")
    column = 1


def _over_folds(
    objects: NamedObjects, single: list[np.ndarray], clustered: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return SOA-C and SOA-I in percent: of all images (2,), of each fold (F, 2), without each clustered fold (F', 2).

    A class that has images, but none in a fold, is left out of the mean of that fold.
    """

    def of_part(mask: np.ndarray) -> tuple[float, float]:
        part = semantic_object_accuracy(objects.class_of[mask], objects.shown[mask], objects.num_classes)
        return 100 * part.soa_c, 100 * part.soa_i

    whole = of_part(np.ones(len(objects.rows), dtype=bool))
    of_folds = [of_part(np.isin(objects.rows, rows)) for rows in single]
    without = [of_part(~np.isin(objects.rows, rows)) for rows in clustered]
    return np.array(whole), np.array(of_folds), np.array(without)


def _first_values() -> np.ndarray:
    """Return the index of each attribute's first value in the list of all attributes' values."""
    from dmgan.evaluation.attribute_values import SIZES

    return np.cumsum([0, *SIZES])


def _named_attribute_values(subject: "ImageSet", values: np.ndarray, dataset: "PreparedDataset") -> NamedObjects:
    """Return the values that captions name and whether the images show them; values (N, attributes) of the images."""
    from dmgan.evaluation.attribute_values import wanted_values

    texts = [dataset.caption(*each) for each in zip(subject.test_images, subject.captions, strict=True)]
    wanted = wanted_values(texts)
    rows, columns = np.nonzero(wanted >= 0)
    named = _first_values()[columns] + wanted[rows, columns]
    classes = _named_values(dataset)
    class_of = np.searchsorted(classes, named)
    return NamedObjects(rows, class_of, values[rows, columns] == wanted[rows, columns], len(classes))


@lru_cache(maxsize=1)
def _named_values(dataset: "PreparedDataset") -> np.ndarray:
    """Return the ascending numbers of the values that test captions name: the SOA classes of a data set."""
    from dmgan.evaluation.attribute_values import wanted_values

    test = dataset.indices("test")
    texts = [dataset.caption(image, caption) for image in test for caption in range(dataset.caption_count(image))]
    wanted = wanted_values(texts)
    rows, columns = np.nonzero(wanted >= 0)
    return np.unique(_first_values()[columns] + wanted[rows, columns])
