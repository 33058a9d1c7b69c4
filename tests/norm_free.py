"""A few training steps of models without batch norm, alone or as one of several ranks: what must be equal, exactly.

torchrun --standalone --nproc-per-node 2 -m tests.norm_free OUT PARTS MODEL ... writes the networks that the ranks end
with, each of whose shares of a batch passes in so many parts.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from dmgan.models.registry import build_model, find
from dmgan.options import PLAIN_ENGINE, EngineOptions, TrainingOptions, TrainingSettings
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext, process_group
from dmgan.text.damsm import EncodedCaptions
from dmgan.text.encoders import SmallImageEncoder, padding_mask
from dmgan.training.train import step_noise
from dmgan.training.trainer import Trainer
from tests.conftest import ARCHITECTURE, CPU

BATCH, EMBEDDING, STEPS = 7, 16, 3  # two ranks take 3 and 4 rows


def without_batch_norm(network: nn.Module) -> nn.Module:
    """The network with group norm, which sees every image alone, in the place of batch norm."""
    for name, child in network.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(network, name, nn.GroupNorm(1, child.num_features, dtype=torch.float64))
        else:
            without_batch_norm(child)
    return network


def trainer_of(
    name: str, engine: EngineOptions = PLAIN_ENGINE, distributed: DistributedContext = SINGLE_PROCESS
) -> Trainer:
    """A trainer in float64 with plain gradient descent, which does not magnify rounding as Adam's first steps do."""
    torch.manual_seed(0)
    model = without_batch_norm(build_model(name, ARCHITECTURE, EMBEDDING).double())
    discriminators = without_batch_norm(model.discriminators().double())
    model.discriminators = lambda: discriminators
    encoder = SmallImageEncoder(EMBEDDING, 4).double().eval().requires_grad_(False)
    settings = TrainingSettings(ARCHITECTURE, TrainingOptions(batch_size=BATCH), engine=engine)
    trainer = Trainer(model, encoder, settings, find(name).losses, CPU, distributed)
    trainer.generator_adam = torch.optim.SGD(model.parameters(), lr=0.02)
    trainer.discriminator_adams = [
        torch.optim.SGD([p for p in each.parameters() if p.requires_grad], lr=0.02) for each in discriminators
    ]
    return trainer


def count_no_passes(trainer: Trainer) -> Trainer:
    """The trainer without spectral norm's power iteration, which counts passes: parts have more of them."""
    trainer.discriminators.eval()
    return trainer


def batch(step: int, sizes: tuple[int, ...], noise_dim: int) -> tuple:
    """Images, captions, class ids and noise of a whole batch."""
    random = torch.Generator().manual_seed(step)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    lengths = torch.tensor([5, 2, 4, 5, 3, 1, 4])
    words = normal(BATCH, EMBEDDING, 5).masked_fill(padding_mask(lengths)[:, None], 0.0)
    captions = EncodedCaptions(normal(BATCH, EMBEDDING), words, padding_mask(lengths), lengths)
    class_ids = torch.tensor([0, 1, 2, 0, 3, 4, 1])  # two rows of one class on different ranks
    noise = step_noise(0, step, BATCH, noise_dim).double()
    return [normal(BATCH, 3, size, size).tanh() for size in sizes], captions, class_ids, noise


def train(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Every weight, average and spectral vector after a few steps, and the losses of the last one."""
    for step in range(STEPS):
        images, captions, class_ids, noise = batch(step, trainer.model.image_sizes, trainer.model.noise_dim)
        mine = trainer.distributed.rows(BATCH)
        losses = trainer.step([each[mine] for each in images], captions, class_ids, noise)
    found = {f"generator.{name}": value for name, value in trainer.model.state_dict().items()}
    found |= {f"discriminators.{name}": value for name, value in trainer.discriminators.state_dict().items()}
    found |= {f"average.{name}": value for name, value in trainer.average.state_dict().items()}
    return found | {f"loss.{name}": trainer.distributed.sum(value.clone()) for name, value in losses.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(CPU) as distributed:
        out, parts, *names = sys.argv[1:]
        for name in names:
            trainer = trainer_of(name, EngineOptions(accumulate=int(parts)), distributed)
            found = train(trainer if parts == "1" else count_no_passes(trainer))
            torch.save(found, Path(out) / f"{name}-rank{distributed.rank}.pt")
