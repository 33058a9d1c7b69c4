"""Evaluate a set of images: images that `sample` wrote, or a folder of images of any program."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dmgan.commands import flags
from dmgan.errors import UserError
from dmgan.options import EvaluationOptions

if TYPE_CHECKING:
    import torch


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, required=True,
        help="folder of images that sample wrote, or of images of any program, of any names, sizes and formats",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path,
        help="metrics.json to write; features/ is written to its folder (default: metrics.json in FOLDER.evaluation, "
        "next to the folder of --images)",
    )  # fmt: skip
    own = parser.add_argument_group("images of any program")
    own.add_argument("--name", help="name of the method in tables (default: the folder's name)")
    own.add_argument(
        "--captions", type=Path, metavar="FILE",
        help='captions of the images, a line {"image": "a.png", "caption": "a red bird"} each (default: captions.jsonl '
        "in the folder; without one, metrics that read captions are left out)",
    )  # fmt: skip
    own.add_argument(
        "--free-captions", action="store_true",
        help="measure all captions as captions of their own, although some are captions of the test images of --data",
    )  # fmt: skip
    own.add_argument(
        "--reference", type=Path, metavar="FOLDER",
        help="real images to compare with (default: the test images of --data; without either, only metrics that need "
        "no real images)",
    )  # fmt: skip
    flags.add_evaluation_flags(parser, "prepared data set: its test images and their captions")


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.sampling.image_folder import was_sampled

    if was_sampled(arguments.images):
        _evaluate_sampled(arguments, device)
    else:
        _evaluate_any(arguments, device)


def _out(arguments: argparse.Namespace) -> Path:
    folder = arguments.images.resolve()
    return arguments.out or folder.with_name(f"{folder.name}.evaluation") / "metrics.json"


def _evaluate_sampled(arguments: argparse.Namespace, device: "torch.device") -> None:
    from dmgan.evaluation.evaluate import evaluate

    for name in ("name", "captions", "free_captions"):
        if getattr(arguments, name):
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}: sample recorded it in {arguments.images}; leave the flag out")
    if arguments.reference is not None:
        raise UserError(
            f"--reference {arguments.reference}: images of sample are compared with the test images of --data; leave "
            "the flag out, or name the folder of stored features by --reference-features"
        )
    if arguments.data is None:
        raise UserError(f"{arguments.images}: was written by sample; give --data, the data set of its captions")
    evaluate(
        images=arguments.images,
        data=arguments.data,
        network_files=flags.network_files_from(arguments),
        reference=arguments.reference_features,
        out=_out(arguments),
        options=flags.options_from(arguments, EvaluationOptions),
        device=device,
        mlflow=arguments.mlflow,
    )


def _evaluate_any(arguments: argparse.Namespace, device: "torch.device") -> None:
    from dmgan.evaluation.evaluate import ComparedWith, evaluate_folder
    from dmgan.evaluation.external_images import OwnImages

    name = arguments.name or arguments.images.resolve().name
    evaluate_folder(
        images=OwnImages(arguments.images, name, arguments.captions, arguments.free_captions),
        compared_with=ComparedWith(arguments.data, arguments.reference, arguments.reference_features),
        network_files=flags.network_files_from(arguments),
        out=_out(arguments),
        options=flags.options_from(arguments, EvaluationOptions),
        device=device,
        mlflow=arguments.mlflow,
    )
