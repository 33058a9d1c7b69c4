"""Frozen networks that extra losses read in training."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dmgan.errors import UserError
from dmgan.models.vgg import FeatureNetwork, vgg16
from dmgan.options import TrainingOptions
from dmgan.storage import files
from dmgan.text.captioner import TrainedCaptioner
from dmgan.text.damsm import Damsm
from dmgan.text.encoders import SmallImageEncoder

_SMALL_LAYERS = 6  # first layers of the small image encoder: two blocks, which reduce the side to a quarter


class LossNetworks(NamedTuple):
    """Frozen networks, named as in `needs` of a registry entry; None: the model does not need the network."""

    damsm: Damsm | None = None
    perceptual: FeatureNetwork | None = None
    captioner: TrainedCaptioner | None = None
    features: FeatureNetwork | None = None  # computes the image features that a retrieving model reads


@dataclass(frozen=True)
class LossContext:
    """Inputs of extra losses beside images and captions."""

    options: TrainingOptions
    networks: LossNetworks
    discriminators: nn.ModuleList

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the DAMSM's regions (B, E, h, w) and embeddings (B, E) of images (B, 3, s, s) of any side."""
        return self.networks.damsm.encode_images(images)


def read_loss_networks(
    needs: frozenset[str],
    damsm: Damsm,
    options: TrainingOptions,
    vgg16_weights: Path | None,
    captioner: Path | None,
    device: torch.device,
) -> tuple[LossNetworks, dict[str, object]]:
    """Read the networks named in `needs`; return the networks, and the hashes of their files by name."""
    networks, sha256 = LossNetworks(damsm), {}
    if "perceptual" in needs:
        network = perceptual_features(options.perceptual, damsm, vgg16_weights)
        networks = networks._replace(perceptual=network)
        if options.perceptual == "vgg16":
            sha256["vgg16"] = network.sha256
    if "captioner" in needs:
        if captioner is None:
            raise UserError(
                "--captioner: is missing, but the model's loss needs a captioner; train it: "
                "python -m dmgan captioner --data FOLDER --damsm FOLDER --out FOLDER"
            )
        trained = TrainedCaptioner.read(captioner, damsm, device)
        networks, sha256["captioner"] = networks._replace(captioner=trained), trained.sha256
    return networks, sha256


def perceptual_features(kind: str, damsm: Damsm, vgg16_weights: Path | None) -> FeatureNetwork:
    """Return the frozen network that TrainingOptions.perceptual names; it reads images in [-1, 1], as released."""
    if kind == "vgg16":
        return vgg16(vgg16_weights, "relu2_2", "perceptual vgg16", "--perceptual damsm", normalises=False)
    if vgg16_weights is not None:
        raise UserError(f"--vgg16-weights {vgg16_weights}: is not used with perceptual damsm; leave it out")
    if not isinstance(damsm.image_encoder, SmallImageEncoder):
        raise UserError(
            "perceptual damsm: works only with the small image encoder; give --vgg16-weights and --perceptual vgg16"
        )
    return FeatureNetwork("damsm", damsm.image_encoder.layers[:_SMALL_LAYERS], files.json_sha256(damsm.sha256))
