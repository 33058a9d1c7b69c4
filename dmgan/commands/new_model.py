"""Begin a new model."""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name in the registry: lower case with hyphens, such as my-gan")
    parser.add_argument("--title", help="name that tables and figures print (default NAME)")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.models.new_model import HYPERPARAMETERS, write_model

    path = write_model(arguments.name, arguments.name if arguments.title is None else arguments.title)
    print(
        f"{path}: a small working model; replace its blocks with the paper's. The registry entry is the last entry in "
        "dmgan/models/registry.py.\n\n"
        f"Add to a configuration, such as workflow/config/config.yaml, {arguments.name} under models, and under "
        "hyperparameters of each data set:\n\n"
        f"    {arguments.name}: {HYPERPARAMETERS}\n\n"
        f"Check the model: python -m pytest tests/models -k {arguments.name}"
    )
