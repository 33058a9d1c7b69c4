"""Fused blocks of dmgan/models/fused.py, compared with plain blocks, at the size of DM-GAN's first refinement.

CPU seconds are compared, alternately and on one thread, so that other programs on the machine have little influence.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import fresh, plot, record
from benchmarks.record import Figure
from dmgan.models import fused
from dmgan.models.blocks import ResidualBlock, up_block
from dmgan.runtime.allocator import keep_freed_memory

NAME, TITLE = "fused_blocks", "Fused blocks: times less CPU time than the plain blocks"
WIDTH, SIDE, BATCH = 64, 64, 2  # channels of the bird configuration's features, side of its first refinement
VARIANTS = {
    "float32": (torch.float32, torch.contiguous_format),
    "float32, channels_last": (torch.float32, torch.channels_last),
    "bfloat16": (torch.bfloat16, torch.contiguous_format),
    "bfloat16, channels_last": (torch.bfloat16, torch.channels_last),
}


class Pair(NamedTuple):
    """A plain block and its fused block, with the same input (BATCH, channels, SIDE, SIDE)."""

    channels: int
    plain: Callable[[Tensor], Tensor]
    fused: Callable[[Tensor], Tensor]
    modules: nn.ModuleList  # all modules of both blocks
    trains: bool = False  # whether forward and backward are measured


def pairs() -> dict[str, Pair]:
    """Return all fused blocks, for inference and, if supported, for training."""
    conv, norm = nn.Conv2d(2 * WIDTH, 4 * WIDTH, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(4 * WIDTH)
    up, block = up_block(2 * WIDTH, WIDTH), ResidualBlock(2 * WIDTH)
    modules = nn.ModuleList([conv, norm, up, block]).eval().requires_grad_(False)
    single = nn.Conv2d(WIDTH, 4 * WIDTH, kernel_size=3, padding=1, bias=False)
    single.weight.data = fused.duplicated_input_weight(conv.weight)
    folded = nn.Conv2d(2 * WIDTH, 4 * WIDTH, kernel_size=3, padding=1)
    folded.weight.data, folded.bias.data = fused.folded_batch_norm(conv.weight, norm)
    fused_up, fused_block = fused.fused_up_block(up), fused.FusedResidualBlock(block, duplicated=True)
    modules += [single, folded, fused_up, fused_block]
    modules.requires_grad_(False)

    training_up, training_block = up_block(2 * WIDTH, WIDTH), ResidualBlock(2 * WIDTH)
    trained = nn.ModuleList([training_up, training_block]).train()
    return {
        "convolution of a duplicated input": Pair(WIDTH, lambda x: conv(_twice(x)), single, modules),
        "batch norm folded into a convolution": Pair(2 * WIDTH, lambda x: norm(conv(x)), folded, modules),
        "upsampling and convolution": Pair(
            2 * WIDTH, lambda x: up[1](F.interpolate(x, scale_factor=2)), fused_up[0], modules
        ),
        "whole up-block": Pair(2 * WIDTH, up, fused_up, modules),
        "residual block of a duplicated input": Pair(WIDTH, lambda x: block(_twice(x)), fused_block, modules),
        "training, up-block": Pair(2 * WIDTH, training_up, fused.FastUpBlock(training_up), trained, trains=True),
        "training, residual block of a duplicated input": Pair(
            WIDTH,
            lambda x: training_block(_twice(x)),
            fused.DuplicatedResidualBlock(training_block),
            trained,
            trains=True,
        ),
    }


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x], dim=1)


def measure(pair: Pair, dtype: torch.dtype, layout: torch.memory_format, rounds: int) -> list[dict[str, float]]:
    """Return the CPU seconds of both blocks in every round, after a warm-up round."""
    pair.modules.to(dtype=dtype, memory_format=layout)
    x = torch.randn(BATCH, pair.channels, SIDE, SIDE).to(dtype).contiguous(memory_format=layout)
    x.requires_grad_(pair.trains)
    measured = []
    for _ in range(rounds + 1):
        seconds = {}
        for name in ("plain", "fused"):
            started = time.process_time()
            with torch.set_grad_enabled(pair.trains):
                out = getattr(pair, name)(x)
            if pair.trains:
                out.backward(torch.ones_like(out))
            seconds[name] = time.process_time() - started
        measured.append(seconds)
    return measured[1:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fused_blocks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each block (default 5)")
    arguments = parser.parse_args()
    described = record.machine()
    keep_freed_memory()
    torch.set_num_threads(1)
    figures, runs, panels = [], {}, {}
    for variant, (dtype, layout) in VARIANTS.items():
        panels[variant] = panel = {}
        for name, pair in pairs().items():
            if pair.trains and dtype == torch.bfloat16:
                continue  # training in bfloat16 keeps float32 weights: benchmarks.training measures it
            rounds = measure(pair, dtype, layout, arguments.rounds)
            both = [[{"s": each[block]} for each in rounds] for block in ("plain", "fused")]
            panel[name] = fresh.ratio(*both, "s")
            figures.append(Figure(f"{name}, {variant}", panel[name], "times less CPU time"))
            runs[f"{name}, {variant}"] = rounds
    details = {"rounds": arguments.rounds, "batch": BATCH, "side": SIDE, "width": WIDTH, "runs": runs}
    result = record.write(NAME, TITLE, figures, described, details)
    note = f"{described['cpu']}, 1 thread, input of {BATCH} x {SIDE} x {SIDE}, {result.date}"
    plot.bars(record.RESULTS / f"{NAME}.png", TITLE, panels, note=note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
