"""Compare models image by image."""

import argparse
from pathlib import Path

from dmgan.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True,
        help="metrics.json of every run, sampled with one seed, and of methods whose images another program made, each "
        "with per_image.npz in the same folder; and of control rows",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--seed", type=flags.SEED, default=100, help="seed of resamples and permutations (default 100)")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.made_from import recorded
    from dmgan.report.tables.comparisons import write_comparisons

    with recorded(arguments.out, "comparisons", arguments.metrics):
        write_comparisons(arguments.metrics, arguments.out, arguments.seed)
