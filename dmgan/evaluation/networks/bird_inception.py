"""The Inception-v3 for birds of the released CUB evaluation (StackGAN's), and its weights from TensorFlow's names.

The released evaluation builds TF-slim's Inception-v3 with 51 logits, restores averaged (EMA) weights and drops logit 0,
an unused background class; the other 50 are CUB's test classes. Layers have torchvision's names here.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmgan.errors import UserError
from dmgan.storage.npy import read_arrays
from dmgan.storage.weights import shortened

CLASSES = 50  # of the test split
_AVERAGED = "/ExponentialMovingAverage"
_AUXILIARY = "aux_logits/"  # a head that only training reads
_SCOPES = {  # layer or block -> scope of TF-slim
    "Conv2d_1a_3x3": "conv0",
    "Conv2d_2a_3x3": "conv1",
    "Conv2d_2b_3x3": "conv2",
    "Conv2d_3b_1x1": "conv3",
    "Conv2d_4a_3x3": "conv4",
    "Mixed_5b": "mixed_35x35x256a",
    "Mixed_5c": "mixed_35x35x288a",
    "Mixed_5d": "mixed_35x35x288b",
    "Mixed_6a": "mixed_17x17x768a",
    "Mixed_6b": "mixed_17x17x768b",
    "Mixed_6c": "mixed_17x17x768c",
    "Mixed_6d": "mixed_17x17x768d",
    "Mixed_6e": "mixed_17x17x768e",
    "Mixed_7a": "mixed_17x17x1280a",
    "Mixed_7b": "mixed_8x8x2048a",
    "Mixed_7c": "mixed_8x8x2048b",
}
_BRANCH = re.compile(r"(branch_pool|branch\w+?)(?:_\d[ab]?)?")  # branch3x3dbl_3a is a layer of branch3x3dbl
_VARIABLES = {  # parameter of a layer -> variable of TF-slim; slim's batch norm has no scale
    "conv.weight": "weights",
    "bn.bias": "BatchNorm/beta",
    "bn.running_mean": "BatchNorm/moving_mean",
    "bn.running_var": "BatchNorm/moving_variance",
}


class BirdInception(nn.Module):
    """TF-slim's Inception-v3; its average pools leave the padding out, and both last blocks pool by averages."""

    def __init__(self):
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import (
            BasicConv2d,
            InceptionA,
            InceptionB,
            InceptionC,
            InceptionD,
            InceptionE_1,
        )

        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, kernel_size=3)
        self.Mixed_5b = InceptionA(192, pool_features=32)
        self.Mixed_5c = InceptionA(256, pool_features=64)
        self.Mixed_5d = InceptionA(288, pool_features=64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, channels_7x7=128)
        self.Mixed_6c = InceptionC(768, channels_7x7=160)
        self.Mixed_6d = InceptionC(768, channels_7x7=160)
        self.Mixed_6e = InceptionC(768, channels_7x7=192)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE_1(1280)
        self.Mixed_7c = InceptionE_1(2048)
        self.fc = nn.Linear(2048, CLASSES + 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, 50) of the test classes, of images (B, 3, 299, 299) in [-1, 1]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, kernel_size=3, stride=2)))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        for name in _SCOPES:
            if name.startswith("Mixed"):
                x = getattr(self, name)(x)
        return self.fc(x.mean(dim=(2, 3)))[:, 1:]


def slim_variables() -> dict[str, str]:
    """Return {entry of BirdInception's state dict: averaged variable of the checkpoint}."""
    with torch.device("meta"):
        network = BirdInception()
    entries, layers_of_branch = {}, {}
    for name, layer in network.named_modules():
        if not isinstance(getattr(layer, "conv", None), nn.Conv2d):
            continue
        block, _, inner = name.partition(".")
        scope = _SCOPES[block]
        if inner:
            branch = f"{scope}/{_BRANCH.fullmatch(inner)[1]}"
            number = layers_of_branch.setdefault(branch, 0)  # slim numbers the layers of a branch: Conv, Conv_1, ...
            layers_of_branch[branch] += 1
            scope = f"{branch}/Conv_{number}" if number else f"{branch}/Conv"
        entries |= {f"{name}.{entry}": f"{scope}/{variable}{_AVERAGED}" for entry, variable in _VARIABLES.items()}
    logits = {"fc.weight": "weights", "fc.bias": "biases"}
    return entries | {entry: f"logits/logits/{variable}{_AVERAGED}" for entry, variable in logits.items()}


def slim_to_state(variables: Mapping[str, np.ndarray], source: str) -> dict[str, Tensor]:
    """Return BirdInception's state dict from the checkpoint's variables by name.

    Kernels (h, w, in, out) become (out, in, h, w). Raise UserError naming variables that are missing, of another shape
    or averaged but unknown; the plain (not averaged) variables and the auxiliary head are not read.
    """
    wanted = slim_variables()
    averaged = {name for name in variables if name.endswith(_AVERAGED) and not name.startswith(_AUXILIARY)}
    missing, unknown = sorted(set(wanted.values()) - averaged), sorted(averaged - set(wanted.values()))
    with torch.device("meta"):
        shapes = {entry: tensor.shape for entry, tensor in BirdInception().state_dict().items()}
    state, wrong = {}, []
    for entry, name in wanted.items():
        if name in variables:
            values = np.asarray(variables[name], dtype=np.float32)
            moved = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T
            state[entry] = torch.from_numpy(np.ascontiguousarray(moved))
            wrong += [] if state[entry].shape == shapes[entry] else [f"{name} {tuple(values.shape)}"]
    faults = (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
    if told := "; ".join(f"{kind}: {shortened(names)}" for kind, names in faults if names):
        raise UserError(
            f"{source}: is not the checkpoint of the released bird Inception, averaged variables {told}; give "
            "birds_valid299/model.ckpt-5000 of StackGAN-inception-model"
        )
    scales = {entry: torch.ones(shape) for entry, shape in shapes.items() if entry.endswith("bn.weight")}
    counters = {entry: torch.zeros((), dtype=torch.int64) for entry in shapes if entry.endswith("num_batches_tracked")}
    return state | scales | counters


def read_variables(checkpoint: Path) -> dict[str, np.ndarray]:
    """Return the variables of a TensorFlow checkpoint by name, or those that an .npz file holds by name.

    Raise UserError if the file cannot be read, or if it is a checkpoint and TensorFlow is not installed.
    """
    if checkpoint.suffix == ".npz":
        return read_arrays(checkpoint, "give the variables of the checkpoint")
    try:
        from tensorflow.train import load_checkpoint
    except ImportError as error:
        raise UserError(
            f"{checkpoint}: a checkpoint is read by TensorFlow, which is not installed ({error}); install it (the "
            "extra convert of pyproject.toml), or save its variables by name as an .npz file elsewhere"
        ) from error
    try:
        reader = load_checkpoint(str(checkpoint))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow raises many types of exception for other files
        raise UserError(
            f"{checkpoint}: is not a readable checkpoint ({str(error).splitlines()[0]}); give the path without the "
            "suffix of its parts, such as birds_valid299/model.ckpt-5000"
        ) from error
