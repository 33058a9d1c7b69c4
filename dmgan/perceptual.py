"""Feature networks of a perceptual loss: VGG-16 to relu2_2, and the stand-in where its weights are not at hand."""

from pathlib import Path

from dmgan.errors import UserError
from dmgan.features import FeatureNetwork, vgg16
from dmgan.storage import files
from dmgan.text.damsm import Damsm
from dmgan.text.encoders import SmallImageEncoder

_SMALL_LAYERS = 6  # of the small image encoder: two blocks, a quarter of the side


def perceptual_features(kind: str, damsm: Damsm, vgg16_weights: Path | None) -> FeatureNetwork:
    """The frozen network that TrainingOptions.perceptual names."""
    if kind == "vgg16":
        return vgg16(vgg16_weights, "relu2_2", "perceptual vgg16", "--perceptual damsm")
    if vgg16_weights is not None:
        raise UserError(f"--vgg16-weights {vgg16_weights}: perceptual damsm reads none; leave it out")
    if not isinstance(damsm.image_encoder, SmallImageEncoder):
        raise UserError(
            "perceptual damsm: stands in with the small image encoder alone; give --vgg16-weights and "
            "--perceptual vgg16"
        )
    return FeatureNetwork("damsm", damsm.image_encoder.layers[:_SMALL_LAYERS], files.json_sha256(damsm.sha256))
