"""Publish a trained model on a model hub."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of a finished training, or of an import")
    parser.add_argument("repository", metavar="OWNER/NAME", help="model on the hub; it is created if it is missing")
    parser.add_argument("--private", action="store_true", help="create it for its owner only")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.sampling.hub import publish
    from dmgan.training.model_card import model_card

    card = model_card(arguments.run, arguments.repository)
    print(publish(arguments.run, arguments.repository, card, arguments.private))
