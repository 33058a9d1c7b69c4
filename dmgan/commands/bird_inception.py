"""Convert the released Inception for birds from its TensorFlow checkpoint."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", type=Path, required=True,
        help="birds_valid299/model.ckpt-5000 of StackGAN-inception-model, which needs TensorFlow (the extra convert), "
        "or an .npz file of its variables by name",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("downloads/bird_inception.safetensors"),
        help="weights to write, in the folder that evaluate reads by --weights (default "
        "downloads/bird_inception.safetensors)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from dmgan.evaluation.networks.bird_inception import BirdInception, read_variables, slim_to_state
    from dmgan.runtime.progress import log
    from dmgan.storage.weights import save_weights

    network = BirdInception()
    network.load_state_dict(slim_to_state(read_variables(arguments.checkpoint), str(arguments.checkpoint)))
    save_weights(network, arguments.out)
    log(f"{arguments.out}: weights of the extractor birds-released; real test birds should have an IS of about 22.7")
