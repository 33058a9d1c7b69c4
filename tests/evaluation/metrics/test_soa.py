"""SOA: what is counted, by the detector and by the stored attributes."""

import json

import numpy as np
import pytest

from dmgan.__main__ import main
from dmgan.data.coco_objects import COCO_CLASSES
from dmgan.errors import UserError
from dmgan.evaluation.feature_store import extract
from dmgan.evaluation.image_sets import ImageSet, RealImages, sampled_images
from dmgan.evaluation.metrics.base import Measurement, Result
from dmgan.evaluation.metrics.soa import (
    CocoObjects,
    NamedObjects,
    ObjectReader,
    SoaC,
    SoaI,
    TrueObjects,
    _over_folds,
    semantic_object_accuracy,
)
from dmgan.evaluation.networks.detector import DetectedObjects, FasterRcnn
from dmgan.evaluation.statistics import folds
from dmgan.options import EvaluationOptions
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from tests.conftest import CPU


def test_accuracy_over_classes_and_over_images():
    class_of = np.array([0, 0, 0, 0, 2, 2])
    shown = np.array([True, True, True, False, True, False])
    result = semantic_object_accuracy(class_of, shown, 3)
    assert result.by_class[[0, 2]].tolist() == [0.75, 0.5] and np.isnan(result.by_class[1])
    assert result.images.tolist() == [4, 0, 2]
    assert result.soa_c == pytest.approx((0.75 + 0.5) / 2)  # nobody asked for the second class
    assert result.soa_i == pytest.approx(4 / 6)


@pytest.mark.parametrize("count", [1, 30, 450])
def test_perfect_images_have_100_percent_whatever_their_number(count):
    """Of COCO's 80 classes, 450 captions name about 60: the others are not missing from the images."""
    random = np.random.default_rng(count)
    rows = np.arange(count)
    objects = NamedObjects(rows, random.integers(80, size=count), np.ones(count, bool), 80)
    single, clustered = np.array_split(random.permutation(count), min(10, count)), np.array_split(rows, min(10, count))
    whole, of_folds, without = _over_folds(objects, single, clustered if count > 1 else [])
    assert (whole == 100).all() and (of_folds == 100).all() and (without == 100).all()


class Scripted:
    """A detector that reads the class from a pixel's red level: level n is class n."""

    name, protocol = "scripted", {"feature_network": "scripted"}

    def __call__(self, images):
        return [{round(float(image[0, 0, 0]) * 255) % len(COCO_CLASSES)} for image in images]


class Levels:
    """Images whose red level is given."""

    def __init__(self, levels: list[int]):
        self._levels = levels

    def __call__(self, number: int) -> np.ndarray:
        return np.full((8, 8, 3), self._levels[number], dtype=np.uint8)

    def name(self, number: int) -> str:
        return f"image {number}"


def image_set(read, test_images, captions, class_of=None) -> ImageSet:
    return ImageSet(
        kind="model", name="dmgan", seed=0, size=8, read=read, test_images=test_images, captions=captions, tokens=[],
        reference=test_images, reference_name="all", inputs={}, class_of=class_of,
    )  # fmt: skip


class Captions:
    """The part of a data set that an object reader reads."""

    def __init__(self, captions: list[str]):
        self._captions = captions

    def caption(self, image: int, caption: int) -> str:
        return self._captions[image]


def measurement_of(subject, stored, dataset) -> Measurement:
    return Measurement(subject, dataset, EvaluationOptions(), stored, {}, np.empty(0, int))


def soa(reader: ObjectReader, measurement: Measurement) -> dict[str, Result]:
    """SOA-C and SOA-I by one reader, by their keys; empty if the reader cannot look into the images."""
    subject = measurement.subject
    results = {metric.key_of(subject): metric.compute(measurement) for metric in (SoaC(reader), SoaI(reader))}
    return {key: result for key, result in results.items() if result is not None}


def test_a_detector_s_finding_is_stored_and_scored_by_class(tmp_path):
    cat, dog, person = (COCO_CLASSES.index(name) for name in ("cat", "dog", "person"))
    captions = ["a cat", "a cat and a dog", "a hill with a dog", "a man"] * 10
    levels = [cat, dog, cat, person] * 10
    reader = CocoObjects(DetectedObjects(Scripted()))
    numbers, first = np.arange(40), np.zeros(40, int)
    subject = image_set(Levels(levels), numbers, first)
    stored = extract(subject.read, len(captions), [reader.extractor], tmp_path, CPU, 8, 0)
    scores = soa(reader, measurement_of(subject, stored, Captions(captions)))
    assert list(scores) == ["SOA-C(scripted)", "SOA-I(scripted)"]
    by_class = {cat: 1 / 2, dog: 1 / 2, person: 1}  # cats are shown by the first of two, dogs by the second of three
    assert scores["SOA-C(scripted)"].score.value == pytest.approx(100 * sum(by_class.values()) / 3)
    assert scores["SOA-I(scripted)"].score.value == pytest.approx(100 * 3 / 5)
    assert scores["SOA-C(scripted)"].protocol["images_of_a_class"] == "every evaluated image whose caption names it"
    assert scores["SOA-C(scripted)"].protocol["classes"] == 80
    assert scores["SOA-C(scripted)"].protocol["classes_with_images"] == 3
    low, high = scores["SOA-I(scripted)"].score.interval
    assert low <= 60 <= high
    made_for = image_set(subject.read, numbers, first, np.array([cat, dog, dog, person] * 10))
    scores = soa(reader, measurement_of(made_for, stored, Captions(captions)))
    assert list(scores) == ["SOA-C(scripted, three images per caption)", "SOA-I(scripted, three images per caption)"]
    of_classes, of_images = scores.values()
    assert of_images.score.value == pytest.approx(100 * 3 / 4)
    assert of_classes.protocol["images_of_a_class"].startswith("three of each caption")


def test_true_attributes_are_all_shown_by_real_images_and_few_by_shuffled_ones(dataset, monkeypatch):
    test = dataset.indices("test")
    images = np.repeat(test, 3)
    captions = np.tile(np.arange(3), len(test))
    monkeypatch.setattr(folds, "FOLDS", 2)

    def scores(read) -> list[float]:
        found = soa(TrueObjects(), measurement_of(image_set(read, images, captions), {}, dataset))
        return [result.score.value for result in found.values()]

    assert scores(RealImages(dataset, images, 32)) == [100, 100]
    shuffled = scores(RealImages(dataset, images[::-1], 32))
    assert len(shuffled) == 2 and max(shuffled) < 60
    assert scores(Levels([0] * len(images))) == []  # of other images no attributes are stored


def test_a_part_of_the_captions_has_numbers_of_the_same_classes(dataset):

    def detect(images, captions):
        subject = image_set(RealImages(dataset, images, 32), images, captions)
        return TrueObjects().detect(measurement_of(subject, {}, dataset))

    test = dataset.indices("test")
    whole, part = detect(np.repeat(test, 3), np.tile(np.arange(3), len(test))), detect(test[:1], np.zeros(1, int))
    assert whole.num_classes == part.num_classes == len(set(whole.class_of)) > len(set(part.class_of))
    assert part.class_of.tolist() == whole.class_of[whole.rows == 0].tolist()


def test_images_for_soa_are_sampled_with_their_classes(run_folder, data, dataset, tmp_path):
    """Every caption of the embedded set names a bird."""
    sample_test_captions(run_folder, data, tmp_path / "images", SampleRequest(5, soa=True), CPU)
    subject = sampled_images(tmp_path / "images", dataset)
    captions = sum(dataset.caption_count(image) for image in dataset.indices("test"))
    bird = COCO_CLASSES.index("bird")
    assert len(subject) == 3 * captions and (subject.class_of == bird).sum() == 3 * captions
    assert subject.read(len(subject) - 1).shape == (32, 32, 3)


def test_no_image_is_an_error():
    with pytest.raises(UserError, match="no caption names a class"):
        semantic_object_accuracy(np.empty(0, int), np.empty(0, bool), 80)


def test_evaluate_looks_for_objects_where_it_is_given_a_detector(run_folder, data, damsm_folder, tmp_path, monkeypatch):
    """The command of the workflow for the images made for SOA: no feature extractor beside caption encoders."""
    monkeypatch.setattr(FasterRcnn, "read", lambda weights, device: Scripted())
    sample_test_captions(run_folder, data, tmp_path / "images", SampleRequest(20), CPU)
    words = f"evaluate --images {tmp_path}/images --data {data} --damsm {damsm_folder} --out {tmp_path}/metrics.json"
    assert main([*words.split(), "--extractors", "--detector-weights", "weights.pth", "--device", "cpu"]) == 0
    content = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert set(content) == {"R-precision(training DAMSM)", "SOA-C(scripted)", "SOA-I(scripted)"}


def test_images_made_for_soa_are_measured_by_soa_alone(run_folder, data, damsm_folder, tmp_path, monkeypatch, capsys):
    """IS, FID and R-precision of these images would be of other captions than those of the tables."""
    monkeypatch.setattr(FasterRcnn, "read", lambda weights, device: Scripted())
    sample_test_captions(run_folder, data, tmp_path / "images", SampleRequest(1, soa=True), CPU)
    words = f"evaluate --images {tmp_path}/images --data {data} --damsm {damsm_folder} --out {tmp_path}/metrics.json"
    words = [*words.split(), "--extractors", "--device", "cpu"]
    assert main(words) == 1 and "were made for SOA (sample --soa); give --detector-weights" in capsys.readouterr().err
    assert main([*words, "--detector-weights", "weights.pth"]) == 0
    content = json.loads((tmp_path / "metrics.json").read_text())
    keys = {f"SOA-{kind}(scripted, three images per caption)" for kind in "CI"}
    assert set(content["metrics"]) == keys and content["subject"]["made_for"] == "SOA"
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["scripted"]
