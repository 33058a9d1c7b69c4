"""The judges of an image: one class per feature network, each with its own resize and input range.

A rung of the FID ladder is a network and what is done to an image before it; two rungs never share a column
(docs: the same images score FID 14 or 24 by the rung). `tf`, `clean` and `openai-released` are one network with
three resizes, `torchvision` and `torchvision-released` one with two input ranges.
"""

import functools
import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dmgan.errors import UserError
from dmgan.evaluation.classifier import TrainedClassifier
from dmgan.options import RUNGS
from dmgan.runtime.provenance import versions
from dmgan.storage import downloads as assets
from dmgan.storage import files
from dmgan.storage.weights import load_state, read_state_dict
from dmgan.text.damsm import Damsm

INCEPTION_SIZE = 299
POOL, CLASSES = 2048, 1008  # widths of Inception's last pool, and of the logits of 2015
INCEPTION_2015, INCEPTION_TORCHVISION = "inception-2015", "inception"  # names of the assets


class FeatureNetwork:
    """uint8 images -> named float32 arrays, one row per image.

    `prepare` is what happens to one image (s, s, 3) before it is batched; None is nothing. It is a function of a
    module, so that it pickles into worker processes. `forward` takes the batch on the device.
    """

    name: str
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    packages: tuple[str, ...] = ("torch", "pillow")  # whose version can change a value

    def __init__(self, widths: dict[str, int], protocol: dict[str, object]):
        self.widths = widths  # of each array
        self.protocol = protocol  # network, hash of its weights, resize, input range: what a number is tagged with

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Prepared images (B, h, w, 3) -> arrays (B, width)."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def identity(self) -> dict[str, object]:
        """Everything that decides the stored values but the images: features of another identity are not read."""
        installed = versions()
        return {
            "name": self.name,
            "widths": self.widths,
            "protocol": self.protocol,
            "versions": {each: installed[each] for each in self.packages},
            "code_sha256": _code_sha256(self),
        }


def _code_sha256(network: FeatureNetwork) -> dict[str, str]:
    """Hash of each file of this project that a forward runs through, by module.

    They are the network's own and those of the modules and callables in it, such as the classifier's.
    """
    classes, left, seen = {type(network)}, [network], set()
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if callable(each):
            classes.add(type(each))
        if isinstance(each, nn.Module):
            left += each.children()
        elif isinstance(each, tuple):  # encoders or a classifier as they are read
            left += each
        elif _is_ours(type(each)):
            left += vars(each).values()
    ours = {base for each in classes for base in each.__mro__ if _is_ours(base)} | {type(network)}
    return {each.__module__: files.file_sha256(Path(inspect.getfile(each))) for each in sorted(ours, key=_module)}


def _module(kind: type) -> str:
    return kind.__module__


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith("dmgan.")


def resized(images: Tensor, size: int) -> Tensor:
    """Images (B, 3, s, s) at another side: bilinear, antialiased."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


def _channels_first(batch: Tensor) -> Tensor:
    """(B, h, w, 3) -> (B, 3, h, w) float32, levels 0 ... 255."""
    return batch.permute(0, 3, 1, 2).float()


def _signed(batch: Tensor) -> Tensor:
    """(B, h, w, 3) uint8 -> (B, 3, h, w) in [-1, 1]."""
    return _channels_first(batch).div_(127.5).sub_(1.0)


class Species(FeatureNetwork):
    """The species classifier of this data set."""

    name = "species"
    packages = ("torch",)

    def __init__(self, judge: TrainedClassifier):
        self._judge = judge
        protocol = {
            "feature_network": "species-classifier",
            "feature_network_sha256": judge.sha256,
            "feature_network_accuracy": judge.validation_accuracy,
            "resize": f"to {judge.options.image_size} px, bilinear with antialiasing, where the side differs",
            "input_range": "[-1, 1]",
            "codec": "8-bit RGB, lossless",
        }
        network = judge.network
        super().__init__({"features": network.logits.in_features, "logits": network.logits.out_features}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        features, logits = self._judge.network(resized(_signed(batch), self._judge.options.image_size))
        return {"features": features, "logits": logits}


class DamsmCodes(FeatureNetwork):
    """The DAMSM's image codes, which R-precision compares with sentence features."""

    packages = ("torch",)

    def __init__(self, encoders: Damsm, name: str):
        self.name, self._encoders = name, encoders
        protocol = {"feature_network": name, "feature_network_sha256": encoders.sha256, "codec": "8-bit RGB, lossless"}
        super().__init__({"codes": encoders.options.embedding_dim}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        # Inception's trunk resizes by itself, as the released code does.
        images, options = _signed(batch), self._encoders.options
        images = images if options.image_encoder == "inception" else resized(images, options.image_size)
        return {"codes": self._encoders.image_encoder(images)[1]}


# Inception of 2015, as torch-fidelity has it (its "inception-v3-compat"), and what is done before it.


class Weights(NamedTuple):
    """A state dict that was checked, and its hash."""

    state: dict[str, Tensor]
    sha256: str
    source: str


def read_weights(path: Path) -> Weights:
    """Read a state dict and the hash of its file."""
    return Weights(read_state_dict(path, "fetch it again"), files.file_sha256(path), str(path))


def find_weights(name: str, folder: Path) -> Weights:
    """The weights of an asset: from `folder`, where they are fetched to if they are not there; checked before use.

    UserError naming file, address and hash where they cannot be had.
    """
    asset = assets.find(name)
    path = Path(folder) / asset.file
    wanted = f"{asset.file} of {asset.url}, SHA-256 {asset.sha256}"
    if not path.exists():
        try:
            assets.fetch(asset, folder)
        except UserError as error:
            raise UserError(f"{path}: is not there and could not be fetched ({error}); wanted is {wanted}") from error
    weights = read_weights(path)
    if not asset.fits(weights.sha256):
        raise UserError(f"{path}: has SHA-256 {weights.sha256}; wanted is {wanted}; move it away and fetch it again")
    return weights


class Inception2015(nn.Module):
    """torch-fidelity's Inception-v3 of 2015 from its first convolution on."""

    def __init__(self, weights: Weights, device: torch.device):
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

        # The library unpickles what it is given: it gets a copy of what was read safely.
        copy = io.BytesIO()
        torch.save(weights.state, copy)
        copy.seek(0)
        try:
            whole = FeatureExtractorInceptionV3("tf", ["2048"], feature_extractor_weights_path=copy)
        except RuntimeError as error:
            raise UserError(
                f"{weights.source}: holds the weights of another network ({str(error).splitlines()[0]})"
            ) from error
        for block in whole.modules():
            if isinstance(block, BasicConv2d):  # its batch norm is a constant scale: into the weights with it
                block.conv, block.bn = fuse_conv_bn_eval(block.conv.eval(), block.bn.eval()), nn.Identity()
        children = dict(whole.named_children())
        self.fc = children.pop("fc")
        self.trunk = nn.Sequential(*children.values())
        self.sha256 = weights.sha256
        # Folded and channels-last, oneDNN's and cuDNN's convolutions take half the time; features agree to 1e-5.
        self.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Levels 0 ... 255 (B, 3, 299, 299) -> pool features (B, 2048) and logits without bias (B, 1008)."""
        features = self.trunk((images - 128) / 128).flatten(1)
        return {"features": features, "logits": features @ self.fc.weight.t()}


def _inception_protocol(name: str, sha256: str, resize: str, input_range: str) -> dict[str, object]:
    return {
        "feature_network": name,
        "feature_network_sha256": sha256,
        "resize": resize,
        "input_range": input_range,
        "codec": "8-bit RGB, lossless",
    }


_INCEPTION_2015_NAME = "Inception-v3 of 2015 (TensorFlow weights, torch-fidelity's inception-v3-compat)"


def pil_bilinear(pixels: np.ndarray) -> np.ndarray:
    """8-bit pixels at 299 px, Pillow's bilinear filter, rounded to 8 bits: the released evaluations' resize."""
    size = (INCEPTION_SIZE, INCEPTION_SIZE)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.BILINEAR))


@functools.cache
def _clean_resizer() -> Callable[[np.ndarray], np.ndarray]:
    from cleanfid.resize import build_resizer

    return build_resizer("clean")


def clean_resize(pixels: np.ndarray) -> np.ndarray:
    """Float levels at 299 px by clean-fid's own function (Pillow's bicubic filter on each channel as floats).

    clean-fid's function is a closure, which a worker process cannot be sent; this one can.
    """
    return _clean_resizer()(pixels)


class TfInception(FeatureNetwork):
    """torch-fidelity's protocol: TensorFlow 1's bilinear resize (not antialiased)."""

    name = "tf"
    packages = ("torch", "torch-fidelity")

    def __init__(self, network: Inception2015):
        self._network = network
        resize = "to 299 px, bilinear as TensorFlow 1's (no antialiasing, corners not aligned)"
        protocol = _inception_protocol(_INCEPTION_2015_NAME, network.sha256, resize, "(x - 128) / 128")
        super().__init__({"features": POOL, "logits": CLASSES}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as tf_resize

        size = (INCEPTION_SIZE, INCEPTION_SIZE)
        return self._network(tf_resize(_channels_first(batch), size=size, align_corners=False))


class CleanInception(FeatureNetwork):
    """clean-fid's protocol: its own resize, on the same weights."""

    name = "clean"
    prepare = staticmethod(clean_resize)
    packages = ("torch", "pillow", "torch-fidelity", "clean-fid")

    def __init__(self, network: Inception2015):
        self._network = network
        resize = "to 299 px, clean-fid's (Pillow bicubic, each channel as floats)"
        protocol = _inception_protocol(_INCEPTION_2015_NAME, network.sha256, resize, "(x - 128) / 128")
        super().__init__({"features": POOL}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"features": self._network(_channels_first(batch))["features"]}


class OpenaiInception(FeatureNetwork):
    """The released COCO Inception Score: OpenAI's script on 8-bit images that Pillow resized first."""

    name = "openai-released"
    prepare = staticmethod(pil_bilinear)
    packages = ("torch", "pillow", "torch-fidelity")

    def __init__(self, network: Inception2015):
        self._network = network
        resize = "to 299 px, Pillow bilinear, rounded to 8 bits"
        protocol = _inception_protocol(_INCEPTION_2015_NAME, network.sha256, resize, "(x - 128) / 128")
        super().__init__({"logits": CLASSES}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"logits": self._network(_channels_first(batch))["logits"]}


# torchvision's Inception, right and as the DM-GAN repository has it.


def build_torchvision_inception(
    weights: Weights, device: torch.device, memory_format: torch.memory_format
) -> nn.Module:
    """torchvision's inception_v3 from its input transform to the average pool."""
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, aux_logits=True, transform_input=True, init_weights=False)
    load_state(network, weights.state, weights.source, "fetch torchvision's inception_v3 again")
    network.fc, network.dropout, network.AuxLogits = nn.Identity(), nn.Identity(), None
    return network.to(device=device, memory_format=memory_format).eval().requires_grad_(False)


_TORCHVISION_NAME = "Inception-v3 of torchvision (IMAGENET1K_V1)"
_IMAGENET_MEAN, _IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TorchvisionInception(FeatureNetwork):
    """ImageNet weights of torchvision with the input they were trained on."""

    name = "torchvision"
    prepare = staticmethod(pil_bilinear)
    packages = ("torch", "pillow", "torchvision")

    def __init__(self, weights: Weights, device: torch.device):
        self._network = build_torchvision_inception(weights, device, torch.channels_last)
        self._mean = torch.tensor(_IMAGENET_MEAN, device=device)[:, None, None]
        self._sd = torch.tensor(_IMAGENET_SD, device=device)[:, None, None]
        resize = "to 299 px, Pillow bilinear, rounded to 8 bits"
        protocol = _inception_protocol(_TORCHVISION_NAME, weights.sha256, resize, "ImageNet mean 0, sd 1: [-1, 1]")
        super().__init__({"features": POOL}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"features": self._network((_channels_first(batch).div_(255) - self._mean) / self._sd)}


class ReleasedTorchvisionInception(FeatureNetwork):
    """The FID of DM-GAN's repository: levels in [0, 1] go through a transform that is meant for ImageNet's range.

    The network then sees about [-0.19, 0.43]. Kept as it is, to compare with published numbers. Not channels-last:
    here the released numbers themselves are wanted, to the bit.
    """

    name = "torchvision-released"
    prepare = staticmethod(pil_bilinear)
    packages = ("torch", "pillow", "torchvision")
    batch = 50  # images; an incomplete last batch is dropped

    def __init__(self, weights: Weights, device: torch.device):
        self._network = build_torchvision_inception(weights, device, torch.contiguous_format)
        resize = "to 299 px, Pillow bilinear, rounded to 8 bits"
        protocol = _inception_protocol(
            _TORCHVISION_NAME, weights.sha256, resize, "[0, 1] put through transform_input, as released"
        )
        protocol["dropped"] = f"images behind the last whole batch of {self.batch}, on both sides, as released"
        super().__init__({"features": POOL}, protocol)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"features": self._network(_channels_first(batch).div_(255).contiguous())}


def build_networks(
    rungs: tuple[str, ...], classifier: Path | None, weights: Path, device: torch.device
) -> dict[str, FeatureNetwork]:
    """The networks of the rungs asked for, perhaps none, in that order; each weights file is read once.

    UserError for an unknown or repeated rung, or one whose weights cannot be had: no rung is left out silently.
    """
    unknown = [rung for rung in rungs if rung not in RUNGS]
    if unknown or len(set(rungs)) != len(rungs):
        raise UserError(f"--rungs {' '.join(rungs)}: must be some of {', '.join(RUNGS)}, each once")
    if "species" in rungs and classifier is None:
        raise UserError("--rungs species: needs the species classifier; give --classifier FOLDER")

    @functools.cache
    def inception_2015() -> Inception2015:
        return Inception2015(find_weights(INCEPTION_2015, weights), device)

    @functools.cache
    def torchvision() -> Weights:
        return find_weights(INCEPTION_TORCHVISION, weights)

    builders = {
        "species": lambda: Species(TrainedClassifier.read(classifier, device)),
        "tf": lambda: TfInception(inception_2015()),
        "clean": lambda: CleanInception(inception_2015()),
        "torchvision": lambda: TorchvisionInception(torchvision(), device),
        "torchvision-released": lambda: ReleasedTorchvisionInception(torchvision(), device),
        "openai-released": lambda: OpenaiInception(inception_2015()),
    }
    return {rung: builders[rung]() for rung in rungs}
