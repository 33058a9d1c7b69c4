"""The networks of an evaluation, loaded once for several image sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.evaluation.free_captions import FreeCaptions
from dmgan.evaluation.networks.attributes import AttributeClassifier
from dmgan.evaluation.networks.base import ExtractorInputs, FeatureExtractor
from dmgan.evaluation.networks.caption_encoder import CaptionEncoder
from dmgan.evaluation.networks.damsm import read_damsm_encoders
from dmgan.evaluation.networks.reference_statistics import ReferenceStatistics
from dmgan.evaluation.networks.table import read_extractors
from dmgan.text.damsm import Damsm


class NetworkFiles(NamedTuple):
    """Files and folders that the networks of an evaluation are loaded from; None: not used."""

    extractors: tuple[str, ...]  # names of the extractors of IS, FID, KID and PRDC
    classifier: Path | None  # species classifier, for the extractor species
    weights: Path  # folder of the Inception weights
    damsm: Path | None  # the encoders that trained the generators, or were released with them
    held_out_damsm: Path | None = None
    clip: tuple[str, Path] | None = None  # model and weights
    attributes: Path | None = None  # attribute classifier
    detector: Path | None = None  # weights of SOA's detector
    reference_npz: tuple[tuple[str, Path], ...] = ()  # extractor and statistics of real features
    probe: Path | None = None  # linear probe of efficientnet-lite0

    def without_scorers_of_captions(self) -> "NetworkFiles":
        """Return the files without those of networks that score captions, for images without captions."""
        return self._replace(damsm=None, held_out_damsm=None, clip=None, attributes=None, detector=None)


@dataclass(frozen=True)
class EvaluationNetworks:
    """The networks that metrics read."""

    extractors: dict[str, FeatureExtractor]
    damsm: Damsm | None
    caption_encoders: Sequence[CaptionEncoder]
    attributes: AttributeClassifier | None
    detector: FeatureExtractor | None  # detects COCO's classes
    reference_statistics: Sequence[ReferenceStatistics] = ()

    @classmethod
    def read(
        cls, files: NetworkFiles, dataset: PreparedDataset | FreeCaptions, device: torch.device
    ) -> "EvaluationNetworks":
        """Read the networks; raise UserError if a file is missing or does not belong to the data set."""
        extractors = read_extractors(
            files.extractors, ExtractorInputs(files.classifier, files.weights, device, files.probe)
        )
        statistics = []
        for name, path in files.reference_npz:
            if name not in extractors:
                raise UserError(f"--reference-npz {name}={path}: {name} is not among --extractors; add it")
            statistics.append(ReferenceStatistics.read(path, extractors[name]))
        damsm = None
        encoders: list[CaptionEncoder] = []
        if files.damsm is not None:
            damsm = Damsm.read(files.damsm).to(device)
            encoders += read_damsm_encoders(damsm, files.damsm, files.held_out_damsm, dataset, device)
        elif files.held_out_damsm is not None:
            raise UserError("--held-out-damsm: needs --damsm, the encoders that trained the generators")
        if files.clip is not None:
            from dmgan.evaluation.networks.clip import ClipEncoder

            encoders.append(ClipEncoder(*files.clip, device))
        attributes = detector = None
        if files.attributes is not None:
            attributes = AttributeClassifier.read(files.attributes, dataset, device)
        if files.detector is not None:
            from dmgan.evaluation.networks.detector import DetectedObjects, FasterRcnn  # takes seconds to import

            detector = DetectedObjects(FasterRcnn.read(files.detector, device))
        return cls(extractors, damsm, encoders, attributes, detector, statistics)
