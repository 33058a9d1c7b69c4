"""Evaluate the control rows."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.errors import UserError
from dmgan.options import EvaluationOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    every = ["real", "shuffled", "nearest", "noise", "adversarial"]
    parser.add_argument(
        "--controls", nargs="+", choices=every, default=every, help=f"control rows (default {' '.join(every)})"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of CONTROL/metrics.json of every row")
    flags.add_evaluation_flags(parser)


def run(arguments: argparse.Namespace) -> None:
    for name in ("data", "damsm"):
        if getattr(arguments, name) is None:
            raise UserError(f"--{name}: is needed for control rows; give the folder")
    device = flags.set_up_device(arguments)
    from dmgan.evaluation.evaluate import evaluate_controls

    evaluate_controls(
        controls=arguments.controls,
        data=arguments.data,
        network_files=flags.network_files_from(arguments),
        reference=arguments.reference_features,
        out=arguments.out,
        options=flags.options_from(arguments, EvaluationOptions),
        device=device,
        mlflow=arguments.mlflow,
    )
