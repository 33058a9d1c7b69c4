"""Begin a new model."""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name in the registry: lower case with hyphens, such as my-gan")
    parser.add_argument("--title", help="name that tables and figures print (default NAME)")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.models.new_model import HYPERPARAMETERS, SMOKE_HYPERPARAMETERS, write_model

    path = write_model(arguments.name, arguments.name if arguments.title is None else arguments.title)
    print(
        f"{path}: a small working model; replace its blocks with the paper's. The registry entry is the last entry in "
        "dmgan/models/registry.py.\n\n"
        f"Add to a configuration {arguments.name} under models, and a block under hyperparameters of each data set.\n"
        "For images of 64 px, as in workflow/config/config.yaml:\n\n"
        f"    {arguments.name}: {HYPERPARAMETERS}\n\n"
        "For workflow/config/smoke.yaml, whose images have 32 px:\n\n"
        f"    {arguments.name}: {SMOKE_HYPERPARAMETERS}\n\n"
        f"Check the model: python -m pytest tests/models -k {arguments.name}"
    )
