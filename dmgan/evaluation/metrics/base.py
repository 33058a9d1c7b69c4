"""Interface of a metric: its facts, and how it is computed for one image set.

A metric's key in metrics.json is NAME(READER), such as FID(species): the reader is the feature extractor or the scorer
whose outputs the metric reads. This module does not import torch, because tables and notes read the facts.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from dmgan.evaluation.statistics.folds import Score, clustered_folds, fold_order
from dmgan.options import EvaluationOptions

if TYPE_CHECKING:
    from dmgan.data.dataset import PreparedDataset
    from dmgan.evaluation.feature_store import Rows, StoredFeatures
    from dmgan.evaluation.free_captions import FreeCaptions
    from dmgan.evaluation.image_sets import ImageSet
    from dmgan.evaluation.networks.base import FeatureExtractor
    from dmgan.evaluation.networks.loaded import EvaluationNetworks
    from dmgan.evaluation.statistics.uncertainty import Bootstrap

_T = TypeVar("_T")


@dataclass(frozen=True)
class Facts:
    """Static facts of a metric, read by tables, notes, MLflow and comparisons."""

    name: str
    better: str  # "up" or "down"; "": the metric does not rank
    library: str  # reference implementation that the tests compare with
    citation: str = ""  # key of the metric's paper in dmgan/runtime/bibliography.bib; "": none
    unit: str = ""  # "%": percent; "": no unit
    decimals: int = 2  # in tables
    on_extractor_scale: bool = False  # a distance between features: tables show small values with more decimals
    reads_captions: bool = False  # real images with wrong captions should score worse
    moves_with_images: bool = False  # comparable only between equal numbers of images
    worse_with_fewer: bool = False  # fewer images, on either side, make the number worse
    in_validation: bool = False  # measured on validation images during training, by `value`
    bootstrap_is_of_value: bool = True  # false: the bootstrap estimates another quantity and is not in tables
    least: float | None = None  # smallest possible value, to which intervals are clipped; None: no bound
    largest: float | None = None  # largest possible value; None: no bound
    fewest_images: int = 300  # fewer are too few to tell: ten folds of fewer than 30 images give no interval to rely on
    collapsed_below: float | None = None  # below this value a model generates one image, or few
    protocol: tuple[str, ...] = ()  # protocol fields in addition to those of the reader
    controls_may_differ: tuple[str, ...] = ()  # protocol fields in which a control row may differ from the models
    published_readers: tuple[tuple[str, str], ...] = ()  # (data set, reader) of the numbers that the papers print

    @property
    def reads_reference(self) -> bool:
        """Whether the metric compares with real images."""
        return "reference" in self.protocol

    def clipped(self, interval: tuple[float, float], over: str) -> tuple[tuple[float, float], str]:
        """Return an interval, clipped to the metric's possible values, and its description, which names these."""
        if self.least is None:
            return interval, over
        largest = math.inf if self.largest is None else self.largest
        low, high = (min(max(end, self.least), largest) for end in interval)
        possible = f", clipped to {self.least:g} {'or more' if self.largest is None else f'... {self.largest:g}'}"
        return (low, high), over if over.endswith(possible) else f"{over}{possible}"

    def too_few(self, num_images: int) -> str:
        """Return why so many images are too few to tell; "" if they are enough."""
        if num_images >= self.fewest_images:
            return ""
        return f"{num_images:,} images, {self.name} needs {self.fewest_images:,}"


class Result(NamedTuple):
    """One metric of one image set."""

    score: Score
    protocol: dict[str, object]
    num_images: int  # images that the score is computed from
    bootstrap: "Bootstrap | None" = None
    chance: float | None = None  # chance level, percent
    hits: np.ndarray | None = None  # (N,) hits of each image, for paired comparisons
    counts: np.ndarray | None = None  # (N,) possible hits of each image


@dataclass
class Measurement:
    """Inputs of a metric: an image set, its features, and the features of the real images."""

    subject: "ImageSet"
    dataset: "PreparedDataset | FreeCaptions"  # whose captions the images belong to
    options: EvaluationOptions
    stored: "Mapping[str, StoredFeatures]"  # of the subject's images, by extractor
    real: "Mapping[str, StoredFeatures]"  # of all real images, by extractor; empty if there are none
    reference_rows: np.ndarray  # rows of the real images that the subject is compared with
    _once: dict[Hashable, object] = field(default_factory=dict)

    def once(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """Return compute(), called only once per key, so that several metrics share a computation."""
        if key not in self._once:
            self._once[key] = compute()
        return self._once[key]

    def reference(self, extractor: str) -> "Rows":
        """Return the features of the real images that the subject is compared with."""
        return self.real[extractor]["features"].subset(self.reference_rows)

    def clustered_folds(self, count: int | None = None) -> list[np.ndarray]:
        """Return the (first `count`) images of each fold of whole test images, for intervals."""
        return clustered_folds(self.subject.test_images[:count], self.options.seed)

    def fold_order(self, count: int | None = None) -> np.ndarray:
        """Return the permutation of the (first `count`) images that folds of single images are cut from."""
        return fold_order(len(self.subject) if count is None else count, self.options.seed)


class Metric(ABC):
    """A metric with its reader; a subclass defines `facts`, `build` and `compute`."""

    facts: Facts
    reader: str  # name of the feature extractor or scorer
    extractor: "FeatureExtractor | None" = None  # whose stored rows it reads

    @property
    def key(self) -> str:
        """The key in metrics.json, of images of the test captions."""
        return f"{self.facts.name}({self.reader})"

    def key_of(self, subject: "ImageSet") -> str | None:
        """Return the key of an image set's result; None if the set was made for another metric (`sample --soa`)."""
        return self.key if subject.class_of is None else None

    @property
    def reads_reference(self) -> bool:
        """Whether the metric reads the features of real images."""
        return self.facts.reads_reference

    @classmethod
    @abstractmethod
    def build(cls, networks: "EvaluationNetworks") -> "list[Metric]":
        """Return one instance per loaded reader; an empty list if none is loaded."""

    @abstractmethod
    def compute(self, measurement: Measurement) -> Result | None:
        """Return the result; None if the metric is not defined for this image set."""

    def value(self, measurement: Measurement) -> float:
        """Return the value over all images, without spread and interval; for metrics measured during training."""
        raise TypeError(f"{self.facts.name} is not measured during training")


class FeatureMetric(Metric):
    """A metric of the features of one extractor; `extractors` names those that the metric supports."""

    extractors: tuple[str, ...]

    def __init__(self, extractor: "FeatureExtractor"):
        self.extractor, self.reader = extractor, extractor.name

    @classmethod
    def build(cls, networks: "EvaluationNetworks") -> "list[Metric]":
        return [cls(each) for name, each in networks.extractors.items() if name in cls.extractors]


def against_reference(measurement: Measurement, extractor: "FeatureExtractor", reference: "Rows") -> dict[str, object]:
    """Return the protocol of a metric that compares with real images: fields of the extractor and the reference."""
    return {
        **extractor.protocol,
        "reference": measurement.subject.reference_name,
        "reference_num_images": len(reference),
        # Hash of all real test images, also for a control row that is compared with only half of them.
        "reference_images_sha256": measurement.real[extractor.name].images_sha256,
        "fold_seed": measurement.options.seed,
    }


FEWEST_FOR_SHARES = 100  # the 95 % interval of a share of 100 images is at most 10 percent on either side
REFERENCE_PROTOCOL = ("reference", "reference_num_images", "reference_images_sha256", "fold_seed")
CONTROL_REFERENCE = ("reference", "reference_num_images")  # `real` compares two halves of the real images
