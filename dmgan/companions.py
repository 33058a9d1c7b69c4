"""Frozen networks, and the discriminators, that some models' further losses read in training."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.captioner import TrainedCaptioner
from dmgan.damsm import Damsm
from dmgan.errors import UserError
from dmgan.features import FeatureNetwork
from dmgan.models.interface import TextToImageGAN
from dmgan.options import TrainingOptions
from dmgan.perceptual import perceptual_features


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
            images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        return encoder(images)


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
