"""The detector of SOA on photographs: torchvision's Faster R-CNN v2, trained on COCO.

The published SOA was measured with YOLOv3, so tables show values of this detector in a separate column.
"""

from pathlib import Path
from typing import Protocol

import torch
import torchvision
from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_V2_Weights, fasterrcnn_resnet50_fpn_v2

from dmgan.data.coco_objects import COCO_CLASSES
from dmgan.errors import UserError
from dmgan.evaluation.networks.base import CODEC, FeatureExtractor
from dmgan.storage import downloads, files
from dmgan.storage.weights import load_state, read_state_dict

ASSET = "faster-rcnn"
THRESHOLD = 0.5  # smallest score of a box that counts


def class_of_label() -> dict[int, int]:
    """Return {label of the network: COCO class}, matched by name; labels run to 90, with gaps."""
    names = FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"]
    return {label: COCO_CLASSES.index(name) for label, name in enumerate(names) if name in COCO_CLASSES}


class FasterRcnn:
    """Faster R-CNN as a detector of COCO classes; a class counts if the score of a box is above the threshold."""

    name = f"frcnn-v2@{THRESHOLD}"

    def __init__(self, network: torch.nn.Module, sha256: str):
        self._network = network.eval().requires_grad_(False)
        self._class_of_label = class_of_label()
        self.protocol = {
            "feature_network": "torchvision fasterrcnn_resnet50_fpn_v2",
            "feature_network_sha256": sha256,
            "score_threshold": THRESHOLD,
            "resize": "the detector's own: shorter side 800 px, bilinear",
            "library": f"torchvision {torchvision.__version__}",
        }

    @classmethod
    def read(cls, weights: Path, device: torch.device) -> "FasterRcnn":
        """Read torchvision's state dict of the network; raise UserError if the file is missing or is another file."""
        weights, asset = Path(weights), downloads.find(ASSET)
        hint = f"python -m dmgan fetch {ASSET} --to {weights.parent} ({asset.url}, SHA-256 {asset.sha256})"
        if not weights.is_file():
            raise UserError(f"{weights}: does not exist; the detector of SOA is torchvision's {asset.file}: {hint}")
        sha256 = files.file_sha256(weights)
        if not asset.fits(sha256):
            raise UserError(f"{weights}: is not {asset.file} (its SHA-256 is {sha256[:8]}…): {hint}")
        return cls(network_with(weights), sha256).to(device)

    def to(self, device: torch.device) -> "FasterRcnn":
        """Move the network."""
        self._network.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, images: list[Tensor]) -> list[set[int]]:
        """Return the numbers of the classes in each image (3, h, w), values 0 to 1."""
        device = next(self._network.parameters()).device
        found = self._network([image.to(device) for image in images])
        return [self._classes(each["labels"], each["scores"]) for each in found]

    def _classes(self, labels: Tensor, scores: Tensor) -> set[int]:
        kept = labels[scores > THRESHOLD].tolist()
        return {self._class_of_label[label] for label in kept if label in self._class_of_label}


def network_with(weights: Path) -> torch.nn.Module:
    """Return the network with the weights of a file; raise UserError if the state dict does not fit."""
    network = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, box_score_thresh=THRESHOLD)
    hint = f"give the file that 'python -m dmgan fetch {ASSET}' downloads"
    load_state(network, read_state_dict(weights, hint), str(weights), hint)
    return network


class Detector(Protocol):
    """Detects COCO's classes in images."""

    name: str
    protocol: dict[str, object]

    def __call__(self, images: list[Tensor]) -> list[set[int]]:
        """Return the numbers of the classes in each image (3, h, w), values 0 to 1."""


class DetectedObjects(FeatureExtractor):
    """Rows with 1 for each COCO class that the detector sees in an image."""

    packages = ("torch", "torchvision", "pillow")
    code = ("dmgan.data.coco_objects",)

    def __init__(self, detector: Detector):
        self.name, self._detector = detector.name, detector
        super().__init__({"shown": len(COCO_CLASSES)}, {**detector.protocol, "codec": CODEC})

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        images = list(batch.permute(0, 3, 1, 2).float() / 255)
        shown = torch.zeros(len(images), len(COCO_CLASSES))
        for row, found in zip(shown, self._detector(images), strict=True):
            row[list(found)] = 1
        return {"shown": shown}
