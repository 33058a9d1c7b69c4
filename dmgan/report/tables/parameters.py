"""The student reproduction's Figures 2 and 3: every parameter of DM-GAN on CUB, listed from the code."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from dmgan.errors import UserError
from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions, DamsmOptions
from dmgan.storage import files

_PRINTED_TOTALS = {"generator": 21_449_042, "discriminator of 256 px": 18_264_546}
_FIRST_OF_FIGURE_3 = "h_net3.M_w.0.weight"  # the report splits its listing before this tensor


class Parameter(NamedTuple):
    """One trained tensor."""

    network: str
    name: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        return torch.Size(self.shape).numel()

    @property
    def line(self) -> str:
        """Line of the report: 'name: 400x256 = 102400', or 'name: 256' for a vector."""
        if len(self.shape) == 1:
            return f"{self.name}: {self.count}"
        return f"{self.name}: {'x'.join(map(str, self.shape))} = {self.count}"


def released_parameters() -> dict[str, list[Parameter]]:
    """Return the trained tensors of DM-GAN's generator and of its largest discriminator, at the sizes of CUB."""
    with torch.device("meta"):  # shapes only, no memory
        generator = build_model("dmgan", ArchitectureOptions(), DamsmOptions().embedding_dim)
        discriminator = generator.discriminators()[-1]
    networks = zip(_PRINTED_TOTALS, (generator, discriminator), strict=True)
    return {name: _parameters(name, network) for name, network in networks}


def _parameters(network: str, module: nn.Module) -> list[Parameter]:
    named = module.named_parameters()
    return [Parameter(network, name, tuple(each.shape)) for name, each in named if each.requires_grad]


def write_parameters(out: Path) -> None:
    """Write reproduction-figure{2,3}.txt and reproduction-parameters.csv into the folder `out`.

    Raise UserError if a total differs from the report's: then the code is not the released architecture.
    """
    networks = released_parameters()
    for network, parameters in networks.items():
        total = sum(each.count for each in parameters)
        if total != _PRINTED_TOTALS[network]:
            raise UserError(
                f"dmgan: its {network} has {total:,} parameters at the sizes of CUB, not the released "
                f"{_PRINTED_TOTALS[network]:,}; fix dmgan/models/ or the defaults of ArchitectureOptions"
            )
    generator, discriminator = networks.values()
    at = [each.name for each in generator].index(_FIRST_OF_FIGURE_3)
    figure2 = [each.line for each in generator[:at]]
    figure3 = [*_with_total(generator[at:], generator), *_with_total(discriminator, discriminator)]
    files.write_text(out / "reproduction-figure2.txt", "\n".join(figure2) + "\n")
    files.write_text(out / "reproduction-figure3.txt", "\n".join(figure3) + "\n")
    rows = [
        {"figure": 2 if each in generator[:at] else 3, "network": each.network, "tensor": each.name}
        | {"shape": "x".join(map(str, each.shape)), "parameters": each.count}
        for each in [*generator, *discriminator]
    ]
    files.write_csv(out / "reproduction-parameters.csv", rows)


def _with_total(listed: Sequence[Parameter], network: Sequence[Parameter]) -> list[str]:
    total = sum(each.count for each in network)
    return [*(each.line for each in listed), f"number of trainable parameters = {total}"]
