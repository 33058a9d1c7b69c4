"""Download files."""

import argparse
from pathlib import Path

from dmgan.errors import UserError


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="asset to download; see --list")
    parser.add_argument("--list", action="store_true", help="list all assets, with address and licence")
    parser.add_argument(
        "--to", type=Path, default=Path("downloads"), help="folder to download into (default downloads/)"
    )
    parser.add_argument("--url", help="another address of the same file, such as a mirror's")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.storage import downloads

    if arguments.list:
        print(downloads.listing())
        return
    if arguments.name is None:
        raise UserError("no asset named; see python -m dmgan fetch --list")
    downloads.fetch(downloads.find(arguments.name), arguments.to, arguments.url)
