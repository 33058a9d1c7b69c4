"""Prepare a data set. The flags come from the table of sources."""

import argparse
import os
from pathlib import Path

from dmgan.commands.flags import PROCESSES, whole_number
from dmgan.data.sources.table import DEFAULT_SOURCE, IMAGE_SIZES, SOURCES, Flag, every_source, find_source
from dmgan.runtime.threads import available_threads


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", choices=list(SOURCES), default=DEFAULT_SOURCE, help="source of images and captions")
    parser.add_argument("--out", type=Path, required=True, help="folder of the prepared data set")
    parser.add_argument(
        "--name", help="name of the data set in tables, figures and MLflow (default: name of the folder --out)"
    )
    parser.add_argument(
        "--image-size",
        type=whole_number(*IMAGE_SIZES),
        default=64,
        help="side of the images in training, px; images are stored at 76/64 of this side (default 64)",
    )
    parser.add_argument(
        "--workers",
        type=PROCESSES,
        default=available_threads(),
        help="processes that draw or read images (default: OMP_NUM_THREADS, else all CPUs that this process may use)",
    )
    parser.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="stop at a faulty photograph or caption",
    )
    groups = {}
    for name, flags in _flags_of_sources().items():
        title = ", ".join(flags)
        group = groups.setdefault(title, None) or parser.add_argument_group(title)
        groups[title] = group
        flag = next(iter(flags.values()))
        group.add_argument(
            f"--{name.replace('_', '-')}", type=flag.type, choices=flag.bounds.get("enum"), help=_help(flags)
        )


def run(arguments: argparse.Namespace) -> None:
    from dmgan.data.prepare import prepare
    from dmgan.report.made_from import recorded

    given = {name: getattr(arguments, name) for name in _flags_of_sources()}
    source = find_source(arguments.source)
    out = arguments.out
    with recorded(out.parent, os.path.basename(os.path.abspath(out))):  # dataset.json names the inputs
        prepare(source, out, arguments.image_size, given, arguments.workers, arguments.strict, arguments.name)


def _flags_of_sources() -> dict[str, dict[str, Flag]]:
    """Return {name of a flag: {source: flag}} for the sources that read the flag."""
    found: dict[str, dict[str, Flag]] = {}
    for source in every_source():
        for name, flag in source.flags.items():
            found.setdefault(name, {})[source.name] = flag
    return found


def _help(flags: dict[str, Flag]) -> str:
    """Return the help text of a flag with its default; texts that differ are stated per source."""
    helps = _per_source({source: flag.help for source, flag in flags.items()})
    defaults = {source: str(flag.default) for source, flag in flags.items() if flag.default is not None}
    return f"{helps} (default {_per_source(defaults)})" if defaults else helps


def _per_source(texts: dict[str, str]) -> str:
    """Return the text that all sources have in common, or else all texts with their sources."""
    sources_of: dict[str, list[str]] = {}
    for source, text in texts.items():
        sources_of.setdefault(text, []).append(source)
    if len(sources_of) == 1:
        return next(iter(sources_of))
    return "; ".join(f"{', '.join(sources)}: {text}" for text, sources in sources_of.items())
