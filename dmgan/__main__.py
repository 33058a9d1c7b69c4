"""Command line: one verb per rule of the workflow; parses flags and calls one function."""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

from dmgan.errors import UserError
from dmgan.options import (
    DEFAULT_METHOD,
    RETRIEVALS,
    RUNGS,
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmOptions,
    EngineOptions,
    EvaluationOptions,
    MatchingOptions,
    SamplingOptions,
    TrainingOptions,
    TrainingSettings,
)

DEFAULT_TRACKING = "sqlite:///results/mlflow.db"


def _add_options(parser: argparse.ArgumentParser, kind: type, leave_out: tuple[str, ...] = (), note: str = "") -> None:
    """One flag per field of an options class, with its default; with a note a flag that is not given sets nothing."""
    group = parser.add_argument_group(kind.__name__, note or None)
    for field in dataclasses.fields(kind):
        if field.name in leave_out:
            continue
        flag, help_text = "--" + field.name.replace("_", "-"), field.metadata["help"]
        default = argparse.SUPPRESS if note else field.default
        if field.type in (bool, "bool"):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=help_text)
        else:
            group.add_argument(
                flag, type=type(field.default), default=default, choices=field.metadata["choices"],
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
    """Set up torch for this process and return the device that the flags name."""
    from dmgan.runtime.allocator import keep_freed_memory

    keep_freed_memory()  # before torch allocates
    from dmgan.runtime.device import set_up_device

    return set_up_device(arguments.device, arguments.threads)


# Flags of prepare that some sources alone read, with their defaults.
SOURCES = {
    "synthbirds": {"num_species": 200, "images_per_species": 16, "captions_per_image": 10, "seed": 0},
    "cub": {"root": None, "metadata": None, "captions": None, "captions_pickle": None, "captions_per_image": 10},
    "coco": {"root": None, "year": None, "captions_pickle": None, "captions_per_image": 5},
    "folder": {"root": None, "captions": None, "captions_pickle": None, "captions_per_image": 0, "test_share": 0.1},
}


def prepare(arguments: argparse.Namespace) -> None:
    own = SOURCES[arguments.source]
    for flag in {flag for flags in SOURCES.values() for flag in flags}:
        if getattr(arguments, flag) is not None and flag not in own:
            raise UserError(f"--{flag.replace('_', '-')}: is not read with --source {arguments.source}; leave it out")
    given = {flag: default if (value := getattr(arguments, flag)) is None else value for flag, default in own.items()}
    if arguments.source == "synthbirds":
        from dmgan.data.prepare import prepare_synthbirds

        prepare_synthbirds(arguments.out, arguments.image_size, workers=arguments.workers, **given)
        return
    if given["root"] is None:
        raise UserError(f"--source {arguments.source}: needs --root, the folder that holds it")
    from dmgan.data.prepare import prepare_photographs, refuse_sources
    from dmgan.data.sources.coco import list_coco
    from dmgan.data.sources.cub import list_cub
    from dmgan.data.sources.folder import list_folder

    sources = {f"--{flag}": given.get(flag) for flag in ("root", "metadata", "captions")}
    refuse_sources(arguments.out, sources)
    captions_pickle, vocabulary = given["captions_pickle"], None
    if arguments.source != "cub":
        del given["captions_pickle"]
    listing = {"cub": list_cub, "coco": list_coco, "folder": list_folder}[arguments.source](**given)
    if captions_pickle is not None:
        from dmgan.data.vocabulary import read_vocabulary

        vocabulary = read_vocabulary(captions_pickle)
    prepare_photographs(
        listing, arguments.out, arguments.image_size, arguments.workers, arguments.strict, vocabulary
    )  # fmt: skip


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", choices=list(SOURCES), default="synthbirds", help="where images and captions come from"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the prepared data set")
    parser.add_argument(
        "--image-size", type=int, default=64, help="side models are trained on; 76/64 of it is kept (default 64)"
    )
    parser.add_argument(
        "--captions-per-image", type=int,
        help="captions of each image: the first so many (default 10; coco 5; folder 0, which is all)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes that draw or read (default: all cores)"
    )
    parser.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="stop where a photograph or caption is not as it should be",
    )
    birds = parser.add_argument_group("synthbirds")
    birds.add_argument("--num-species", type=int, help="species, a quarter of them for the test (default 200)")
    birds.add_argument("--images-per-species", type=int, help="images of each species (default 16)")
    birds.add_argument("--seed", type=int, help="seed of the drawing (default 0)")
    photographs = parser.add_argument_group("cub, coco, folder")
    photographs.add_argument("--root", type=Path, help="CUB_200_2011, COCO's folder, or the folder of your images")
    photographs.add_argument("--metadata", type=Path, help="cub: AttnGAN's folder birds, with captions and split")
    photographs.add_argument(
        "--captions", type=Path,
        help="cub: Reed et al.'s folder cvpr2016_cub, instead of --metadata; "
        "folder: JSON lines (default captions.jsonl in --root, else one .txt beside each image)",
    )  # fmt: skip
    photographs.add_argument(
        "--captions-pickle", type=Path, help="take the vocabulary of released encoders, to train with them"
    )
    photographs.add_argument("--year", choices=["2014", "2017"], help="coco: layout (default: the one that is there)")
    photographs.add_argument(
        "--test-share",
        type=float,
        help="folder: share of the images for the test where no split is given (default 0.1)",
    )


def pretrain(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.runtime.device import set_deterministic
    from dmgan.training.pretrain_damsm import pretrain as run

    set_deterministic(device, arguments.deterministic)
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
    parser.add_argument(
        "--deterministic", action=argparse.BooleanOptionalAction, default=False,
        help=EngineOptions.__dataclass_fields__["deterministic"].metadata["help"],
    )  # fmt: skip
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


def attributes(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.evaluation.attributes import train_attributes

    train_attributes(
        arguments.data, arguments.out, _options(arguments, ClassifierOptions), arguments.seed, device, arguments.mlflow
    )


def captioner(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.training.pretrain_captioner import train_captioner

    train_captioner(
        arguments.data, arguments.damsm, arguments.out, _options(arguments, CaptionerOptions),
        arguments.seed, device, arguments.mlflow,
    )  # fmt: skip


def _add_captioner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--damsm", type=Path, required=True, help="folder of the pretrained encoders")
    parser.add_argument("--out", type=Path, required=True, help="folder of the captioner")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation (default 0)")
    _add_run_flags(parser)
    _add_options(parser, CaptionerOptions)


def train(arguments: argparse.Namespace) -> None:
    from dmgan.models.registry import training_options

    fields = {field.name for field in dataclasses.fields(TrainingOptions)}
    given = {name: value for name, value in vars(arguments).items() if name in fields}
    training = training_options(arguments.model, given)
    device = _device(arguments)
    from dmgan.runtime.distributed import process_group
    from dmgan.training.train import TrainingInputs
    from dmgan.training.train import train as run

    inputs = TrainingInputs(arguments.data, arguments.damsm, arguments.vgg16_weights, arguments.captioner)
    settings = TrainingSettings(
        _options(arguments, ArchitectureOptions), training, _options(arguments, MatchingOptions),
        _options(arguments, EngineOptions),
    )  # fmt: skip
    with process_group(device) as distributed:
        run(arguments.model, inputs, arguments.out, settings, arguments.seed, device, arguments.mlflow, distributed)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="name in the registry, such as dmgan or attngan")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--damsm", type=Path, required=True, help="folder of the pretrained encoders")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an interrupted run in it goes on")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights, order, augmentation and noise (default 0)"
    )
    parser.add_argument(
        "--vgg16-weights", type=Path,
        help="torchvision's vgg16 state dict (for --perceptual vgg16, and for --feature-network vgg16)",
    )  # fmt: skip
    parser.add_argument("--captioner", type=Path, help="folder of the pretrained captioner (for MirrorGAN)")
    _add_run_flags(parser)
    _add_options(parser, ArchitectureOptions)
    _add_options(
        parser,
        TrainingOptions,
        note="DF-GAN's rates and betas and StackGAN++'s KL weight have other defaults: their own.",
    )
    _add_options(parser, EngineOptions)
    _add_options(parser, MatchingOptions)


def import_(arguments: argparse.Namespace) -> None:
    from dmgan.training.import_released import ReleasedFiles, import_released

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
    from dmgan.sampling.sample import sample_test_captions

    sample_test_captions(
        arguments.run, arguments.data, arguments.out, arguments.num_images, arguments.seed,
        arguments.batch_size, arguments.all_stages, device, _options(arguments, SamplingOptions), arguments.soa,
        arguments.retrieval, arguments.memory_cache, arguments.max_words,
    )  # fmt: skip


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder of a trained or imported model")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set whose test captions are used")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the images; a sampling that was cut short goes on"
    )
    parser.add_argument("--num-images", type=int, default=30000, help="images to make (default 30000, the papers')")
    parser.add_argument(
        "--seed", type=int, default=100, help="seed of captions and noises (default 100, the released code's)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=64, help="images at a time; changes nothing but speed (default 64)"
    )
    parser.add_argument(
        "--max-words", type=int,
        help="longest caption read; the released evaluation has 25 for birds, 20 for COCO (default: as in training)",
    )  # fmt: skip
    parser.add_argument(
        "--all-stages", action="store_true", help="write the images of every stage, not of the last alone"
    )
    parser.add_argument(
        "--soa", action="store_true",
        help="instead of --num-images the images that SOA asks for: three of each test caption of a COCO class, one of "
        "30,000 drawn captions of person",
    )  # fmt: skip
    parser.add_argument(
        "--retrieval", choices=RETRIEVALS, default=DEFAULT_METHOD,
        help=f"how a model with a memory retrieves; random and oracle are bounds (default {DEFAULT_METHOD})",
    )  # fmt: skip
    parser.add_argument(
        "--memory-cache", type=Path, help="folder to keep a memory's keys and values in (default: made anew each time)"
    )
    _add_run_flags(parser, tracking=False)
    _add_options(parser, SamplingOptions)


def _judges(arguments: argparse.Namespace):
    from dmgan.evaluation.evaluate import Judges

    if (arguments.clip is None) != (arguments.clip_weights is None):
        raise UserError("--clip and --clip-weights: belong together; give both or none")
    return Judges(
        rungs=tuple(arguments.rungs), classifier=arguments.classifier, weights=arguments.weights, damsm=arguments.damsm,
        held_out_damsm=arguments.held_out_damsm,
        clip=None if arguments.clip is None else (arguments.clip, arguments.clip_weights),
        attributes=arguments.attributes, detector=arguments.detector_weights,
    )  # fmt: skip


def evaluate(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.evaluation.evaluate import evaluate as run

    run(
        images=arguments.images, data=arguments.data, judges=_judges(arguments), reference=arguments.reference,
        out=arguments.out, options=_options(arguments, EvaluationOptions), device=device, mlflow=arguments.mlflow,
    )  # fmt: skip


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, required=True, help="folder of images that sample wrote")
    parser.add_argument("--out", type=Path, required=True, help="metrics.json to write; features/ grows beside it")
    _add_judges(parser)


def controls(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.evaluation.evaluate import evaluate_controls

    evaluate_controls(
        controls=arguments.controls, data=arguments.data, judges=_judges(arguments), reference=arguments.reference,
        out=arguments.out, options=_options(arguments, EvaluationOptions), device=device, mlflow=arguments.mlflow,
    )  # fmt: skip


def _add_controls(parser: argparse.ArgumentParser) -> None:
    every = ["real", "shuffled", "nearest", "noise", "adversarial"]
    parser.add_argument(
        "--controls", nargs="+", choices=every, default=every, help=f"which rows (default {' '.join(every)})"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder; each row becomes CONTROL/metrics.json in it")
    _add_judges(parser)


def _add_judges(parser: argparse.ArgumentParser) -> None:
    """What every evaluation reads, and who judges in it."""
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument(
        "--damsm", type=Path, required=True, help="encoders that trained the generators: the papers' judge"
    )
    parser.add_argument("--held-out-damsm", type=Path, help="encoders of another seed, which no generator has seen")
    parser.add_argument("--clip", metavar="MODEL", help="also judge by CLIP: open_clip's name of a model, or its JSON")
    parser.add_argument("--clip-weights", type=Path, metavar="FILE", help="its state dict (.safetensors, .bin, .pt)")
    parser.add_argument("--attributes", type=Path, help="attribute classifier, on a data set whose captions name them")
    parser.add_argument(
        "--detector-weights", type=Path, metavar="FILE",
        help="also SOA: torchvision's Faster R-CNN v2 (`fetch faster-rcnn`) looks for the COCO objects captions name",
    )  # fmt: skip
    _add_rungs(parser, "*")
    parser.add_argument(
        "--reference", type=Path, help="folder that `reference` wrote, or will (default: reference/ beside --out)"
    )
    _add_run_flags(parser)
    _add_options(parser, EvaluationOptions)


def _add_rungs(parser: argparse.ArgumentParser, count: str = "+") -> None:
    parser.add_argument(
        "--rungs", nargs=count, metavar="RUNG", default=["species"], choices=RUNGS,
        help=f"feature networks of IS, FID, KID and PRDC, some of {', '.join(RUNGS)}"
        f"{', or none' if count == '*' else ''} (default species)",
    )  # fmt: skip
    parser.add_argument("--classifier", type=Path, help="species classifier, for the rung species")
    parser.add_argument(
        "--weights", type=Path, default=Path("downloads"),
        help="folder of the Inception weights; what is not there is fetched into it (default downloads/)",
    )  # fmt: skip


def reference(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.evaluation.evaluate import measure_reference

    measure_reference(
        data=arguments.data, rungs=tuple(arguments.rungs), classifier=arguments.classifier, weights=arguments.weights,
        out=arguments.out, options=_options(arguments, EvaluationOptions), device=device,
    )  # fmt: skip


def _add_reference(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    _add_rungs(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the features")
    _add_run_flags(parser, tracking=False)
    _add_options(parser, EvaluationOptions)


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


def parameters(arguments: argparse.Namespace) -> None:
    from dmgan.report.parameters import write_parameters

    write_parameters(arguments.out)


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the listings")


def compare(arguments: argparse.Namespace) -> None:
    from dmgan.report.comparisons import write_comparisons

    write_comparisons(arguments.metrics, arguments.out, arguments.seed)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True,
        help="metrics.json of every run, of images sampled with one seed (per_image.npz lies beside each), and of "
        "control rows, which qualify the claims",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of the table")
    parser.add_argument("--seed", type=int, default=100, help="seed of resamples and permutations (default 100)")


def figures(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.report.figures import write_figures

    write_figures(
        arguments.runs, arguments.data, arguments.out, arguments.seed, device, arguments.memory_cache
    )  # fmt: skip


def _add_figures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders of the models to show")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set whose test captions are used")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--seed", type=int, default=100, help="seed of captions and noises (default 100)")
    parser.add_argument(
        "--memory-cache", type=Path, help="folder to keep a memory's keys and values in (default: made anew each time)"
    )
    _add_run_flags(parser, tracking=False)


def generate(arguments: argparse.Namespace) -> None:
    device = _device(arguments)
    from dmgan.sampling.generate import generate_from_captions

    captions = list(arguments.caption or [])
    if arguments.captions is not None:
        from dmgan.sampling.generate import read_captions

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
    from dmgan.storage import downloads as assets

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


def plan(arguments: argparse.Namespace) -> None:
    from dmgan.plan import RATES
    from dmgan.plan import plan as run

    print(run(arguments.configfile, arguments.rates or RATES, arguments.tflops))


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--configfile", type=Path, default=Path("workflow/config/config.yaml"), help="configuration to cost"
    )
    parser.add_argument("--rates", type=Path, help="table of measured rates (default benchmarks/results/rates.csv)")
    parser.add_argument(
        "--tflops", type=float, default=40.0,
        help="speed that the device of the extrapolated column is assumed to sustain, TFLOP/s (default 40)",
    )  # fmt: skip


def lab_book(arguments: argparse.Namespace) -> None:
    from dmgan.training.mlflow_run import create_database

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
    "attributes": (attributes, _add_classifier, "train the classifier of named attributes (synthbirds)"),
    "captioner":  (captioner,  _add_captioner,  "pretrain the captioner that MirrorGAN's loss reads"),
    "train":      (train,      _add_train,      "train a model"),
    "import":     (import_,    _add_import,     "make a run folder from released weights"),
    "sample":     (sample,     _add_sample,     "generate images from test captions"),
    "reference":  (reference,  _add_reference,  "features of the real test images, which evaluate compares with"),
    "evaluate":   (evaluate,   _add_evaluate,   "IS, FID, KID, PRDC and R-precision of a set of images"),
    "controls":   (controls,   _add_controls,   "the same of control rows, whose rank is known beforehand"),
    "memorisation":    (memorisation,    _add_memorisation,    "whether a model that retrieves copies training images"),
    "retrieval-table": (retrieval_table, _add_retrieval_table, "a retrieving model under each method of retrieval"),
    "tables":     (tables,     _add_tables,     "the paper's tables, from metrics.json files"),
    "parameters": (parameters, _add_parameters, "DM-GAN's parameters, as the student reproduction lists them"),
    "compare":    (compare,    _add_compare,    "which model is better than which, image by image"),
    "figures":    (figures,    _add_figures,    "the paper's figures, from trained runs"),
    "generate":   (generate,   _add_generate,   "images of every stage from your own captions"),
    "plan":       (plan,       _add_plan,       "what a configuration costs, before anything starts"),
    "fetch":      (fetch,      _add_fetch,      "download what CUB, COCO and released models need"),
    "lab-book":   (lab_book,   _add_lab_book,   "make the MLflow database that runs are mirrored to"),
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run one verb; a UserError is one line on standard error, which names a rank but the first, and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m dmgan", description="Text-to-image GANs: reproduce and benchmark.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (function, add_flags, summary) in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        add_flags(verb)
        verb.set_defaults(function=function)
    arguments = parser.parse_args(argv)
    rank = int(os.environ.get("RANK", "0"))  # of the processes that torchrun started together
    try:
        if arguments.verb != "train" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError("only train runs in several processes; leave torchrun out")
        arguments.function(arguments)
    except UserError as error:
        if rank > 0:  # where the first rank fails alike, torchrun ends this one before it says the same
            time.sleep(1)
        print(f"dmgan {arguments.verb}: {f'rank {rank}: ' if rank else ''}{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
