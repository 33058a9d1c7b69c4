"""Memory of an evaluation: from image files to metrics.json, and of PRDC, for few and for many images.

Every number of images is measured in a separate process. The networks are small, so that their memory does not hide
the memory of the evaluation.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import evaluation_twice, fresh, plot, record
from dmgan.evaluation.evaluate import evaluate
from dmgan.evaluation.feature_store import Rows
from dmgan.evaluation.statistics.manifolds import features_to_manifolds
from dmgan.options import EvaluationOptions


def whole(folder: Path, images: str) -> None:
    """Evaluate the image folder `name` with all networks."""
    out, start = folder / f"evaluation of {images}", fresh.cpu_seconds()
    evaluate(
        images=folder / images, data=folder / "data", network_files=evaluation_twice.network_files(folder),
        reference=out / "reference", out=out / "metrics.json", options=EvaluationOptions(), device=torch.device("cpu"),
    )  # fmt: skip
    fresh.report({"peak_mb": fresh.peak_mb(), "cpu_seconds": fresh.cpu_seconds() - start})


def manifolds(images: int, width: int) -> None:
    """Compute PRDC of equal numbers of generated and real features, from files."""
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
    parser.add_argument("--many", type=int, default=30_000, help="images of the large measurement (default 30000)")
    parser.add_argument(
        "--width", type=int, default=2048, help="dimensions of a feature in the measurement of PRDC (default 2048)"
    )
    parser.add_argument("--whole", nargs=2, metavar=("FOLDER", "IMAGES"), help=argparse.SUPPRESS)
    parser.add_argument("--manifolds", type=int, metavar="IMAGES", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.whole:
        whole(Path(arguments.whole[0]), arguments.whole[1])
        return
    if arguments.manifolds:
        manifolds(arguments.manifolds, arguments.width)
        return
    machine, counts = record.machine(), {"few": arguments.few, "many": arguments.many}
    with tempfile.TemporaryDirectory() as folder:
        evaluation_twice.make_images(Path(folder), counts)
        commands = {(name, "evaluation"): ["--whole", folder, name] for name in counts}
        width = ["--width", str(arguments.width)]
        commands |= {(name, "PRDC"): [*width, "--manifolds", str(count)] for name, count in counts.items()}
        runs = {}
        for key, command in commands.items():
            runs[key] = fresh.measure("benchmarks.evaluation_memory", command, {"OMP_NUM_THREADS": "1"})
            print(f"{key[1]}, {counts[key[0]]}: {runs[key]}", flush=True)
    many = f"{arguments.many} images / {arguments.few} images"
    ratio = {what: runs["many", what]["peak_mb"] / runs["few", what]["peak_mb"] for what in ("evaluation", "PRDC")}
    figures = [
        record.Figure(f"peak memory of an evaluation, {many}", ratio["evaluation"], "x", at_least=0.95, at_most=1.05),
        record.Figure(f"peak memory of PRDC, {many} a side", ratio["PRDC"], "x", at_least=0.95, at_most=1.05),
        record.Figure(
            f"PRDC of {arguments.many} + {arguments.many} features of {arguments.width} numbers",
            runs["many", "PRDC"]["cpu_seconds"], "CPU s",
        ),
    ]  # fmt: skip
    title = "Memory of an evaluation"
    named = {f"{what}, {counts[name]}": run for (name, what), run in runs.items()}
    record.write("evaluation_memory", title, figures, machine, {"width": arguments.width, "runs": named})
    plot.bars(
        record.RESULTS / "evaluation_memory.png",
        title,
        {"peak MB": {name: run["peak_mb"] for name, run in named.items()}},
    )


if __name__ == "__main__":
    main()
