"""Serve a page that generates images from captions."""

import argparse
from pathlib import Path

from dmgan.commands import flags


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS",
        help="results folders, of which all finished runs are offered, or run folders",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=flags.whole_number(0, 65535), default=7860,
        help="port on 127.0.0.1, which only this machine can open (default 7860; 0: any free port)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=flags.COUNT, default=300,
        help="seconds after which a request generates no further image (default 300)",
    )  # fmt: skip
    flags.add_comparison(parser)
    flags.add_run_flags(parser, tracking=False)


def run(arguments: argparse.Namespace) -> None:
    device = flags.set_up_device(arguments)
    from dmgan.inspection.playground import Playground
    from dmgan.inspection.runs import find_runs
    from dmgan.inspection.server import import_gradio, serve

    import_gradio()
    runs = find_runs(arguments.results)
    serve(Playground(runs, flags.compared_with(arguments), device, arguments.seconds), arguments.port)
