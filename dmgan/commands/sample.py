"""Generate images from test captions."""

import argparse
from pathlib import Path

from dmgan.commands import flags
from dmgan.options import DEFAULT_METHOD, RETRIEVALS, SamplingOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="run folder of a trained or imported model")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set whose test captions are used")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the images; an interrupted sampling is resumed"
    )
    parser.add_argument(
        "--num-images", type=flags.COUNT, default=30000,
        help="images to generate (default 30000, the papers'); every pass over the test images has a random order",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=flags.SEED, default=100, help="seed of captions and noises (default 100, the released code's)"
    )
    parser.add_argument(
        "--max-words", type=flags.COUNT,
        help="largest number of words read; the released evaluation has 25 for birds, 20 for COCO (default: as in "
        "training)",
    )  # fmt: skip
    parser.add_argument(
        "--all-stages", action="store_true", help="write the images of all stages, not only of the last stage"
    )
    parser.add_argument(
        "--soa", action="store_true",
        help="generate images for SOA instead of --num-images: three images per test caption that names a COCO class; "
        "for the class person, one image for 30,000 drawn captions",
    )  # fmt: skip
    parser.add_argument(
        "--retrieval", choices=RETRIEVALS, default=DEFAULT_METHOD,
        help=f"retrieval method of a model that retrieves; random: lower bound, oracle: upper bound (default "
        f"{DEFAULT_METHOD})",
    )  # fmt: skip
    flags.add_memory_cache(parser)
    flags.add_run_flags(parser, tracking=False)
    flags.add_options(parser, SamplingOptions)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.sampling.sample import SampleRequest, sample_test_captions

    request = SampleRequest(
        arguments.num_images, arguments.seed, arguments.all_stages, arguments.soa, arguments.retrieval,
        arguments.max_words,
    )  # fmt: skip
    options = flags.options_from(arguments, SamplingOptions)
    sample_test_captions(
        arguments.run, arguments.data, arguments.out, request, device, options, arguments.memory_cache
    )  # fmt: skip
