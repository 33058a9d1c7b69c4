"""SOA: which classes a caption names, which images are made, what is counted, and the detector's names."""

import json

import numpy as np
import pytest
import torch
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights, fasterrcnn_resnet50_fpn_v2

from dmgan.__main__ import main
from dmgan.data.coco_objects import COCO_CLASSES, named_coco_classes, plan_coco_images
from dmgan.errors import UserError
from dmgan.evaluation import metrics
from dmgan.evaluation.detector import FasterRcnn, class_of_label
from dmgan.evaluation.features import extract
from dmgan.evaluation.images import ImageSet, RealImages, sampled_images
from dmgan.evaluation.soa import DetectedObjects, TrueObjects, semantic_object_accuracy, soa_scores
from dmgan.options import EvaluationOptions
from dmgan.sampling.sample import sample_test_captions
from dmgan.storage import downloads as assets
from tests.conftest import CPU


def named(caption: str) -> set[str]:
    return {COCO_CLASSES[number] for number in named_coco_classes(caption)}


@pytest.mark.parametrize(
    ("caption", "classes"),
    [
        ("A red bus parked beside two cars.", {"bus", "car"}),
        ("Airplanes and a jet on the runway", {"airplane"}),
        ("A man on a jet ski", {"person"}),
        ("Two dogs watch a kitten", {"dog", "cat"}),
        ("A hot dog with mustard", {"hot dog"}),
        ("A bear beside a teddy bear", {"bear", "teddy bear"}),
        ("A TEDDY BEAR ON A BED", {"teddy bear", "bed"}),
        ("An empty train track", set()),
        ("A baby elephant and a baby", {"elephant", "person"}),
        ("A microwave oven in a flower bed", {"microwave"}),
        ("A train on the train tracks", {"train"}),
        ("An orange couch", {"couch"}),
        ("A bowl of oranges", {"bowl", "orange"}),
        ("A woven basket of pancakes", set()),
        ("An atv, a dapple and a MacBook", set()),
        ("Men surfing", {"person", "surfboard"}),
        ("wine glasses on a desk", {"wine glass", "dining table"}),
        ("knives and forks", {"knife", "fork"}),
        ("a purse, a suit-case", {"handbag", "suitcase"}),
        ("a dirt bike", {"motorcycle"}),
        ("a computer mouse", {"mouse"}),
        ("a mouse eats cheese", set()),
        ("buses, benches and sandwiches", {"bus", "bench", "sandwich"}),
        ("nothing to see", set()),
    ],
)
def test_a_caption_names_whole_words(caption, classes):
    assert named(caption) == classes


def test_every_class_is_named_by_its_own_name():
    own = {"orange": "oranges", "mouse": "computer mouse", "potted plant": "potted plant"}
    for name in COCO_CLASSES:
        text = {"sports ball": "ball", "fire hydrant": "hydrant", "tennis racket": "racket", "dining table": "table"}
        assert name in named(f"a {(own | text).get(name, name)} is here"), name
    assert len(COCO_CLASSES) == 80


def test_images_are_three_a_caption_and_one_a_drawn_caption_of_person():
    captions = {(image, 0): "a man" for image in range(20)} | {(20, 1): "a dog and a cat", (21, 0): "a hill"}
    plan = plan_coco_images(captions, seed=1, person_images=7)
    person = [each for each in plan if COCO_CLASSES[each.class_number] == "person"]
    assert len(person) == len(set(person)) == 7
    others = [(COCO_CLASSES[each.class_number], each.image, each.caption) for each in plan if each not in person]
    assert others == [("cat", 20, 1)] * 3 + [("dog", 20, 1)] * 3
    assert plan == plan_coco_images(captions, seed=1, person_images=7)
    assert plan != plan_coco_images(captions, seed=2, person_images=7)
    assert len(plan_coco_images(captions, seed=1)) == 20 + 6


def test_accuracy_over_classes_and_over_images():
    class_of = np.array([0, 0, 0, 0, 2, 2])
    shown = np.array([True, True, True, False, True, False])
    result = semantic_object_accuracy(class_of, shown, 3)
    assert result.by_class.tolist() == [0.75, 0.0, 0.5] and result.images.tolist() == [4, 0, 2]
    assert result.soa_c == pytest.approx((0.75 + 0 + 0.5) / 3)  # the class without images counts
    assert result.soa_i == pytest.approx(4 / 6)


class Scripted:
    """A detector that sees what a pixel's red level says: level n is class n."""

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
    """As much of a data set as a judge of objects reads."""

    def __init__(self, captions: list[str]):
        self._captions = captions

    def caption(self, image: int, caption: int) -> str:
        return self._captions[image]


def test_a_detector_s_finding_is_stored_and_scored_by_class(tmp_path):
    cat, dog, person = (COCO_CLASSES.index(name) for name in ("cat", "dog", "person"))
    captions = ["a cat", "a cat and a dog", "a hill with a dog", "a man"] * 10
    levels = [cat, dog, cat, person] * 10
    judge = DetectedObjects(Scripted())
    numbers, first = np.arange(40), np.zeros(40, int)
    subject = image_set(Levels(levels), numbers, first)
    stored = extract(subject.read, len(captions), [judge.network], tmp_path, CPU, 8, 0)
    scores = soa_scores([judge], subject, stored, Captions(captions), EvaluationOptions())
    assert list(scores) == ["SOA-C(scripted)", "SOA-I(scripted)"]
    by_class = {cat: 1 / 2, dog: 1 / 2, person: 1}  # cats are shown by the first of two, dogs by the second of three
    assert scores["SOA-C(scripted)"][0].value == pytest.approx(100 * sum(by_class.values()) / 80)
    assert scores["SOA-I(scripted)"][0].value == pytest.approx(100 * 3 / 5)
    assert scores["SOA-C(scripted)"][1]["images_of_a_class"] == "every evaluated image whose caption names it"
    assert scores["SOA-C(scripted)"][1]["classes"] == 80
    low, high = scores["SOA-I(scripted)"][0].interval
    assert low <= 60 <= high
    made_for = image_set(subject.read, numbers, first, np.array([cat, dog, dog, person] * 10))
    scores = soa_scores([judge], made_for, stored, Captions(captions), EvaluationOptions())
    assert scores["SOA-I(scripted)"][0].value == pytest.approx(100 * 3 / 4)
    assert scores["SOA-C(scripted)"][1]["images_of_a_class"].startswith("three of each caption")


def test_true_attributes_are_all_shown_by_real_images_and_few_by_shuffled_ones(dataset):
    test = dataset.indices("test")
    images = np.repeat(test, 3)
    captions = np.tile(np.arange(3), len(test))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "FOLDS", 2)

        def scores(read) -> list[float]:
            found = soa_scores([TrueObjects()], image_set(read, images, captions), {}, dataset, EvaluationOptions())
            return [score.value for score, _, _ in found.values()]

        assert scores(RealImages(dataset, images, 32)) == [100, 100]
        shuffled = scores(RealImages(dataset, images[::-1], 32))
        assert len(shuffled) == 2 and max(shuffled) < 60
        assert scores(Levels([0] * len(images))) == []  # what is not real has no stored truth


def test_a_part_of_the_captions_is_measured_over_the_same_classes(dataset):
    """Of few captions a class without images counts as 0, as in the release: it is not left out of the mean."""

    def sought(images, captions):
        return TrueObjects().sought(image_set(RealImages(dataset, images, 32), images, captions), {}, dataset)

    test = dataset.indices("test")
    whole, part = sought(np.repeat(test, 3), np.tile(np.arange(3), len(test))), sought(test[:1], np.zeros(1, int))
    assert whole.num_classes == part.num_classes == len(set(whole.class_of)) > len(set(part.class_of))
    assert part.class_of.tolist() == whole.class_of[whole.rows == 0].tolist()


def test_images_for_soa_are_sampled_with_their_classes(run_folder, data, dataset, tmp_path):
    """Every caption of the embedded set names a bird."""
    sample_test_captions(run_folder, data, tmp_path / "images", 5, 100, 16, False, CPU, soa=True)
    subject = sampled_images(tmp_path / "images", dataset)
    captions = sum(dataset.caption_count(image) for image in dataset.indices("test"))
    bird = COCO_CLASSES.index("bird")
    assert len(subject) == 3 * captions and (subject.class_of == bird).sum() == 3 * captions
    assert subject.read(len(subject) - 1).shape == (32, 32, 3)


def test_no_image_is_an_error():
    with pytest.raises(UserError, match="no caption names a class"):
        semantic_object_accuracy(np.empty(0, int), np.empty(0, bool), 80)


def test_labels_are_tied_to_classes_by_name():
    names = FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"]
    ties = class_of_label()
    assert sorted(ties.values()) == list(range(80)) and len(names) == 91
    assert all(names[label] == COCO_CLASSES[number] for label, number in ties.items())
    assert ties[1] == 0 and 12 not in ties and ties[90] == 79  # label 12 is a gap


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, min_size=32, max_size=32)


def test_the_detector_builds_and_gives_one_set_an_image(network):
    detector = FasterRcnn(network, "0" * 64)
    found = detector([torch.rand(3, 32, 32), torch.rand(3, 24, 32)])
    assert [type(each) for each in found] == [set, set]
    assert detector.name == "frcnn-v2@0.5" and detector.protocol["score_threshold"] == 0.5
    code = DetectedObjects(detector).network.identity()["code_sha256"]
    assert set(code) == {"dmgan.evaluation.detector", "dmgan.evaluation.networks", "dmgan.evaluation.soa"}


def test_boxes_count_above_the_threshold(network):
    labels, scores = torch.tensor([1, 12, 17, 18]), torch.tensor([0.9, 0.9, 0.5, 0.51])
    assert FasterRcnn(network, "")._classes(labels, scores) == {COCO_CLASSES.index("person"), COCO_CLASSES.index("dog")}


def test_evaluate_looks_for_objects_where_it_is_given_a_detector(run_folder, data, damsm_folder, tmp_path, monkeypatch):
    """The command that the workflow runs on the images made for SOA: no rung beside the judges of captions."""
    monkeypatch.setattr(FasterRcnn, "read", lambda weights, device: Scripted())
    sample_test_captions(run_folder, data, tmp_path / "images", 20, 100, 16, False, CPU)
    words = f"evaluate --images {tmp_path}/images --data {data} --damsm {damsm_folder} --out {tmp_path}/metrics.json"
    assert main([*words.split(), "--rungs", "--detector-weights", "weights.pth", "--device", "cpu"]) == 0
    content = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert set(content) == {"R-precision(training DAMSM)", "SOA-C(scripted)", "SOA-I(scripted)"}


def test_missing_and_wrong_weights_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"is not there; .*fetch faster-rcnn --to .*https://.*SHA-256 dd69338a"):
        FasterRcnn.read(tmp_path / "weights.pth", CPU)
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="is another file than fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth"):
        FasterRcnn.read(tmp_path / "weights.pth", CPU)
    monkeypatch.setattr(assets.Asset, "fits", lambda asset, sha256: True)
    with pytest.raises(UserError, match="is no state dict of Faster R-CNN v2"):
        FasterRcnn.read(tmp_path / "weights.pth", CPU)
