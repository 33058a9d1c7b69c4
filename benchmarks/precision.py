"""Loss curves in half precision, compared with float32: 500 steps on synthbirds in every precision.

float32 is trained with several seeds of weights, order and noise. The curve of another precision is accepted if its
distance from float32's mean is about that of float32's seeds. Curves are means over blocks of steps.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import plot, record
from benchmarks.record import Figure
from dmgan.errors import UserError

NAME, TITLE = "precision", "Loss curves in half precision, 500 steps on synthbirds"
LOSSES = ("discriminator0", "discriminator1", "discriminator2", "adversarial", "word0", "sentence0", "kl")
BLOCKS = 5  # of the 500 steps
NOISES = 1.5  # largest distance of a precision from float32, relative to the distance of float32's seeds
ENGINES = {  # options of each setting that is compared
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "bfloat16, fused, channels_last": {"precision": "bfloat16", "fused": True, "channels_last": True},
}
COMPARED = [name for name in ENGINES if name != "float32"]


class Size(NamedTuple):
    """Sizes of the trained models."""

    side: int = 64  # of the images, in px
    stages: int = 3
    images: int = 600
    batch: int = 12
    width: int = 8  # of generator and discriminators
    embedding_dim: int = 64
    damsm_epochs: int = 6


def train_curves(
    folder: Path, out: Path, engine: dict, seed: int, steps: int, size: Size, lr_factor: float = 1.0
) -> np.ndarray:
    """Return the mean losses (BLOCKS, losses) of one training in `out`, on data and encoders of `prepare` in `folder`.

    Fewer stages than three have fewer discriminators' losses.
    """
    import torch

    from dmgan.options import (
        ArchitectureOptions,
        EngineOptions,
        MatchingOptions,
        TrainingOptions,
        TrainingSettings,
    )
    from dmgan.training.train import TrainingInputs, train

    architecture = ArchitectureOptions(
        base_size=size.side >> (size.stages - 1), stages=size.stages, generator_width=size.width,
        discriminator_width=size.width, noise_dim=2 * size.width, condition_dim=2 * size.width, residual_blocks=1,
    )  # fmt: skip
    per_epoch = size.images * 3 // 4 // size.batch
    options = TrainingOptions(
        epochs=-(-steps // per_epoch), batch_size=size.batch, generator_lr=lr_factor * 8e-4, discriminator_lr=1e-3,
        damsm_weight=0.5,
    )  # fmt: skip
    settings = TrainingSettings(architecture, options, MatchingOptions(gamma3=20.0), EngineOptions(**engine))
    train("dmgan", TrainingInputs(folder / "data", folder / "damsm"), out, settings, seed, torch.device("cpu"))
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    curve = np.array(
        [[float(row[name]) for name in LOSSES if name in row] for row in rows if int(row["step"]) <= steps]
    )
    return np.stack([block.mean(axis=0) for block in np.array_split(curve, BLOCKS)])


def prepare(folder: Path, size: Size) -> None:
    """Make a small synthbirds data set and its encoders."""
    import torch

    from dmgan.data.prepare import prepare_synthbirds
    from dmgan.options import DamsmOptions, DamsmSettings, MatchingOptions
    from dmgan.training.pretrain_damsm import pretrain

    prepare_synthbirds(folder / "data", size.side, size.images // 6, 6, 10, seed=0, workers=1)
    options = DamsmOptions(
        image_encoder="small", image_size=size.side, width=size.width, embedding_dim=size.embedding_dim,
        epochs=size.damsm_epochs, batch_size=4 * size.batch, dropout=0.0, new_adam_each_epoch=False,
        validation_images=0,
    )  # fmt: skip
    pretrain(
        folder / "data", folder / "damsm", DamsmSettings(options, MatchingOptions(gamma3=20.0)), 0, torch.device("cpu")
    )


def distances(plain: np.ndarray, half: np.ndarray) -> tuple[float, float]:
    """Return the distances of float32's seeds from each other, and of another precision from them, in sd.

    Curves are (seeds, BLOCKS, losses). A distance is the root mean square over losses and blocks, from the mean of
    float32's other seeds; the standard deviation of a loss is over float32's seeds, pooled over the blocks, because
    three seeds of a single block may have a tiny standard deviation by chance.
    """
    deviation = np.sqrt(plain.var(axis=0, ddof=1).mean(axis=0))
    rest = [np.delete(plain, seed, axis=0).mean(axis=0) for seed in range(len(plain))]

    def distance(curves: np.ndarray) -> float:
        each = [
            np.sqrt((((curve - other) / deviation) ** 2).mean()) for curve, other in zip(curves, rest, strict=False)
        ]
        return float(np.mean(each))

    return distance(plain), distance(half)


def compare(steps: int, seeds: int, threads: int, precisions: list[str]) -> None:
    """Train, compare and write the result."""
    described = record.machine()
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, Size())
        curves = {
            each: [
                train_curves(folder, folder / f"{each}-{seed}", ENGINES[each], seed, steps, Size()).tolist()
                for seed in range(seeds)
            ]
            for each in ("float32", *precisions)
        }
    write(described, {"steps": steps, "seeds": seeds, "threads": threads, "losses": LOSSES, "curves": curves})


def write(described: dict[str, object], details: dict) -> None:
    """Write the result of the curves in `details`."""
    curves = {name: np.array(each) for name, each in details["curves"].items()}
    plain = curves.pop("float32")
    noise, _ = distances(plain, plain)
    figures = [Figure("float32: distance of a seed from the others", noise, "standard deviations")]
    panels = {"float32, another seed": noise}
    for name, half in curves.items():
        _, panels[name] = distances(plain, half)
        change = float(np.abs(half.mean(axis=0) / plain.mean(axis=0) - 1).max())
        figures += [
            Figure(
                f"{name}: distance of a seed from float32's others", panels[name], "standard deviations",
                at_most=NOISES * noise,
            ),
            Figure(f"{name}: largest change of a loss's mean over seeds", change * 100, "%"),
        ]  # fmt: skip
    result = record.write(NAME, TITLE, figures, described, details)
    note = f"{described['cpu']}; {details['seeds']} seeds of {details['steps']} steps; {result.date}"
    plot.bars(record.RESULTS / f"{NAME}.png", TITLE, {"distance, standard deviations": panels}, list(curves), note)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--steps", type=int, default=500, help="steps of each training (default 500)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings in each precision (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument(
        "--precisions", nargs="+", default=COMPARED, choices=COMPARED,
        help="precisions to compare with float32 (default all)",
    )  # fmt: skip
    parser.add_argument(
        "--stored", action="store_true", help="only compare the stored curves of results/precision.json"
    )
    arguments = parser.parse_args()
    from dmgan.training.loop import ROW_EVERY

    try:
        if arguments.stored:
            stored = record.read(record.RESULTS / f"{NAME}.json")
            trained = {name: getattr(stored, name) for name in ("command", "commit", "date", "versions")}
            write(stored.machine, {"trained": trained} | stored.details)
            return 0
        if arguments.steps < BLOCKS * ROW_EVERY or arguments.seeds < 3:
            raise UserError(
                f"--steps {arguments.steps} --seeds {arguments.seeds}: must be {BLOCKS * ROW_EVERY} and 3 or more"
            )
        compare(arguments.steps, arguments.seeds, arguments.threads, arguments.precisions)
    except UserError as error:
        print(f"benchmarks.precision: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
