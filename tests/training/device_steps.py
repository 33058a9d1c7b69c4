"""Trainers of every model at small sizes, and inputs of their steps as a GPU gets them."""

import dataclasses
from pathlib import Path

import torch
from torch.utils._pytree import tree_map

from dmgan.data.dataset import PreparedDataset
from dmgan.models.loss_networks import read_loss_networks
from dmgan.models.registry import build_model, find, options_of
from dmgan.models.vgg import feature_network
from dmgan.options import WRONG_IMAGES, EngineOptions, TrainingOptions, TrainingSettings
from dmgan.text.damsm import Damsm, EncodedCaptions
from dmgan.training.augmentation import augmentation_numbers
from dmgan.training.trainer import FurtherInputs, StepInputs, Trainer
from tests.conftest import ARCHITECTURE

BATCH, WORDS = 4, 12
GRAPHS = EngineOptions(cuda_graphs=True)


def make_trainer(
    name: str,
    dataset: PreparedDataset,
    damsm_folder: Path,
    captioner_folder: Path,
    device: torch.device,
    engine: EngineOptions = GRAPHS,
) -> Trainer:
    """Return a trainer of the model called `name` with the weights of seed 0."""
    entry, damsm = find(name), Damsm.read_for(dataset, damsm_folder).to(device)
    options = options_of(TrainingOptions, name, {"batch_size": BATCH, "perceptual": "damsm", **entry.training})
    captioner = captioner_folder if "captioner" in entry.needs else None
    networks, _ = read_loss_networks(entry.needs, damsm, options, None, captioner, device)
    if entry.retrieves:
        networks = networks._replace(features=feature_network("small", None))
    torch.manual_seed(0)
    model = build_model(name, ARCHITECTURE, damsm.options.embedding_dim)
    settings = TrainingSettings(ARCHITECTURE, options, engine=engine)
    return Trainer(model, damsm.image_encoder, settings, entry.losses, device, networks=networks)


def augmented(trainer: Trainer, inputs: StepInputs, policy: str, step: int) -> StepInputs:
    """Set the trainer's policy of DiffAugment, and return the inputs with the random numbers of a step."""
    trainer.options = dataclasses.replace(trainer.options, diff_augment=policy)
    trainer.context = dataclasses.replace(trainer.context, options=trainer.options)
    for each in trainer._discriminator_losses:
        each._context = trainer.context
    rows = BATCH + BATCH // 2 if trainer.losses.interpolation else BATCH
    numbers = augmentation_numbers(0, step, rows, len(trainer.model.image_sizes))
    return inputs._replace(further=inputs.further._replace(augmentation=numbers.to(trainer.device)))


def inputs_of(trainer: Trainer, step: int, words: int = WORDS) -> StepInputs:
    """Return random inputs of a step: captions padded to `words` words, without lengths."""
    random = torch.Generator().manual_seed(step)
    lengths = torch.tensor([7, 4, 1, 6])
    mask = torch.arange(words)[None] >= lengths[:, None]
    dim = trainer.model.embedding_dim
    features = torch.zeros(BATCH, dim, words)
    features[:, :, :7] = torch.randn(BATCH, dim, 7, generator=random)
    features = features.masked_fill(mask[:, None], 0.0)
    tokens = torch.ones(BATCH, words, dtype=torch.int64).masked_fill(mask, 0)
    noise = torch.randn(BATCH, trainer.model.noise_dim, generator=random)
    images = [torch.rand(BATCH, 3, side, side, generator=random) * 2 - 1 for side in trainer.model.image_sizes]
    sentence = torch.randn(BATCH, dim, generator=random)
    captions = EncodedCaptions(sentence, features, mask, tokens=tokens)
    wrong = EncodedCaptions(sentence.roll(1, 0), features.roll(1, 0), mask.roll(1, 0), tokens=tokens.roll(1, 0))
    more_noise = torch.randn(BATCH + BATCH // 2, trainer.model.noise_dim, generator=random)
    losses = trainer.losses
    further = FurtherInputs(
        [each.roll(1, 0) for each in images] if losses.mismatched_pairs in WRONG_IMAGES else (),
        wrong if losses.wrong_captions else None,
        more_noise if losses.interpolation else None,
    )
    made = StepInputs(images, captions, torch.tensor([0, 1, 0, 2]), noise, further)
    return tree_map(lambda each: None if each is None else each.to(trainer.device), made)
