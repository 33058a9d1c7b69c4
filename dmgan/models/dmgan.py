"""DM-GAN: dynamic memory generative adversarial networks (Zhu et al., CVPR 2019), and its variant KVM-GAN.

Equation numbers are the paper's. Letters: w_i word features (N_w = embedding_dim), r_j image features at
pixel j (N_r = generator_width), m_i memory slots (N_m = 2 N_r), T words, N pixels.

KVM-GAN is an earlier draft of the same memory. The draft has no equation numbers; this file numbers the equations of
its section 3.2 in order: 1 mean image feature, 2 writing gate, 3 memory, 4 key addressing, 5 value reading,
6 response gate, 7 response. The draft's I_j are the r_j, its O_i the o_j. baselines/README.md explains how ambiguous
formulas of the draft are interpreted.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmgan.errors import UserError
from dmgan.models.blocks import (
    ConditioningAugmentation,
    ImageHead,
    InitialStage,
    ResidualBlock,
    attend,
    up_block,
)
from dmgan.models.discriminators import discriminators_for
from dmgan.models.interface import Generated, TextToImageGAN
from dmgan.options import ArchitectureOptions


@dataclass(frozen=True)
class MemoryOptions:
    """Options of the memory; the defaults reproduce the released code."""

    key_value: bool = (
        True  # Eq. 4-5: separate phi_K and phi_V; false: one projection is key and value (Table 3, baseline)
    )
    write_gate: str = "sigmoid"  # "sigmoid": Eq. 7-8; "linear": KVM-GAN Eq. 2-3; "none": m_i = M(w_i), Eq. 3
    gate_width: str = "scalar"  # "scalar": one number per word; "vector": N_m numbers per word (KVM-GAN)
    share_write: bool = False  # one convolution M for words and image (KVM-GAN Eq. 3 has one symbol)
    address_axis: str = "word"  # "word": Eq. 4; "pixel": KVM-GAN Eq. 4; "pixel_scaled": "pixel" times N / T
    response: str = "gate"  # "gate": Eq. 9; "concatenate": Eq. 6
    relu: bool = True  # true: ReLU after M, phi_K and phi_V (release); false: no ReLU (Eq. 3-5 and 8)
    detach_mean: bool = True  # true: the mean of r is detached (release); false: it has a gradient (Eq. 7-8)
    duplicate_response: bool = True  # true: the result of Eq. 9 is concatenated with itself (release); false: Eq. 9
    word_mask: str = "corrected"  # "released": padding is masked as in the released code (see blocks.attend)

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"{name} {getattr(self, name)!r}: must be {' or '.join(choices)}")
        if self.write_gate == "none" and (self.gate_width, self.share_write) != ("scalar", False):
            raise UserError("write_gate 'none': has no gate; omit gate_width and share_write")
        if self.address_axis != "word" and self.word_mask == "released":
            raise UserError(
                f"address_axis {self.address_axis!r}: is not in the released code; word_mask must be corrected"
            )


_CHOICES = {
    "write_gate": ("sigmoid", "linear", "none"),
    "gate_width": ("scalar", "vector"),
    "address_axis": ("word", "pixel", "pixel_scaled"),
    "response": ("gate", "concatenate"),
    "word_mask": ("corrected", "released"),
}


class UnboundedGate(nn.Linear):
    """Layer A or B of a writing gate without sigmoid; weights are small, so that the gate starts near `start`."""

    keeps_initialisation = True  # `initialise` would set the bias, and thereby the gate, to 0

    def __init__(self, inputs: int, outputs: int, start: float | None):
        """Create the layer; start: initial bias; None: no bias."""
        self.start = start
        super().__init__(inputs, outputs, bias=start is not None)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.02)
        if self.start is not None:
            nn.init.constant_(self.bias, self.start)


def attend_over_pixels(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scaled: bool
) -> tuple[Tensor, Tensor]:
    """Attend to words at every pixel, with the softmax of <query, key> over pixels; padding is masked.

    Arguments and results are those of `blocks.attend`. The weights of a word sum to one over the N pixels, so that the
    words' weights at a pixel sum to T / N on average; scaled=True multiplies by N / T, for a caption of T words.
    """
    batch, channels, height, width = queries.shape
    scores = torch.einsum("bcn,bct->btn", queries.flatten(2), keys)
    weights = scores.softmax(dim=2).masked_fill(mask[:, :, None], 0.0)
    if scaled:
        weights = weights * (height * width / (~mask).sum(dim=1))[:, None, None]
    reads = torch.einsum("btn,bct->bcn", weights, values)
    return reads.view(batch, channels, height, width), weights.view(batch, -1, height, width)


class MemoryRefinement(nn.Module):
    """One dynamic-memory refinement: features (B, N_r, s, s) -> (B, N_r, 2s, 2s)."""

    def __init__(self, width: int, embedding_dim: int, residual_blocks: int, memory: MemoryOptions):
        super().__init__()
        self.memory = memory
        slot = 2 * width if memory.key_value else width
        gate = slot if memory.gate_width == "vector" else 1
        if memory.write_gate == "sigmoid":
            self.A = nn.Linear(embedding_dim, gate, bias=False)
            self.B = nn.Linear(width, gate, bias=False)
        elif memory.write_gate == "linear":
            self.A = UnboundedGate(embedding_dim, gate, start=0.5)
            self.B = UnboundedGate(width, gate, start=None)
        if memory.write_gate != "none":
            self.M_r = self._conv1d(width, slot)
        self.M_w = self._conv1d(embedding_dim, slot)
        if memory.share_write:
            self.M = self._conv1d(slot, slot)
        if memory.key_value:
            self.key = self._conv1d(slot, width)
            self.value = self._conv1d(slot, width)
        if memory.response == "gate":
            self.response_gate = nn.Sequential(nn.Conv2d(2 * width, 1, kernel_size=1), nn.Sigmoid())
        channels = 2 * width if memory.response == "concatenate" or memory.duplicate_response else width
        self.residual = nn.Sequential(*[ResidualBlock(channels) for _ in range(residual_blocks)])
        self.upsample = up_block(channels, width)

    def _conv1d(self, inputs: int, outputs: int) -> nn.Sequential:
        conv = nn.Conv1d(inputs, outputs, kernel_size=1)
        return nn.Sequential(conv, nn.ReLU()) if self.memory.relu else nn.Sequential(conv)

    def gated(self, g: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """Return `new` where the gate g is 1, and `old` where it is 0."""
        return g * new + (1 - g) * old

    # DM-GAN Eq. 7-8 (sigmoid), Eq. 3 (none); KVM-GAN Eq. 1-3 (linear)
    def write(self, R: Tensor, W: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return memory slots (B, N_m, T) and gate (B, 1 or N_m, T) of R (B, N_r, s, s) and W (B, N_w, T)."""
        if self.memory.write_gate == "none":
            return self.M_w(W), None
        r_mean = R.mean(dim=(2, 3))
        if self.memory.detach_mean:
            r_mean = r_mean.detach()
        g = self.A(W.transpose(1, 2)) + self.B(r_mean)[:, None, :]
        if self.memory.write_gate == "sigmoid":
            g = torch.sigmoid(g)
        g = g.transpose(1, 2)
        words, image = self.M_w(W), self.M_r(r_mean[:, :, None])
        if self.memory.share_write:  # here M_w and M_r only map words and image to the N_m channels that M expects
            words, image = self.M(words), self.M(image)
        return self.gated(g, words, image), g

    # DM-GAN Eq. 4-5; with address_axis="pixel": KVM-GAN Eq. 4-5, summed over words
    def read(self, R: Tensor, m: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return memory reads o (B, N_r, s, s) and addressing weights alpha (B, T, s, s)."""
        keys, values = (self.key(m), self.value(m)) if self.memory.key_value else (m, m)
        if self.memory.address_axis == "word":
            return attend(R, keys, values, word_mask, self.memory.word_mask)
        return attend_over_pixels(R, keys, values, word_mask, scaled=self.memory.address_axis == "pixel_scaled")

    # DM-GAN Eq. 9 and KVM-GAN Eq. 6-7 (gate), DM-GAN Eq. 6 (concatenate)
    def respond(self, R: Tensor, o: Tensor) -> Tensor:
        """Return fused features (B, 2 N_r, s, s), or (B, N_r, s, s) for a gated response without duplication."""
        if self.memory.response == "concatenate":
            return torch.cat([R, o], dim=1)
        g = self.response_gate(torch.cat([R, o], dim=1))
        R_new = self.gated(g, o, R)
        return torch.cat([R_new, R_new], dim=1) if self.memory.duplicate_response else R_new

    def forward(self, R: Tensor, W: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        m, gate = self.write(R, W)
        o, alpha = self.read(R, m, word_mask)
        features = self.upsample(self.residual(self.respond(R, o)))
        return features, alpha, gate


class DMGAN(TextToImageGAN):
    """The generator of DM-GAN and KVM-GAN: an initial image, then dynamic-memory refinements of the image."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int, **variant):
        super().__init__(architecture, embedding_dim)
        self.memory = MemoryOptions(**variant)
        width = architecture.generator_width
        self.ca_net = ConditioningAugmentation(embedding_dim, architecture.condition_dim)
        self.h_net1 = InitialStage(architecture.condition_dim + architecture.noise_dim, width, architecture.base_size)
        self.img_net1 = ImageHead(width)
        for stage in range(2, architecture.stages + 1):
            refinement = MemoryRefinement(width, embedding_dim, architecture.residual_blocks, self.memory)
            setattr(self, f"h_net{stage}", refinement)
            setattr(self, f"img_net{stage}", ImageHead(width))

    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        z, epsilon = noise.split([self.architecture.noise_dim, self.architecture.condition_dim], dim=1)
        mean, logvar = self.ca_net(sentence)
        condition = mean + epsilon * torch.exp(0.5 * logvar)

        R = self.h_net1(torch.cat([condition, z], dim=1))
        images, attention, gates = [self.img_net1(R)], [], []
        for stage in range(2, self.architecture.stages + 1):
            R, alpha, gate = getattr(self, f"h_net{stage}")(R, words, word_mask)
            images.append(getattr(self, f"img_net{stage}")(R))
            attention.append(alpha)
            if gate is not None:
                gates.append(gate)
        return Generated(images, attention, mean, logvar, gates)

    @property
    def attention_axis(self) -> str:
        return self.memory.address_axis

    @property
    def gates_bounded(self) -> bool:
        return self.memory.write_gate != "linear"

    def diagnostics(self, generated: Generated) -> dict[str, Tensor]:
        """Return mean and maximum absolute value of unbounded writing gates, which grow if training fails."""
        if self.gates_bounded:
            return {}
        sizes = torch.cat([gate.detach().abs().flatten() for gate in generated.gates])
        return {"gate_mean": sizes.mean(), "gate_max": sizes.max()}

    def discriminators(self) -> nn.ModuleList:
        width = self.architecture.discriminator_width
        return discriminators_for(self.image_sizes, width, self.embedding_dim, normalisation="spectral")
