"""Parameters and inputs of the golden values, filled from a formula (tests/golden/RECIPE.md)."""

import json
import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn

from baselines.attngan import AttnGAN
from dmgan.models.dmgan import DMGAN
from dmgan.options import ArchitectureOptions
from dmgan.text.damsm import EncodedCaptions
from dmgan.text.encoders import TextEncoder
from tests.paths import GOLDEN


def load(name: str) -> dict:
    """One golden file."""
    return json.loads((GOLDEN / name).read_text())


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The recipe's number source U(name, k), float64 in (-1, 1), of the given shape."""
    count = math.prod(shape)
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(zlib.crc32(name.encode()))
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
        x = x ^ (x >> np.uint32(16))
    return ((x.astype(np.float64) + 0.5) / 2**31 - 1).reshape(shape)


def _value(label: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape)
    u = uniform(f"{label}/{key}", shape)
    if key.endswith("running_mean"):
        return 0.05 * u
    if key.endswith("running_var"):
        return 1 + 0.1 * np.abs(u)
    if key.endswith(("weight_u", "weight_v")):
        return u / (np.linalg.norm(u) + 1e-12)
    if len(shape) >= 2:
        return u * math.sqrt(6 / (math.prod(shape) / shape[0]))
    if key.endswith("weight"):
        return 1 + 0.1 * u
    return 0.1 * u


def fill(network: nn.Module, label: str, dtype: torch.dtype, names: dict[str, str] | None = None) -> nn.Module:
    """Fill every parameter and buffer of `network` by the recipe and give it that dtype.

    `names` maps our key to the recipe's where they differ (test doubles only).
    """
    state = {}
    for key, tensor in network.state_dict().items():
        value = _value(label, (names or {}).get(key, key), tuple(tensor.shape)).astype(np.float32)
        state[key] = torch.from_numpy(np.asarray(value)).to(torch.int64 if not tensor.is_floating_point() else dtype)
    network.to(dtype)
    network.load_state_dict(state)
    return network


class Small:
    """The small configuration of one repository: networks and inputs."""

    def __init__(self, repository: str, dtype: torch.dtype, **variant):
        self.golden = load(f"{repository}_small.json")
        self.outputs, meta = self.golden["outputs"], self.golden["meta"]
        self.dtype, self.meta = dtype, meta
        architecture = ArchitectureOptions(
            generator_width=meta["GF_DIM"],
            discriminator_width=meta["DF_DIM"],
            noise_dim=meta["Z_DIM"],
            condition_dim=meta["CONDITION_DIM"],
            residual_blocks=meta["R_NUM"],
        )
        model_class = {"dmgan": DMGAN, "attngan": AttnGAN}[repository]
        self.generator = fill(model_class(architecture, meta["EMBEDDING_DIM"], **variant), "netG", dtype)
        self.discriminators = self.generator.discriminators()
        for discriminator, size in zip(self.discriminators, (64, 128, 256), strict=True):
            fill(discriminator, f"netD{size}", dtype)
        self.text_encoder = fill(TextEncoder(meta["n_words"], meta["EMBEDDING_DIM"], dropout=0.0), "rnn", dtype)
        self.stub = fill(StubImageEncoder(meta["EMBEDDING_DIM"]), "stub", dtype)
        self.tokens, self.lengths = torch.tensor(meta["tokens"]), torch.tensor(meta["lens"])
        self.class_ids = torch.tensor(meta["class_ids"])
        self.words_dim, self.longest = meta["EMBEDDING_DIM"], max(meta["lens"])
        self.mask = torch.arange(self.longest)[None, :] >= self.lengths[:, None]
        self.batch = batch = meta["B"]
        z = self.input("z", (batch, meta["Z_DIM"]), math.sqrt(3))
        eps = self.input("eps", (batch, meta["CONDITION_DIM"]), math.sqrt(3))
        self.noise = torch.cat([z, eps], dim=1)
        self.sentence = self.input("sent", (batch, self.words_dim), 0.5)
        self.words = self.input("words", (batch, self.words_dim, self.longest), 0.5) * ~self.mask[:, None, :]
        self.real = [self.input(f"real{s}", (batch, 3, s, s), 1.0) for s in (64, 128, 256)]

    def captions(self) -> EncodedCaptions:
        """What the training step is told: the text encoder's own outputs on the tokens."""
        with torch.no_grad():
            words, sentence = self.text_encoder.eval()(self.tokens, self.lengths)
        return EncodedCaptions(sentence, words, self.mask, self.lengths)

    def input(self, name: str, shape: tuple[int, ...], amplitude: float) -> Tensor:
        """An input tensor of the recipe."""
        return torch.from_numpy((amplitude * uniform(f"input/{name}", shape)).astype(np.float32)).to(self.dtype)


class StubImageEncoder(nn.Module):
    """The recipe's stand-in for Inception in the small configuration."""

    def __init__(self, embedding_dim: int):
        super().__init__()
        self.region = nn.Conv2d(3, embedding_dim, 1, bias=False)
        self.code = nn.Linear(3, embedding_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pooled = 8 * nn.functional.adaptive_avg_pool2d(images, 17)
        return self.region(pooled), self.code(4 * images.square().mean(dim=(2, 3)))


def deviation(tensor: Tensor, golden: dict) -> float:
    """Largest relative deviation of a tensor, or of a number, from its golden entry.

    Relative to the entry's own scale: the standard deviation plus the mean's magnitude of a tensor.
    """
    ours = tensor.detach().double()
    if "value" in golden:
        return abs(float(ours) - golden["value"]) / max(abs(golden["value"]), 1e-12)
    assert list(ours.shape) == golden["shape"], (ours.shape, golden["shape"])
    flat = ours.flatten()
    count = len(golden["slice"])
    chosen = flat[torch.arange(count) * flat.numel() // count]
    scale = golden["std"] + abs(golden["mean"]) + 1e-12
    differences = (chosen - torch.tensor(golden["slice"], dtype=torch.float64)).abs().max()
    moments = max(abs(float(flat.mean()) - golden["mean"]), abs(float(flat.std(unbiased=False)) - golden["std"]))
    total = abs(float(flat.abs().sum()) - golden["abssum"]) / flat.numel()
    return max(float(differences), moments, total) / scale
