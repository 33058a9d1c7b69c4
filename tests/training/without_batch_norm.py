"""A few training steps of models without batch norm, which one process or several must compute exactly alike.

torchrun --standalone --nproc-per-node 2 -m tests.training.without_batch_norm OUT MODEL ... writes the final networks of
every process, for each number of micro-batches that a process splits its share of a batch into.
"""

import itertools
import sys
from pathlib import Path

import torch
from torch import nn

from dmgan.models.registry import build_model, find
from dmgan.options import PLAIN_ENGINE, WRONG_IMAGES, EngineOptions, TrainingOptions, TrainingSettings
from dmgan.runtime.distributed import SINGLE_PROCESS, DistributedContext, process_group
from dmgan.text.damsm import EncodedCaptions
from dmgan.text.encoders import SmallImageEncoder, padding_mask
from dmgan.training.train import step_noise
from dmgan.training.trainer import FurtherInputs, Trainer
from tests.conftest import ARCHITECTURE, CPU

BATCH, EMBEDDING, STEPS = 7, 16, 3  # two processes take 3 and 4 rows
MICRO_BATCHES = (1, 2)


def replace_batch_norm(network: nn.Module) -> nn.Module:
    """Replace batch norm by group norm, which normalises every image alone."""
    for name, child in network.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(network, name, nn.GroupNorm(1, child.num_features, dtype=torch.float64))
        else:
            replace_batch_norm(child)
    return network


def trainer_of(
    name: str, engine: EngineOptions = PLAIN_ENGINE, distributed: DistributedContext = SINGLE_PROCESS
) -> Trainer:
    """Return a float64 trainer with plain SGD, which does not magnify rounding as Adam's first steps do."""
    torch.manual_seed(0)
    model = replace_batch_norm(build_model(name, ARCHITECTURE, EMBEDDING).double())
    discriminators = replace_batch_norm(model.discriminators().double())
    model.discriminators = lambda: discriminators
    encoder = SmallImageEncoder(EMBEDDING, 4).double().eval().requires_grad_(False)
    settings = TrainingSettings(ARCHITECTURE, TrainingOptions(batch_size=BATCH), engine=engine)
    trainer = Trainer(model, encoder, settings, find(name).losses, CPU, distributed)
    trainer.generator_adam = torch.optim.SGD(model.parameters(), lr=0.02)
    trainer.discriminator_adams = [
        torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.02) for network in discriminators
    ]
    return trainer


def count_no_passes(trainer: Trainer) -> Trainer:
    """Turn off spectral norm's power iteration, which advances at every pass: micro-batches have more passes."""
    trainer.discriminators.eval()
    return trainer


def batch(step: int, sizes: tuple[int, ...], noise_dim: int) -> tuple:
    """Return images, captions, class ids, noise and further inputs of a whole batch."""
    random = torch.Generator().manual_seed(step)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    lengths = torch.tensor([5, 2, 4, 5, 3, 1, 4])
    words = normal(BATCH, EMBEDDING, 5).masked_fill(padding_mask(lengths)[:, None], 0.0)
    captions = EncodedCaptions(normal(BATCH, EMBEDDING), words, padding_mask(lengths), lengths)
    class_ids = torch.tensor([0, 1, 2, 0, 3, 4, 1])  # rows of one class on both processes
    noise = step_noise(0, step, BATCH, noise_dim).double()
    images = [normal(BATCH, 3, size, size).tanh() for size in sizes]
    wrong = [normal(BATCH, 3, size, size).tanh() for size in sizes]
    more_noise = step_noise(0, step, BATCH + BATCH // 2, noise_dim, "generator noise").double()
    return images, captions, class_ids, noise, FurtherInputs(wrong, captions, more_noise)


def train(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return every weight, weight average and spectral vector after a few steps, and the losses of the last step."""
    for step in range(STEPS):
        images, captions, class_ids, noise, further = batch(step, trainer.model.image_sizes, trainer.model.noise_dim)
        mine = trainer.distributed.rows(BATCH)
        drawn = trainer.losses.mismatched_pairs in WRONG_IMAGES
        further = further._replace(wrong_images=[stage[mine] for stage in further.wrong_images] if drawn else [])
        losses = trainer.step([stage[mine] for stage in images], captions, class_ids, noise, further)
    found = {f"generator.{name}": value for name, value in trainer.model.state_dict().items()}
    found |= {f"discriminators.{name}": value for name, value in trainer.discriminators.state_dict().items()}
    found |= {f"average.{name}": value for name, value in trainer.average.state_dict().items()}
    return found | {f"loss.{name}": trainer.distributed.sum(value.clone()) for name, value in losses.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(CPU) as distributed:
        out, *names = sys.argv[1:]
        for name, micro_batches in itertools.product(names, MICRO_BATCHES):
            trainer = trainer_of(name, EngineOptions(accumulate=micro_batches), distributed)
            found = train(trainer if micro_batches == 1 else count_no_passes(trainer))
            torch.save(found, Path(out) / f"{name}-{micro_batches}-rank{distributed.rank}.pt")
