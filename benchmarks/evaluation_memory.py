"""Memory of the evaluation engine: from images to every number, and PRDC alone, for few and for many images.

Every count is measured in a process of its own. The engine is measured with a small network, whose own memory does not
hide what the engine holds; the images are drawn when asked for.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import fresh, plot, record
from dmgan.evaluation import metrics
from dmgan.evaluation.features import Rows, extract
from dmgan.evaluation.networks import FeatureNetwork
from dmgan.evaluation.prdc import features_to_manifolds

REFERENCE = 3000  # real images, about CUB's test split
SIDE, WIDTH, CLASSES = 32, 256, 50


class Drawn:
    """Noise images."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, number: int) -> np.ndarray:
        return np.random.default_rng([self.seed, number]).integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)

    def name(self, number: int) -> str:
        return f"drawn image {number}"


class Small(FeatureNetwork):
    """One random layer."""

    name = "small"

    def __init__(self):
        super().__init__({"features": WIDTH, "logits": CLASSES}, {"feature_network": "small"})
        self.weight = torch.randn(SIDE * SIDE * 3, WIDTH, generator=torch.Generator().manual_seed(0)) / 50

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        features = (batch.flatten(1).float() / 128 - 1) @ self.weight
        return {"features": features, "logits": features[:, :CLASSES]}


def engine(images: int) -> None:
    """Extraction, IS, FID, KID and PRDC of so many images."""
    with tempfile.TemporaryDirectory() as temporary:
        device, networks = torch.device("cpu"), [Small()]
        generated = extract(Drawn(0), images, networks, Path(temporary) / "generated", device)["small"]
        real = extract(Drawn(1), REFERENCE, networks, Path(temporary) / "real", device)["small"]["features"]
        order, features = np.arange(images), generated["features"]
        clustered = metrics.clustered_folds(order // 10, seed=0)  # ten images per test image
        metrics.inception_score(generated["logits"], order, clustered)
        metrics.frechet_distance(features, real, order, clustered)
        metrics.kernel_distance(features, real, order, clustered)
        metrics.manifold_scores(features, real, order, clustered, np.arange(REFERENCE), 5)


def manifolds(images: int, width: int) -> None:
    """PRDC of as many generated as real features, from files."""
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for seed in range(2):
            path = Path(temporary) / f"{seed}.npy"
            stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(images, width))
            for start in range(0, images, 1000):
                block = np.random.default_rng([seed, start]).standard_normal((min(1000, images - start), width))
                stored[start : start + 1000] = block
                stored.flush()
            del stored
            rows.append(Rows(path))
        base = fresh.peak_mb()
        start = fresh.cpu_seconds()
        features_to_manifolds(*rows, 5)
        fresh.report({"peak_mb": fresh.peak_mb(), "before_mb": base, "cpu_seconds": fresh.cpu_seconds() - start})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=3000, help="images of the small measurement (default 3000)")
    parser.add_argument("--many", type=int, default=30_000, help="images of the large one (default 30000)")
    parser.add_argument("--width", type=int, default=2048, help="numbers of a feature in PRDC alone (default 2048)")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "IMAGES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, images = arguments.one[0], int(arguments.one[1])
        torch.set_num_threads(1)
        if what == "manifolds":
            manifolds(images, arguments.width)
        else:
            start = fresh.cpu_seconds()
            engine(images)
            fresh.report({"peak_mb": fresh.peak_mb(), "cpu_seconds": fresh.cpu_seconds() - start})
        return
    machine, runs = record.machine(), {}
    for what in ("engine", "manifolds"):
        for count in (arguments.few, arguments.many):
            one = ["--width", str(arguments.width), "--one", what, str(count)]
            runs[f"{what}, {count}"] = fresh.measure("benchmarks.evaluation_memory", one, {"OMP_NUM_THREADS": "1"})
            print(f"{what}, {count}: {runs[f'{what}, {count}']}", flush=True)
    ratios = {
        what: runs[f"{what}, {arguments.many}"]["peak_mb"] / runs[f"{what}, {arguments.few}"]["peak_mb"]
        for what in ("engine", "manifolds")
    }
    counts = f"{arguments.many} images / {arguments.few} images"
    figures = [
        record.Figure(f"peak memory of the engine, {counts}", ratios["engine"], "x", at_least=0.95, at_most=1.05),
        record.Figure(f"peak memory of PRDC, {counts} a side", ratios["manifolds"], "x", at_least=0.95, at_most=1.05),
        record.Figure(
            f"PRDC of {arguments.many} + {arguments.many} features of {arguments.width} numbers",
            runs[f"manifolds, {arguments.many}"]["cpu_seconds"], "CPU s",
        ),
    ]  # fmt: skip
    title = "Memory of an evaluation"
    record.write("evaluation_memory", title, figures, machine, {"width": arguments.width, "runs": runs})
    plot.bars(
        record.RESULTS / "evaluation_memory.png",
        title,
        {"peak MB": {name: run["peak_mb"] for name, run in runs.items()}},
    )


if __name__ == "__main__":
    main()
