"""Render the papers' figures."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.report.figures.catalogue import figures_in


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders of the models to show")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set whose test captions are used")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    parser.add_argument(
        "--figures", nargs="+", default=[], metavar="NAME", choices=[*figures_in("scene")],
        help="figures to draw (default: all that the runs have); some of %(choices)s",
    )  # fmt: skip
    parser.add_argument("--seed", type=flags.SEED, default=100, help="seed of captions and noises (default 100)")
    flags.add_memory_cache(parser)
    flags.add_run_flags(parser, tracking=False)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.report.figures.render import write_figures
    from dmgan.report.made_from import recorded

    inputs = [*(run / "options.json" for run in arguments.runs), arguments.data / "dataset.json"]
    with recorded(arguments.out, "figures", inputs):
        write_figures(
            arguments.runs, arguments.data, arguments.out, arguments.seed, device, arguments.memory_cache,
            arguments.figures,
        )  # fmt: skip
