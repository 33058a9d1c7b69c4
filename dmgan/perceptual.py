"""Feature networks of a perceptual loss: VGG-16 to relu2_2, and the stand-in where its weights are not at hand."""

from pathlib import Path

import torch
from torch import Tensor, nn

from dmgan.damsm import Damsm
from dmgan.encoders import SmallImageEncoder
from dmgan.errors import UserError

_RELU2_2 = 9  # layers of torchvision's vgg16().features up to and with relu2_2
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SMALL_LAYERS = 6  # of the small image encoder: two blocks, a quarter of the side


class Vgg16Features(nn.Module):
    """VGG-16 up to relu2_2: images (B, 3, s, s) in [-1, 1] -> (B, 128, s/2, s/2)."""

    def __init__(self):
        from torchvision.models.vgg import cfgs, make_layers

        super().__init__()
        self.features = make_layers(cfgs["D"])[:_RELU2_2]  # "D" is VGG-16
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.features(((images + 1) / 2 - self.mean) / self.std)

    def load(self, path: Path) -> None:
        """torchvision's state dict; its later layers are left out."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.load_state_dict({key: state[key] for key in self.state_dict()})
        except Exception as error:  # torch.load raises many kinds for a file that is no state dict
            raise UserError(f"{path}: is not torchvision's vgg16 state dict ({error}); fetch it again") from error


def perceptual_features(kind: str, damsm: Damsm, vgg16_weights: Path | None) -> nn.Module:
    """The frozen network that TrainingOptions.perceptual names."""
    if kind == "vgg16":
        if vgg16_weights is None:
            raise UserError(
                "perceptual vgg16: needs VGG-16's weights; give --vgg16-weights vgg16-*.pth (torchvision's file), or "
                "--perceptual damsm for the stand-in"
            )
        network = Vgg16Features()
        network.load(vgg16_weights)
    elif isinstance(damsm.image_encoder, SmallImageEncoder):
        network = damsm.image_encoder.layers[:_SMALL_LAYERS]
    else:
        raise UserError(
            "perceptual damsm: stands in with the small image encoder alone; give --vgg16-weights and "
            "--perceptual vgg16"
        )
    return network.eval().requires_grad_(False)
