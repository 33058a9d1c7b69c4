"""Command line: one verb per rule of the workflow; parses flags and calls one function."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from dmgan.errors import UserError
from dmgan.options import (
    DEFAULT_METHOD,
    RETRIEVALS,
    ArchitectureOptions,
    ClassifierOptions,
    DamsmOptions,
    MatchingOptions,
    TrainingOptions,
)

DEFAULT_TRACKING = "sqlite:///results/mlflow.db"


def _add_options(parser: argparse.ArgumentParser, kind: type, leave_out: tuple[str, ...] = ()) -> None:
    """One flag per field of an options class, with its default."""
    group = parser.add_argument_group(kind.__name__)
    for field in dataclasses.fields(kind):
        if field.name in leave_out:
            continue
        flag, help_text = "--" + field.name.replace("_", "-"), field.metadata["help"]
        if field.type in (bool, "bool"):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=help_text)
        else:
            group.add_argument(
                flag, type=type(field.default), default=field.default, choices=field.metadata["choices"],
                metavar=None if field.metadata["choices"] else type(field.default).__name__.upper(),
                help=f"{help_text} (default {field.default})",
            )  # fmt: skip


def _options(arguments: argparse.Namespace, kind: type):
    """The options object that the flags describe."""
    return kind(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(kind)})


def _add_run_flags(parser: argparse.ArgumentParser, tracking: bool = True) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda[:N] (default auto)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all cores)")
    if tracking:
        parser.add_argument(
            "--mlflow", metavar="URI", help=f"mirror the run to this MLflow database, such as {DEFAULT_TRACKING}"
        )


def _device(arguments: argparse.Namespace):
    """Set up torch for this process and give the device that the flags name."""
    from dmgan.allocator import keep_freed_memory

    keep_freed_memory()
    import torch

    torch.set_num_threads(arguments.threads)
    name = arguments.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {name}: no CUDA device is here; use --device cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: is not a device; use auto, cpu or cuda[:N]") from error


def prepare(arguments: argparse.Namespace) -> None:
    from dmgan.data.prepare import prepare_synthbirds

    prepare_synthbirds(
        arguments.out, arguments.image_size, arguments.num_species, arguments.images_per_species,
        arguments.captions_per_image, arguments.seed, arguments.workers,
    )  # fmt: skip


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", choices=["synthbirds"], default="synthbirds", help="where images and captions come from"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the prepared data set")
    parser.add_argument(
        "--image-size", type=int, default=64, help="side models are trained on; 76/64 of it is kept (default 64)"
    )
    parser.add_argument(
        "--num-species", type=int, default=200, help="species, a quarter of them for the test (default 200)"
    )
    parser.add_argument("--images-per-species", type=int, default=16, help="images of each species (default 16)")
    parser.add_argument("--captions-per-image", type=int, default=10, help="captions of each image (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawing (default 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that draw (default: all cores)")


def pretrain(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.damsm import pretrain as run

    run(
        arguments.data, arguments.out, _options(arguments, DamsmOptions), _options(arguments, MatchingOptions),
        arguments.seed, device, arguments.mlflow, arguments.inception_weights,
    )  # fmt: skip


def _add_pretrain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the encoders")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation (default 0)")
    parser.add_argument(
        "--inception-weights", type=Path, help="torchvision's inception_v3 state dict (for --image-encoder inception)"
    )
    _add_run_flags(parser)
    _add_options(parser, DamsmOptions)
    _add_options(parser, MatchingOptions)


def classifier(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.evaluation.classifier import train_classifier

    train_classifier(
        arguments.data, arguments.out, _options(arguments, ClassifierOptions), arguments.seed, device, arguments.mlflow
    )


def _add_classifier(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of the classifier")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation (default 0)")
    _add_run_flags(parser)
    _add_options(parser, ClassifierOptions)


def train(arguments: argparse.Namespace) -> None:
    from dmgan.models.registry import find

    find(arguments.model)
    device = _device(arguments)
    from dmgan.training import train as run

    run(
        arguments.model, arguments.data, arguments.damsm, arguments.out,
        _options(arguments, ArchitectureOptions), _options(arguments, TrainingOptions),
        _options(arguments, MatchingOptions),
        arguments.seed, device, arguments.mlflow, arguments.feature_weights,
    )  # fmt: skip


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="name in the registry, such as dmgan or attngan")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--damsm", type=Path, required=True, help="folder of the pretrained encoders")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an interrupted run in it goes on")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights, order, augmentation and noise (default 0)"
    )
    parser.add_argument(
        "--feature-weights", type=Path, help="torchvision's vgg16 state dict (for --feature-network vgg16)"
    )
    _add_run_flags(parser)
    _add_options(parser, ArchitectureOptions)
    _add_options(parser, TrainingOptions)
    _add_options(parser, MatchingOptions)


def import_(arguments: argparse.Namespace) -> None:
    from dmgan.released import ReleasedFiles, import_released

    released = ReleasedFiles(
        arguments.generator, arguments.text_encoder, arguments.image_encoder, arguments.captions_pickle
    )
    import_released(
        arguments.model, released, arguments.out, arguments.damsm_out, arguments.word_mask, arguments.max_words
    )


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", choices=["dmgan", "attngan", "attngan-dcgan"], required=True, help="whose weights they are"
    )
    parser.add_argument("--generator", type=Path, required=True, help="released weights of the generator (.pth)")
    parser.add_argument("--text-encoder", type=Path, required=True, help="released text_encoder*.pth")
    parser.add_argument("--image-encoder", type=Path, required=True, help="released image_encoder*.pth")
    parser.add_argument(
        "--captions-pickle", type=Path, required=True, help="captions.pickle that was released with the encoders"
    )
    parser.add_argument("--out", type=Path, required=True, help="run folder to make, for sample and generate")
    parser.add_argument("--damsm-out", type=Path, help="folder of the encoders (default: damsm/ in the run folder)")
    parser.add_argument(
        "--word-mask", choices=["corrected", "released"], default="corrected",
        help="how padded words are masked; released: as the released code did, images then depend on their batch "
        "(default corrected)",
    )  # fmt: skip
    parser.add_argument(
        "--max-words", type=int, default=25,
        help="longest caption read; the released evaluation has 25 for birds, 20 for COCO (default 25)",
    )  # fmt: skip


def sample(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.sampling import sample_test_captions

    sample_test_captions(
        arguments.run, arguments.data, arguments.out, arguments.num_images, arguments.seed,
        arguments.batch_size, arguments.all_stages, device, arguments.retrieval, arguments.memory_cache,
    )  # fmt: skip


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder of a trained or imported model")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set whose test captions are used")
    parser.add_argument("--out", type=Path, required=True, help="folder of the images")
    parser.add_argument("--num-images", type=int, default=30000, help="images to make (default 30000, the papers')")
    parser.add_argument(
        "--seed", type=int, default=100, help="seed of captions and noises (default 100, the released code's)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, help="images at a time; changes nothing but speed (default 64)"
    )
    parser.add_argument(
        "--all-stages", action="store_true", help="write the images of every stage, not of the last alone"
    )
    parser.add_argument(
        "--retrieval", choices=RETRIEVALS, default=DEFAULT_METHOD,
        help=f"how a model with a memory retrieves; random and oracle are bounds (default {DEFAULT_METHOD})",
    )  # fmt: skip
    parser.add_argument(
        "--memory-cache", type=Path, help="folder to keep a memory's keys and values in (default: made anew each time)"
    )
    _add_run_flags(parser, tracking=False)


def evaluate(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.evaluation.evaluate import evaluate as run

    run(
        images=arguments.images, control=arguments.control, data=arguments.data, damsm=arguments.damsm,
        classifier=arguments.classifier, out=arguments.out, seed=arguments.seed, device=device, mlflow=arguments.mlflow,
    )  # fmt: skip


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--images", type=Path, help="folder of images that sample wrote")
    subject.add_argument(
        "--control", choices=["real", "shuffled", "noise"], help="a control row instead of a model's images"
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--damsm", type=Path, required=True, help="encoders that judge R-precision")
    parser.add_argument(
        "--classifier", type=Path, required=True, help="species classifier whose features IS and FID read"
    )
    parser.add_argument("--out", type=Path, required=True, help="metrics.json to write")
    parser.add_argument("--seed", type=int, default=100, help="seed of mismatched captions and folds (default 100)")
    _add_run_flags(parser)


def memorisation(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.evaluation.memorisation import memorisation as run

    run(arguments.run, arguments.images, arguments.data, arguments.out, arguments.num_images, device)


def _add_memorisation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder of a model that retrieves")
    parser.add_argument("--images", type=Path, required=True, help="folder of images that sample made of it")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set that it was trained on")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--num-images", type=int, default=1000, help="images whose distances are measured (default 1000)"
    )
    _add_run_flags(parser, tracking=False)


def retrieval_table(arguments: argparse.Namespace) -> None:
    from dmgan.report.retrieval import write_retrieval

    write_retrieval(arguments.metrics, arguments.memorisation, arguments.out)


def _add_retrieval_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True, help="metrics.json of a model under each method and seed"
    )
    parser.add_argument(
        "--memorisation", type=Path, nargs="+", required=True, help="what memorisation wrote of each seed's images"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of retrieval.md and retrieval.csv")


def tables(arguments: argparse.Namespace) -> None:
    from dmgan.report.tables import write_tables

    write_tables(arguments.metrics, arguments.out)


def _add_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True, help="metrics.json of every run and control row"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")


def figures(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.report.figures import write_figures

    write_figures(arguments.runs, arguments.data, arguments.out, arguments.seed, device)


def _add_figures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders of the models to show")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set whose test captions are used")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--seed", type=int, default=100, help="seed of captions and noises (default 100)")
    _add_run_flags(parser, tracking=False)


def generate(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.sampling import generate_from_captions

    captions = list(arguments.caption or [])
    if arguments.captions is not None:
        from dmgan.sampling import read_captions

        captions += read_captions(arguments.captions)
    generate_from_captions(arguments.run, captions, arguments.out, arguments.images_per_caption, arguments.seed, device)


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder of a trained or imported model")
    parser.add_argument("--caption", action="append", help="a caption; may be given several times")
    parser.add_argument("--captions", type=Path, help="a text file with one caption a line")
    parser.add_argument("--out", type=Path, default=Path("generated"), help="folder of the images (default generated/)")
    parser.add_argument(
        "--images-per-caption", type=int, default=1, help="images of each caption, other noise each (default 1)"
    )
    parser.add_argument("--seed", type=int, default=100, help="seed of the noises (default 100)")
    _add_run_flags(parser, tracking=False)


def fetch(arguments: argparse.Namespace) -> None:
    from dmgan import assets

    if arguments.list:
        print(assets.listing())
        return
    if arguments.name is None:
        raise UserError("no asset named; see python -m dmgan fetch --list")
    assets.fetch(assets.find(arguments.name), arguments.to, arguments.url)


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="what to download; --list names all")
    parser.add_argument("--list", action="store_true", help="name every asset, with address and licence")
    parser.add_argument("--to", type=Path, default=Path("downloads"), help="folder of the file (default downloads/)")
    parser.add_argument("--url", help="another address of the same file, such as a mirror's")


def lab_book(arguments: argparse.Namespace) -> None:
    from dmgan.tracking import create_database

    create_database(arguments.mlflow, arguments.artifacts)


def _add_lab_book(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mlflow", metavar="URI", default=DEFAULT_TRACKING, help=f"database to make (default {DEFAULT_TRACKING})"
    )
    parser.add_argument("--artifacts", type=Path, default=Path("results/mlflow"), help="folder of the runs' files")


VERBS = {
    "prepare":    (prepare,    _add_prepare,    "make a prepared data set"),
    "pretrain":   (pretrain,   _add_pretrain,   "pretrain the DAMSM's text and image encoder"),
    "classifier": (classifier, _add_classifier, "train the species classifier that IS and FID read"),
    "train":      (train,      _add_train,      "train a model"),
    "import":     (import_,    _add_import,     "make a run folder from released weights"),
    "sample":     (sample,     _add_sample,     "generate images from test captions"),
    "evaluate":   (evaluate,   _add_evaluate,   "IS, FID, KID and R-precision of a set of images"),
    "memorisation":    (memorisation,    _add_memorisation,    "whether a model that retrieves copies training images"),
    "retrieval-table": (retrieval_table, _add_retrieval_table, "a retrieving model under each method of retrieval"),
    "tables":     (tables,     _add_tables,     "the paper's tables, from metrics.json files"),
    "figures":    (figures,    _add_figures,    "the paper's figures, from trained runs"),
    "generate":   (generate,   _add_generate,   "images of every stage from your own captions"),
    "fetch":      (fetch,      _add_fetch,      "download what CUB, COCO and released models need"),
    "lab-book":   (lab_book,   _add_lab_book,   "make the MLflow database that runs are mirrored to"),
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run one verb; a UserError is one line on standard error and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m dmgan", description="Text-to-image GANs: reproduce and benchmark.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (function, add_flags, summary) in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        add_flags(verb)
        verb.set_defaults(function=function)
    arguments = parser.parse_args(argv)
    try:
        arguments.function(arguments)
    except UserError as error:
        print(f"dmgan {arguments.verb}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
