"""The detector of SOA: its labels, its threshold, and its weights."""

import pytest
import torch
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights, fasterrcnn_resnet50_fpn_v2

from dmgan.data.coco_objects import COCO_CLASSES
from dmgan.errors import UserError
from dmgan.evaluation.networks.detector import FasterRcnn, class_of_label
from dmgan.storage import downloads
from tests.conftest import CPU


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


def test_boxes_count_above_the_threshold(network):
    labels, scores = torch.tensor([1, 12, 17, 18]), torch.tensor([0.9, 0.9, 0.5, 0.51])
    assert FasterRcnn(network, "")._classes(labels, scores) == {COCO_CLASSES.index("person"), COCO_CLASSES.index("dog")}


def test_missing_and_wrong_weights_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"does not exist; .*fetch faster-rcnn --to .*https://.*SHA-256 dd69338a"):
        FasterRcnn.read(tmp_path / "weights.pth", CPU)
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="is not fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth"):
        FasterRcnn.read(tmp_path / "weights.pth", CPU)
    monkeypatch.setattr(downloads.Asset, "fits", lambda asset, sha256: True)
    with pytest.raises(UserError, match="damaged, truncated or not weights; give the file that .*fetch faster-rcnn"):
        FasterRcnn.read(tmp_path / "weights.pth", CPU)
