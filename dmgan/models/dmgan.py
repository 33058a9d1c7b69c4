"""DM-GAN: dynamic memory generative adversarial networks (Zhu et al., CVPR 2019).

Equation numbers are the paper's. Letters: w_i word features (N_w = embedding_dim), r_j image features at
pixel j (N_r = generator_width), m_i memory slots (N_m = 2 N_r), T words, N pixels.
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
    """Switches of the memory; the defaults are the released code's."""

    key_value: bool = (
        True  # Eq. 4-5: separate phi_K and phi_V; false: one projection is key and value (Table 3, baseline)
    )
    write_gate: bool = True  # Eq. 7-8; false: m_i = M(w_i), Eq. 3
    response: str = "gate"  # "gate": Eq. 9; "concatenate": Eq. 6
    relu: bool = True  # the release puts a ReLU behind M, phi_K and phi_V; false: Eq. 3-5 and 8, which have none
    detach_mean: bool = True  # the release lets no gradient through the mean of r; false: Eq. 7-8 as they stand
    duplicate_response: bool = True  # the release concatenates the result of Eq. 9 with itself; false: Eq. 9 alone
    word_mask: str = "corrected"  # "released": padded words masked by a neighbour's caption (see blocks.attend)

    def __post_init__(self):
        if self.response not in ("gate", "concatenate"):
            raise UserError(f"response {self.response!r}: must be gate or concatenate")
        if self.word_mask not in ("corrected", "released"):
            raise UserError(f"word_mask {self.word_mask!r}: must be corrected or released")


class MemoryRefinement(nn.Module):
    """One dynamic-memory refinement: features (B, N_r, s, s) -> (B, N_r, 2s, 2s)."""

    def __init__(self, width: int, embedding_dim: int, residual_blocks: int, memory: MemoryOptions):
        super().__init__()
        self.memory = memory
        slot = 2 * width if memory.key_value else width
        if memory.write_gate:
            self.A = nn.Linear(embedding_dim, 1, bias=False)
            self.B = nn.Linear(width, 1, bias=False)
            self.M_r = self._conv1d(width, slot)
        self.M_w = self._conv1d(embedding_dim, slot)
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

    # DM-GAN Eq. 7-8 (gated), Eq. 3 (not gated)
    def write(self, R: Tensor, W: Tensor) -> tuple[Tensor, Tensor | None]:
        """Memory slots (B, N_m, T) and the writing gate (B, 1, T) from R (B, N_r, s, s) and W (B, N_w, T)."""
        if not self.memory.write_gate:
            return self.M_w(W), None
        r_mean = R.mean(dim=(2, 3))
        if self.memory.detach_mean:
            r_mean = r_mean.detach()
        g = torch.sigmoid(self.A(W.transpose(1, 2)) + self.B(r_mean)[:, None, :]).transpose(1, 2)
        return g * self.M_w(W) + (1 - g) * self.M_r(r_mean[:, :, None]), g

    # DM-GAN Eq. 4-5
    def read(self, R: Tensor, m: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Reads o (B, N_r, s, s) and addressing weights alpha (B, T, s, s)."""
        keys, values = (self.key(m), self.value(m)) if self.memory.key_value else (m, m)
        return attend(R, keys, values, word_mask, self.memory.word_mask)

    # DM-GAN Eq. 9 (gate), Eq. 6 (concatenate)
    def respond(self, R: Tensor, o: Tensor) -> Tensor:
        """Fused features, (B, 2 N_r, s, s), or (B, N_r, s, s) for a gated response that is not duplicated."""
        if self.memory.response == "concatenate":
            return torch.cat([R, o], dim=1)
        g = self.response_gate(torch.cat([R, o], dim=1))
        R_new = o * g + R * (1 - g)
        return torch.cat([R_new, R_new], dim=1) if self.memory.duplicate_response else R_new

    def forward(self, R: Tensor, W: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        m, gate = self.write(R, W)
        o, alpha = self.read(R, m, word_mask)
        features = self.upsample(self.residual(self.respond(R, o)))
        return features, alpha, None if gate is None else gate[:, 0]


class DMGAN(TextToImageGAN):
    """The generator of DM-GAN: an initial image, then dynamic-memory refinements of it."""

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int, **switches):
        super().__init__(architecture, embedding_dim)
        self.memory = MemoryOptions(**switches)
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

    def discriminators(self) -> nn.ModuleList:
        width = self.architecture.discriminator_width
        return discriminators_for(self.image_sizes, width, self.embedding_dim, normalisation="spectral")
