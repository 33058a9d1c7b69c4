"""Operators of one training step of DM-GAN, by part: plain blocks and fused blocks, bfloat16, channels_last.

A GPU launches about one kernel per operator that is no view, and small kernels cost more than their work. The operators
of the bird configuration (64, 128 and 256 px, Inception as the image encoder) are counted below autograd and autocast,
in one step on the CPU; their number does not depend on the batch size. An operator on a list of tensors counts as one,
and so does the fused Adam.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import plot, record
from benchmarks.record import Figure
from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions, EngineOptions, LossOptions, TrainingOptions, TrainingSettings
from dmgan.text.damsm import EncodedCaptions
from dmgan.text.encoders import build_image_encoder, padding_mask
from dmgan.training.trainer import Trainer

NAME, TITLE = "operators", "Operators of a training step that are no views, DM-GAN bird configuration"
BATCH, MAX_WORDS, EMBEDDING_DIM = 2, 18, 256
_HALF = {"precision": "bfloat16", "channels_last": True}
SETTINGS = {
    "plain": EngineOptions(**_HALF),
    "plain, fused Adam": EngineOptions(**_HALF, fused_adam=True),
    "fused, fused Adam": EngineOptions(**_HALF, fused=True, fused_adam=True),
}
GOAL = 2000
_FREE = {  # run no kernel
    "alias", "detach", "empty", "empty_like", "empty_strided", "lift_fresh", "new_empty", "new_empty_strided",
    "_reshape_alias", "_unsafe_view",
}  # fmt: skip


class OperatorCount(TorchDispatchMode):
    """Counts the operators that are no views, by part of the step and by name."""

    def __init__(self):
        super().__init__()
        self.parts: dict[str, Counter] = defaultdict(Counter)
        self._part = "other"

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator._schema.name.partition("::")[2]
        if not operator.is_view and name not in _FREE:
            self.parts[self._part][name] += 1
        return operator(*args, **(kwargs or {}))

    @contextmanager
    def part(self, name: str):
        """Count operators as part `name` within the context; the innermost context counts."""
        outer, self._part = self._part, name
        try:
            yield
        finally:
            self._part = outer

    def label(self, owner: object, method: str, name: str | Callable[[], str]) -> None:
        """Count the operators of a method of `owner` as a part; name: the part, or a function that returns it."""
        plain = getattr(owner, method)

        def labelled(*args, **kwargs):
            with self.part(name if isinstance(name, str) else name()):
                return plain(*args, **kwargs)

        setattr(owner, method, labelled)


def trainer_of(
    engine: EngineOptions, architecture: ArchitectureOptions, image_encoder: nn.Module, embedding_dim: int
) -> Trainer:
    """Return a trainer of DM-GAN on the CPU, with random weights."""
    torch.manual_seed(0)
    model = build_model("dmgan", architecture, embedding_dim)
    settings = TrainingSettings(architecture, TrainingOptions(batch_size=BATCH), engine=engine)
    encoder = image_encoder.eval().requires_grad_(False)
    return Trainer(model, encoder, settings, LossOptions(), torch.device("cpu"))


def counted_step(trainer: Trainer) -> dict[str, Counter]:
    """Return the operators of a training step by part and name; the step before, which is set up, is not counted."""
    model, embedding_dim = trainer.model, trainer.model.embedding_dim
    images = [torch.rand(BATCH, 3, side, side) * 2 - 1 for side in model.image_sizes]
    lengths = torch.tensor([MAX_WORDS, MAX_WORDS // 2])
    words, sentence = torch.randn(BATCH, embedding_dim, MAX_WORDS), torch.randn(BATCH, embedding_dim)
    captions = EncodedCaptions(sentence, words, padding_mask(lengths))  # without lengths, as a captured step reads them
    given = images, captions, torch.arange(BATCH), torch.randn(BATCH, model.noise_dim)
    trainer.step(*given)

    count, backwards = OperatorCount(), iter(["discriminators, backward"] * len(images) + ["generator, backward"])
    count.label(trainer, "_generate", "generator, forward")
    count.label(trainer, "_adversarial", "adversarial loss")
    count.label(trainer, "_scores", "DAMSM scores")
    count.label(trainer.image_encoder, "forward", "image encoder")
    for loss in trainer._discriminator_losses:
        count.label(loss, "forward", "discriminators, forward")
    count.label(trainer, "_backward", lambda: next(backwards))
    count.label(trainer.scaler, "step", "Adam")
    count.label(trainer.average, "update", "average of weights")
    with count:
        trainer.step(*given)
    return dict(count.parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operators", description=__doc__)
    parser.parse_args()
    described = record.machine()
    sizes, runs = ArchitectureOptions(), {}
    for name, engine in SETTINGS.items():
        encoder = build_image_encoder("inception", EMBEDDING_DIM, 32)
        runs[name] = counted_step(trainer_of(engine, sizes, encoder, EMBEDDING_DIM))
    totals = {name: sum(part.total() for part in parts.values()) for name, parts in runs.items()}
    bounds = {name: GOAL if SETTINGS[name].fused else None for name in runs}
    figures = [Figure(f"{name}: a step", totals[name], "operators", at_most=bounds[name]) for name in runs]
    figures += [
        Figure(f"{name}: {part}", operators.total(), "operators")
        for part in runs["plain"]
        for name, operators in ((name, runs[name][part]) for name in ("plain", "fused, fused Adam"))
    ]
    details = {"batch": BATCH, "words": MAX_WORDS, "runs": {name: dict(parts) for name, parts in runs.items()}}
    result = record.write(NAME, TITLE, figures, described, details)
    panels = {name: {part: operators.total() for part, operators in parts.items()} for name, parts in runs.items()}
    note = f"{totals['plain']:,} and {totals['fused, fused Adam']:,} operators in all, {result.date}"
    chosen = {name: panels[name] for name in ("plain", "fused, fused Adam")}
    plot.bars(record.RESULTS / f"{NAME}.png", TITLE, chosen, note=note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
