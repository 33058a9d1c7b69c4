"""Compilation of networks by torch.compile: batch norms, gates and sums become few kernels."""

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from dmgan.runtime.progress import log

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def pieces(network: nn.Module) -> list[nn.Module]:
    """Return the direct children of a network, and of its module lists: the stages of a generator."""
    found = []
    for child in network.children():
        found += list(child) if isinstance(child, nn.ModuleList) else [child]
    return found


def compile_in_place(networks: Iterable[nn.Module]) -> None:
    """Compile every network at its first pass; the code is kept for later runs, in a folder that is logged first.

    The folder is TORCHINDUCTOR_CACHE_DIR, by default ~/.cache/dmgan/inductor.
    """
    networks = list(networks)
    # Tell the compiler too: device.set_deterministic leaves it out.
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())
    folder = os.environ.setdefault(_VARIABLE, str(Path.home() / ".cache" / "dmgan" / "inductor"))
    log(
        f"compile: the first step compiles {len(networks)} networks, which takes minutes; their code is kept for later "
        f"runs in {folder}"
    )
    for network in networks:
        network.compile(dynamic=False)
