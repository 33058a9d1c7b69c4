"""Small models of every entry of the registry, and inputs that they generate from."""

import torch

from dmgan.models.initialisation import initialise
from dmgan.models.interface import TextToImageGAN
from dmgan.models.registry import build_model
from dmgan.models.vgg import small
from dmgan.options import WRONG_IMAGES, ArchitectureOptions
from dmgan.text.damsm import EncodedCaptions
from tests.conftest import ARCHITECTURE

EMBEDDING_DIM = 12
WIDE = ArchitectureOptions(
    base_size=16, stages=2, generator_width=6, discriminator_width=3, noise_dim=4, condition_dim=3, residual_blocks=2,
    feature_network="small",
)  # fmt: skip


def build(name: str, architecture=ARCHITECTURE, **variant) -> TextToImageGAN:
    """Return an initialised model with the weights of seed 0."""
    torch.manual_seed(0)
    model = build_model(name, architecture, EMBEDDING_DIM, **variant)
    initialise(model)
    return model


def retrieves(model: TextToImageGAN) -> bool:
    """Return whether a built model reads retrieved features, without which it refuses to generate."""
    return getattr(model, "first_stage", "none") != "none" or getattr(model, "later_stages", "none") != "none"


def wrong_images(model: TextToImageGAN, losses) -> list:
    """Return the images of mismatched pairs of three captions, per side; None where the losses draw none."""
    drawn = losses.mismatched_pairs in WRONG_IMAGES
    return [torch.rand(3, 3, size, size) if drawn else None for size in model.image_sizes]


def captions_of(sentence, words, mask) -> EncodedCaptions:
    """Return the encoded captions that the losses read."""
    tokens = torch.arange(mask.numel()).view(mask.shape) % 11
    return EncodedCaptions(sentence, words, mask, (~mask).sum(dim=1), tokens)


def inputs(model: TextToImageGAN, lengths=(7, 4, 1)):
    """Return noise, sentence, words, word mask and retrieved features (or None) of captions of these lengths."""
    generator = torch.Generator().manual_seed(1)
    batch, longest = len(lengths), max(lengths)
    mask = torch.arange(longest)[None, :] >= torch.tensor(lengths)[:, None]
    words = torch.randn(batch, EMBEDDING_DIM, longest, generator=generator) * ~mask[:, None, :]
    noise = torch.randn(batch, model.noise_dim, generator=generator)
    sentence = torch.randn(batch, EMBEDDING_DIM, generator=generator)
    images = [torch.rand(batch, 3, size, size, generator=generator) for size in model.image_sizes]
    retrieved = small()(images[-1]) if retrieves(model) else None
    return noise, sentence, words, mask, retrieved
