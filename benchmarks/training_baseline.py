"""Baseline of training: DM-GAN's step in plain float32 and eager mode, as in the released code.

The generator is in benchmarks.baseline. This module has the discriminators, the DAMSM's losses as loops, the Inception
encoder and the step. As in the release, the generator's update also computes (and discards) gradients of the
discriminators' weights, the word loss repeats every caption for the whole batch, the averaged weights are updated one
parameter at a time, and every loss is read at every step. Parameter names are those of the release.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.baseline import BaselineGenerator
from dmgan.options import ArchitectureOptions, MatchingOptions, TrainingOptions
from dmgan.text.encoders import ImageEncoder


def _unit(vector: Tensor) -> Tensor:
    return vector / (vector.norm() + 1e-12)


class _SpectralNorm(nn.Module):
    """Spectral normalisation of the weight as a matrix, with one power iteration per forward pass."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.module = nn.Module()
        conv = nn.Conv2d(inputs, outputs, kernel, stride, 1)
        self.stride = stride
        self.module.bias = conv.bias
        self.module.weight_u = nn.Parameter(_unit(torch.randn(outputs)), requires_grad=False)
        self.module.weight_v = nn.Parameter(_unit(torch.randn(inputs * kernel * kernel)), requires_grad=False)
        self.module.weight_bar = conv.weight

    def forward(self, x: Tensor) -> Tensor:
        u, v, w = self.module.weight_u, self.module.weight_v, self.module.weight_bar
        matrix = w.view(w.shape[0], -1)
        with torch.no_grad():
            v.copy_(_unit(torch.mv(matrix.t(), u)))
            u.copy_(_unit(torch.mv(matrix, v)))
        sigma = u.clone().dot(matrix.mv(v.clone()))
        return F.conv2d(x, w / sigma.expand_as(w), self.module.bias, self.stride, 1)


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    return [_SpectralNorm(inputs, outputs, kernel, stride), nn.LeakyReLU(0.2, inplace=True)]


class _Logits(nn.Module):
    def __init__(self, width: int, embedding_dim: int, conditional: bool):
        super().__init__()
        if conditional:
            self.jointConv = nn.Sequential(*_block(width * 8 + embedding_dim, width * 8, 3, 1))
        self.conditional = conditional
        self.outlogits = nn.Sequential(nn.Conv2d(width * 8, 1, kernel_size=4, stride=4), nn.Sigmoid())

    def forward(self, features: Tensor, sentence: Tensor | None = None) -> Tensor:
        if self.conditional:
            repeated = sentence.view(*sentence.shape, 1, 1).repeat(1, 1, 4, 4)
            features = self.jointConv(torch.cat((features, repeated), 1))
        return self.outlogits(features).view(-1)


class BaselineDiscriminator(nn.Module):
    """The discriminator of images of 64, 128 or 256 px: probabilities, not logits."""

    def __init__(self, size: int, width: int, embedding_dim: int):
        super().__init__()
        widths = [3] + [width * 2**i for i in range({64: 4, 128: 5, 256: 6}[size])]
        first = [layer for i in range(4) for layer in _block(widths[i], widths[i + 1], 4, 2)]
        self.img_code_s16 = nn.Sequential(*first)
        trunk = ["img_code_s16"]
        for i in range(4, len(widths) - 1):
            trunk.append(f"img_code_s{2 << i}")
            setattr(self, trunk[-1], nn.Sequential(*_block(widths[i], widths[i + 1], 4, 2)))
        for i in range(len(widths) - 1, 4, -1):
            trunk.append(f"img_code_s{1 << (len(widths) - 1)}_{len(widths) - i}")
            setattr(self, trunk[-1], nn.Sequential(*_block(widths[i], widths[i - 1], 3, 1)))
        self.trunk = trunk
        self.UNCOND_DNET = _Logits(width, embedding_dim, conditional=False)
        self.COND_DNET = _Logits(width, embedding_dim, conditional=True)

    def forward(self, images: Tensor) -> Tensor:
        for name in self.trunk:
            images = getattr(self, name)(images)
        return images


def discriminator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor, sentence: Tensor) -> Tensor:
    """Return the discriminator loss of real and fake images, without and with sentences, and of mismatched pairs."""
    ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
    ones, zeros = ones.to(real.device), zeros.to(real.device)
    real_features, fake_features = discriminator(real), discriminator(fake.detach())
    conditional_real = F.binary_cross_entropy(discriminator.COND_DNET(real_features, sentence), ones)
    conditional_fake = F.binary_cross_entropy(discriminator.COND_DNET(fake_features, sentence), zeros)
    wrong = discriminator.COND_DNET(real_features[:-1], sentence[1:])
    conditional_wrong = F.binary_cross_entropy(wrong, zeros[1:])
    real_loss = F.binary_cross_entropy(discriminator.UNCOND_DNET(real_features), ones)
    fake_loss = F.binary_cross_entropy(discriminator.UNCOND_DNET(fake_features), zeros)
    return (real_loss + conditional_real) / 2.0 + (fake_loss + conditional_fake + conditional_wrong) / 3.0


def _cosine(x: Tensor, y: Tensor, dim: int) -> Tensor:
    return (x * y).sum(dim) / (x.norm(2, dim) * y.norm(2, dim)).clamp(min=1e-8)


def _both_ways(scores: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor]:
    labels = torch.arange(len(scores), device=scores.device)
    masks = []
    for i, each in enumerate(class_ids.tolist()):
        row = [other == each for other in class_ids.tolist()]
        row[i] = False
        masks.append(row)
    scores = scores.masked_fill(torch.tensor(masks, device=scores.device), -float("inf"))
    return F.cross_entropy(scores, labels), F.cross_entropy(scores.t(), labels)


def words_loss(
    regions: Tensor, words: Tensor, lengths: Tensor, class_ids: Tensor, gammas: MatchingOptions
) -> tuple[Tensor, Tensor]:
    """Return the DAMSM's word loss by a loop over captions, with the caption repeated for every image of the batch.

    regions (B, E, h, w), words (B, E, T), lengths (B,), class_ids (B,). Cross entropies in both directions.
    """
    batch, columns = len(regions), []
    for i, count in enumerate(lengths.tolist()):
        word = words[i, :, :count].unsqueeze(0).contiguous().repeat(batch, 1, 1)  # (B, E, T_i)
        context = regions.view(batch, regions.shape[1], -1)  # (B, E, R)
        attention = torch.bmm(context.transpose(1, 2).contiguous(), word)  # (B, R, T_i)
        attention = F.softmax(attention.view(-1, count), dim=1).view(batch, -1, count)
        attention = attention.transpose(1, 2).contiguous().view(batch * count, -1)
        attention = F.softmax(attention * gammas.gamma1, dim=1).view(batch, count, -1)
        weighted = torch.bmm(context, attention.transpose(1, 2).contiguous())  # (B, E, T_i)
        word, weighted = word.transpose(1, 2).contiguous(), weighted.transpose(1, 2).contiguous()
        similarity = _cosine(word.view(batch * count, -1), weighted.view(batch * count, -1), 1).view(batch, count)
        columns.append(similarity.mul(gammas.gamma2).exp().sum(dim=1, keepdim=True).log())
    return _both_ways(torch.cat(columns, 1) * gammas.gamma3, class_ids)


def sentence_loss(code: Tensor, sentence: Tensor, class_ids: Tensor, gammas: MatchingOptions) -> tuple[Tensor, Tensor]:
    """Return the DAMSM's sentence loss of image embeddings and sentence features (B, E)."""
    norms = torch.bmm(code.norm(2, 1)[None, :, None], sentence.norm(2, 1)[None, None, :])[0]
    return _both_ways(code @ sentence.t() / norms.clamp(min=1e-8) * gammas.gamma3, class_ids)


class BaselineStep:
    """Networks, optimisers and training step of the release."""

    def __init__(
        self,
        architecture: ArchitectureOptions,
        embedding_dim: int,
        image_encoder: ImageEncoder,
        options: TrainingOptions,
        gammas: MatchingOptions,
        device: torch.device,
    ):
        self.options, self.gammas, self.device = options, gammas, device
        self.generator = BaselineGenerator(architecture, embedding_dim).to(device).train()
        width = architecture.discriminator_width
        self.discriminators = [
            BaselineDiscriminator(size, width, embedding_dim).to(device).train() for size in architecture.sizes
        ]
        self.image_encoder = image_encoder.to(device)
        self.noise_dim = architecture.noise_dim
        betas = (0.5, 0.999)
        self.adam = torch.optim.Adam(self.generator.parameters(), lr=options.generator_lr, betas=betas)
        self.adams = [
            torch.optim.Adam(
                [p for p in each.parameters() if p.requires_grad], lr=options.discriminator_lr, betas=betas
            )
            for each in self.discriminators
        ]
        self.average = [parameter.detach().clone() for parameter in self.generator.parameters()]

    def step(
        self, images: list[Tensor], sentence: Tensor, words: Tensor, mask: Tensor, lengths: Tensor,
        class_ids: Tensor, noise: Tensor,
    ) -> dict[str, float]:  # fmt: skip
        """Update discriminators, generator and averaged weights; return the losses, read immediately."""
        z, epsilon = noise[:, : self.noise_dim], noise[:, self.noise_dim :]
        fakes, _, mean, logvar = self.generator(z, sentence, words, mask, epsilon)
        losses = {}
        for i, (discriminator, adam) in enumerate(zip(self.discriminators, self.adams, strict=True)):
            discriminator.zero_grad()
            loss = discriminator_loss(discriminator, images[i], fakes[i], sentence)
            loss.backward()
            adam.step()
            losses[f"discriminator{i}"] = loss.item()

        self.generator.zero_grad()
        total, ones = 0.0, torch.ones(len(sentence)).to(self.device)
        for discriminator, fake in zip(self.discriminators, fakes, strict=True):
            features = discriminator(fake)
            conditional = F.binary_cross_entropy(discriminator.COND_DNET(features, sentence), ones)
            total = total + F.binary_cross_entropy(discriminator.UNCOND_DNET(features), ones) + conditional
        losses["adversarial"] = total.item()
        regions, code = self.image_encoder(fakes[-1])
        word0, word1 = words_loss(regions, words, lengths, class_ids, self.gammas)
        sentence0, sentence1 = sentence_loss(code, sentence, class_ids, self.gammas)
        total = total + (word0 + word1 + sentence0 + sentence1) * self.options.damsm_weight
        kl = (1 + logvar - mean.pow(2) - logvar.exp()).mean() * -0.5
        total = total + kl
        total.backward()
        self.adam.step()
        losses |= {"word0": word0.item(), "word1": word1.item(), "sentence0": sentence0.item()}
        losses |= {"sentence1": sentence1.item(), "kl": kl.item()}
        for parameter, average in zip(self.generator.parameters(), self.average, strict=True):
            average.mul_(0.999).add_(parameter.detach(), alpha=0.001)
        return losses
