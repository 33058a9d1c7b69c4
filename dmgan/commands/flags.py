"""Flags that several subcommands share, and objects built from the flags.

This module does not import torch at import time, so that `--help` is fast.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dmgan.errors import UserError
from dmgan.evaluation.networks.table import EXTRACTORS
from dmgan.options import LARGEST, EvaluationOptions
from dmgan.runtime.threads import MOST_THREADS, available_threads

if TYPE_CHECKING:
    import torch

    from dmgan.evaluation.networks.loaded import NetworkFiles
    from dmgan.inspection.inspector import ComparedWith

DEFAULT_TRACKING = "sqlite:///results/mlflow.db"
_WITHOUT_CLASSIFIER = ("inception-tf", "clean")  # default extractors if no species classifier is given


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return the type of a flag for a whole number from `low` to `high`."""

    def read(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            bound = f"{low} or more" if high in (None, LARGEST) and value < low else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{value}: must be {bound}")
        return value

    read.__name__ = "int"  # named in argparse's message for other text
    return read


COUNT = whole_number(1, LARGEST)
PROCESSES = whole_number(1, MOST_THREADS)  # and threads
SEED = whole_number(0, 2**31 - 1)  # a step's random numbers are keyed by 64 bits of seed and step


def add_options(parser: argparse.ArgumentParser, kind: type, note: str = "") -> None:
    """Add one flag per field of the options class `kind`, with its default.

    note: text for the help of the group; with a note, flags that are not given are left out of the arguments.
    """
    group = parser.add_argument_group(kind.__name__, note or None)
    for field in dataclasses.fields(kind):
        flag, help_text = "--" + field.name.replace("_", "-"), field.metadata["help"]
        default = argparse.SUPPRESS if note else field.default
        if field.type in (bool, bool | None):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=help_text)
        else:
            group.add_argument(
                flag, type=type(field.default), default=default, choices=field.metadata["choices"],
                metavar=None if field.metadata["choices"] else type(field.default).__name__.upper(),
                help=f"{help_text} (default {field.default})",
            )  # fmt: skip


def options_from(arguments: argparse.Namespace, kind: type):
    """Return the options object of class `kind` that the flags describe."""
    return kind(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(kind)})


def add_run_flags(parser: argparse.ArgumentParser, tracking: bool = True) -> None:
    """Add --device and --threads; with `tracking` also --mlflow."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda[:N] (default auto)")
    parser.add_argument(
        "--threads", type=PROCESSES, default=available_threads(),
        help="CPU threads (default: OMP_NUM_THREADS, else all CPUs that this process may use)",
    )  # fmt: skip
    if tracking:
        parser.add_argument(
            "--mlflow", metavar="URI", help=f"mirror the run to this MLflow database, such as {DEFAULT_TRACKING}"
        )


def set_up_device(arguments: argparse.Namespace) -> "torch.device":
    """Set up torch for this process and return the device that the flags name."""
    from dmgan.runtime.allocator import keep_freed_memory

    keep_freed_memory()  # before torch allocates
    from dmgan.runtime.device import set_up_device

    return set_up_device(arguments.device, arguments.threads)


def add_training_seed(parser: argparse.ArgumentParser) -> None:
    """Add --seed of a network that is trained."""
    parser.add_argument("--seed", type=SEED, default=0, help="seed of weights, order and augmentation (default 0)")


def add_memory_cache(parser: argparse.ArgumentParser) -> None:
    """Add --memory-cache of subcommands that generate images."""
    parser.add_argument(
        "--memory-cache", type=Path,
        help="folder that stores the keys and values of memory banks (default: recomputed in every job)",
    )  # fmt: skip


def add_extractors(parser: argparse._ActionsContainer, count: str = "+") -> None:
    """Add the feature extractors and the files of their weights; count "*" allows no extractor."""
    parser.add_argument(
        "--extractors", nargs=count, metavar="EXTRACTOR", choices=EXTRACTORS,
        help=f"feature extractors of IS, FID, KID and PRDC, some of {', '.join(EXTRACTORS)}"
        f"{', or none' if count == '*' else ''} (default: {' and '.join(_WITHOUT_CLASSIFIER)}; with --classifier, "
        "species, and efficientnet-lite0 first if the images are photographs)",
    )  # fmt: skip
    parser.add_argument("--classifier", type=Path, help="species classifier, for the extractor species")
    parser.add_argument(
        "--weights", type=Path, default=Path("downloads"),
        help="folder of the Inception weights; missing files are downloaded into it (default downloads/)",
    )  # fmt: skip


def add_probe(parser: argparse._ActionsContainer) -> None:
    """Add --probe."""
    parser.add_argument(
        "--probe", type=Path, help="linear probe of the data set's classes, for the IS of efficientnet-lite0"
    )


def extractors_from(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the feature extractors that the flags name, or the default ones; see --help."""
    if arguments.extractors is not None:
        return tuple(arguments.extractors)
    if arguments.classifier is None:
        return _WITHOUT_CLASSIFIER
    return tuple(dict.fromkeys((*_of_source(arguments.data), "species")))


def _of_source(data: Path | None) -> tuple[str, ...]:
    """Return the default extractors of the source of a prepared data set; none without one."""
    if data is None:
        return ()
    from dmgan.data.dataset import PreparedDataset
    from dmgan.data.sources.table import find_source

    return find_source(PreparedDataset(data, check=False).description["source"]["name"]).extractors


def add_clip(parser: argparse.ArgumentParser) -> None:
    """Add the files of CLIP, as a scorer of images and captions."""
    parser.add_argument(
        "--clip", metavar="MODEL", help="also score by CLIP: open_clip's model name, or a JSON configuration"
    )
    parser.add_argument(
        "--clip-weights", type=Path, metavar="FILE", help="state dict of the CLIP model (.safetensors, .bin, .pt)"
    )


def clip_from(arguments: argparse.Namespace) -> tuple[str, Path] | None:
    """Return model and weights of CLIP, from the flags of `add_clip`; None: CLIP does not score."""
    if (arguments.clip is None) != (arguments.clip_weights is None):
        raise UserError("--clip and --clip-weights: belong together; give both or none")
    return None if arguments.clip is None else (arguments.clip, arguments.clip_weights)


def add_comparison(parser: argparse.ArgumentParser) -> None:
    """Add the files that single images are compared with: data set, CLIP, features of the training images."""
    parser.add_argument(
        "--data", type=Path, help="prepared data set that images are compared with (default: the run's)"
    )
    add_clip(parser)
    parser.add_argument(
        "--classifier", type=Path,
        help="species classifier whose features find the nearest training image (default: EfficientNet-lite0 for "
        "photographs; for drawn images species/ of the run's results, if it was trained on the data set)",
    )  # fmt: skip
    parser.add_argument(
        "--features", type=Path, metavar="FOLDER",
        help="folder that keeps the features of the training images (default: computed in every job)",
    )  # fmt: skip


def compared_with(arguments: argparse.Namespace) -> "ComparedWith":
    """Return the files that single images are compared with, from the flags of `add_comparison`."""
    clip = clip_from(arguments)
    from dmgan.inspection.inspector import ComparedWith

    return ComparedWith(arguments.data, clip, arguments.classifier, arguments.features)


def add_evaluation_flags(parser: argparse.ArgumentParser, data_help: str = "prepared data set") -> None:
    """Add the flags of every evaluation: data set, networks that score images, reference, options."""
    parser.add_argument("--data", type=Path, help=data_help)
    parser.add_argument(
        "--damsm", type=Path, help="encoders that trained the generators, as in the papers' R-precision"
    )
    parser.add_argument(
        "--held-out-damsm", type=Path, help="encoders of another seed, with which no generator was trained"
    )
    add_clip(parser)
    parser.add_argument("--attributes", type=Path, help="attribute classifier (only for synthbirds)")
    parser.add_argument(
        "--detector-weights", type=Path, metavar="FILE",
        help="also compute SOA, with torchvision's Faster R-CNN v2 (`fetch faster-rcnn`) as detector of COCO objects",
    )  # fmt: skip
    add_extractors(parser, "*")
    add_probe(parser)
    parser.add_argument(
        "--reference-features",
        type=Path,
        metavar="FOLDER",
        help="folder of the real images' features, written if missing (default: reference/ next to --out)",
    )
    parser.add_argument(
        "--reference-npz", type=_extractor_and_file, nargs="+", metavar="EXTRACTOR=FILE", default=[],
        help="also compute FID against the statistics of real features in a file with the arrays mu and sigma, such as "
        "torchvision-released=bird_val.npz of DM-GAN",
    )  # fmt: skip
    add_run_flags(parser)
    add_options(parser, EvaluationOptions)


def _extractor_and_file(text: str) -> tuple[str, Path]:
    """Return the extractor and the file of EXTRACTOR=FILE."""
    name, separator, path = text.partition("=")
    if not separator or name not in EXTRACTORS or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not EXTRACTOR=FILE, such as torchvision-released=bird_val.npz")
    return name, Path(path)


def network_files_from(arguments: argparse.Namespace) -> "NetworkFiles":
    """Return the files of the networks that score images, from the evaluation flags."""
    from dmgan.evaluation.networks.loaded import NetworkFiles

    return NetworkFiles(
        extractors=extractors_from(arguments), classifier=arguments.classifier, weights=arguments.weights,
        damsm=arguments.damsm, held_out_damsm=arguments.held_out_damsm,
        clip=clip_from(arguments),
        attributes=arguments.attributes, detector=arguments.detector_weights,
        reference_npz=tuple(arguments.reference_npz), probe=arguments.probe,
    )  # fmt: skip
