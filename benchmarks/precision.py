"""Whether half precision keeps the loss curves: 500 steps on synthbirds in each precision, against float32's noise.

The noise is what another seed changes: float32 is trained with several seeds of weights, order and noise, and a
precision's curve is the same if it stays as near to float32's mean as those do. Curves are means over blocks of steps.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import plot, record
from benchmarks.record import Figure
from dmgan.errors import UserError

NAME, TITLE = "precision", "Loss curves in half precision, 500 steps on synthbirds"
LOSSES = ("discriminator0", "discriminator1", "discriminator2", "adversarial", "word0", "sentence0", "kl")
BLOCKS = 5  # of the 500 steps
BATCH, IMAGES = 12, 600
ENGINES = {  # options of each setting that is compared
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "bfloat16, rewritten, channels_last": {"precision": "bfloat16", "rewritten": True, "channels_last": True},
}
COMPARED = [name for name in ENGINES if name != "float32"]


def train_curves(folder: Path, precision: str, seed: int, steps: int, threads: int) -> np.ndarray:
    """Mean losses (BLOCKS, len(LOSSES)) of one training."""
    import csv

    import torch

    from dmgan.options import ArchitectureOptions, EngineOptions, MatchingOptions, TrainingOptions
    from dmgan.training import train

    torch.set_num_threads(threads)
    architecture = ArchitectureOptions(
        base_size=16, stages=3, generator_width=8, discriminator_width=8, noise_dim=16, condition_dim=16,
        residual_blocks=1,
    )  # fmt: skip
    per_epoch = IMAGES * 3 // 4 // BATCH
    options = TrainingOptions(
        epochs=-(-steps // per_epoch), batch_size=BATCH, generator_lr=8e-4, discriminator_lr=1e-3, damsm_weight=0.5
    )
    out = folder / f"{precision}-{seed}"
    train(
        "dmgan", folder / "data", folder / "damsm", out, architecture, options, MatchingOptions(gamma3=20.0), seed,
        torch.device("cpu"), engine=EngineOptions(**ENGINES[precision]),
    )  # fmt: skip
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    curve = np.array([[float(row[name]) for name in LOSSES] for row in rows if int(row["step"]) <= steps])
    return np.stack([block.mean(axis=0) for block in np.array_split(curve, BLOCKS)])


def prepare(folder: Path, threads: int) -> None:
    """A small synthbirds and encoders for it."""
    import torch

    from dmgan.damsm import pretrain
    from dmgan.data.prepare import prepare_synthbirds
    from dmgan.options import DamsmOptions, MatchingOptions

    torch.set_num_threads(threads)
    prepare_synthbirds(folder / "data", 64, IMAGES // 6, 6, 10, seed=0, workers=threads)
    options = DamsmOptions(
        image_encoder="small", image_size=64, width=12, embedding_dim=64, epochs=6, batch_size=48, dropout=0.0,
        new_adam_each_epoch=False,
    )  # fmt: skip
    pretrain(folder / "data", folder / "damsm", options, MatchingOptions(gamma3=20.0), 0, torch.device("cpu"))


def compare(steps: int, seeds: int, threads: int, precisions: list[str]) -> None:
    """Train, compare and write the result.

    A curve's distance is measured in standard deviations of float32's seeds: the root mean square over losses and
    blocks. float32's own is that of each seed from the mean of the others.
    """
    described = record.machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, threads)
        plain = np.stack([train_curves(folder, "float32", seed, steps, threads) for seed in range(seeds)])
        half = {
            each: np.stack([train_curves(folder, each, seed, steps, threads) for seed in range(seeds)])
            for each in precisions
        }
    deviation = plain.std(axis=0, ddof=1)

    def distance(curve: np.ndarray, reference: np.ndarray) -> float:
        return float(np.sqrt((((curve - reference) / deviation) ** 2).mean()))

    rest = [np.delete(plain, seed, axis=0).mean(axis=0) for seed in range(seeds)]
    noise = statistics.mean(distance(plain[seed], rest[seed]) for seed in range(seeds))
    figures = [Figure("float32: distance of a seed from the others", noise, "standard deviations")]
    panels = {"float32, another seed": noise}
    for each, curves in half.items():
        found = statistics.mean(distance(curves[seed], rest[seed]) for seed in range(seeds))
        bias = float(np.abs(curves.mean(axis=0) / plain.mean(axis=0) - 1).max())
        figures += [
            Figure(
                f"{each}: distance of a seed from float32's others", found, "standard deviations", None, 1.5 * noise
            ),
            Figure(f"{each}: largest change of a loss's mean over seeds", bias * 100, "%"),
        ]
        panels[each] = found
    curves = {"float32": plain.tolist()} | {name: each.tolist() for name, each in half.items()}
    details = {"steps": steps, "seeds": seeds, "threads": threads, "losses": LOSSES, "curves": curves}
    result = record.write(NAME, TITLE, figures, described, details)
    note = f"{described['cpu']}; {seeds} seeds of {steps} steps; {result.date}"
    plot.bars(record.RESULTS / f"{NAME}.png", TITLE, {"distance, standard deviations": panels}, precisions, note)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--steps", type=int, default=500, help="steps of each training (default 500)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings in each precision (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument(
        "--precisions", nargs="+", default=COMPARED, choices=COMPARED,
        help="what to compare with float32 (default all)",
    )  # fmt: skip
    arguments = parser.parse_args()
    from dmgan.training import ROW_EVERY

    try:
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
