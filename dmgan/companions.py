"""Frozen networks, and the discriminators, that some models' further losses read in training."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from dmgan import files
from dmgan.captioner import TrainedCaptioner
from dmgan.damsm import Damsm
from dmgan.errors import UserError
from dmgan.models.interface import TextToImageGAN
from dmgan.options import TrainingOptions
from dmgan.perceptual import perceptual_features


class Companions(NamedTuple):
    """What a model in training may ask beside its own layers; no part of its parameters."""

    options: TrainingOptions
    damsm: Damsm
    discriminators: nn.ModuleList
    perceptual: nn.Module | None = None
    captioner: TrainedCaptioner | None = None

    def regions(self, images: Tensor) -> Tensor:
        """The DAMSM's regions (B, E, h, w) of images (B, 3, s, s), enlarged to the side it was trained on."""
        encoder, options = self.damsm.image_encoder, self.damsm.options
        if options.image_encoder != "inception":  # which enlarges by itself
            images = enlarged(images, options.image_size)
        return encoder(images)[0]


def enlarged(images: Tensor, side: int) -> Tensor:
    """Images (B, 3, s, s) at another side, bilinear with antialiasing."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


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
        companions = companions._replace(perceptual=network.to(device))
        if options.perceptual == "vgg16":
            read["vgg16"] = files.file_sha256(vgg16_weights)
    if "captioner" in model.needs:
        if captioner is None:
            raise UserError(
                "--captioner: not given, and the model's loss needs one; train it: "
                "python -m dmgan captioner --data FOLDER --out FOLDER"
            )
        trained = TrainedCaptioner.read(captioner, device)
        if trained.vocabulary != damsm.vocabulary:
            raise UserError(f"{captioner}: its vocabulary is not that of the encoders; train it on the same data set")
        companions, read["captioner"] = companions._replace(captioner=trained), trained.sha256
    return companions, read
