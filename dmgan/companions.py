"""Frozen networks, and the discriminators, that some models' further losses read in training."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.errors import UserError
from dmgan.features import FeatureNetwork
from dmgan.models.interface import TextToImageGAN
from dmgan.options import TrainingOptions
from dmgan.perceptual import perceptual_features
from dmgan.text.captioner import TrainedCaptioner
from dmgan.text.damsm import Damsm


class Companions(NamedTuple):
    """What a model in training may ask beside its own layers; no part of its parameters."""

    options: TrainingOptions
    damsm: Damsm
    discriminators: nn.ModuleList
    perceptual: FeatureNetwork | None = None
    captioner: TrainedCaptioner | None = None

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The DAMSM's regions (B, E, h, w) and codes (B, E) of images (B, 3, s, s), at the side it was trained on."""
        encoder, side = self.damsm.image_encoder, self.damsm.options.image_size
        if self.damsm.options.image_encoder != "inception" and images.shape[-1] != side:  # Inception resizes by itself
            images = resized(images, side)
        return encoder(images)


def resized(images: Tensor, side: int) -> Tensor:
    """Images (B, C, s, s) at another side: bilinear, antialiased.

    As products with the weights of torch's own resizing, whose gradient cannot repeat its bits on a GPU.
    """
    identity = torch.eye(images.shape[-1], dtype=images.dtype, device=images.device)[None, None]
    weights = F.interpolate(identity, size=(side, images.shape[-1]), mode="bilinear", antialias=True)[0, 0]
    with torch.autocast(images.device.type, enabled=False):  # products would be of half precision
        return weights @ images @ weights.t()


def read_companions(
    model: TextToImageGAN,
    damsm: Damsm,
    discriminators: nn.ModuleList,
    options: TrainingOptions,
    vgg16_weights: Path | None,
    captioner: Path | None,
    device,
) -> tuple[Companions, dict[str, object]]:
    """The networks that the model needs, and the hashes of the files they were read from."""
    companions, read = Companions(options, damsm, discriminators), {}
    if "perceptual" in model.needs:
        network = perceptual_features(options.perceptual, damsm, vgg16_weights)
        companions = companions._replace(perceptual=network)
        if options.perceptual == "vgg16":
            read["vgg16"] = network.sha256
    if "captioner" in model.needs:
        if captioner is None:
            raise UserError(
                "--captioner: not given, and the model's loss needs one; train it: "
                "python -m dmgan captioner --data FOLDER --damsm FOLDER --out FOLDER"
            )
        trained = TrainedCaptioner.read(captioner, damsm, device)
        companions, read["captioner"] = companions._replace(captioner=trained), trained.sha256
    return companions, read
