"""Images read per second at 64, 128 and 256 px for training, compared with the released loader on the same photographs.

Both loaders have two workers. Claims are about wall-clock time on an otherwise idle machine. "a CPU second" counts all
processes and threads, for comparison on a busy machine.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import fresh, plot, record
from dmgan.runtime.allocator import keep_freed_memory

BATCH = 10
WORKERS = 2
SIDES = {"released loader": "released", "ours, bytes": "bytes", "ours, float32 on the CPU": "float"}


def _measure(folder: Path, side: str, seconds: float) -> None:
    """Read for `seconds` in a fresh process and report images and CPU seconds."""
    keep_freed_memory()
    import torch

    torch.set_num_threads(1)
    if side == "released":
        from benchmarks import released_loader
        from dmgan.data.sources.cub import list_cub

        listing = list_cub(folder / "CUB_200_2011", captions=folder / "cvpr2016_cub")
        stream = released_loader.batches([(each.path, each.box) for each in listing.images], BATCH, WORKERS)
        take = lambda step: next(stream)  # noqa: E731
    else:
        from dmgan.data.batches import TrainingBatches
        from dmgan.data.dataset import PreparedDataset
        from dmgan.data.prefetch import PrefetchedBatches

        batches = TrainingBatches(PreparedDataset(folder / "prepared"), [64, 128, 256], BATCH, 18, 0)
        ahead = PrefetchedBatches(batches, torch.device("cpu"), WORKERS)
        take = ahead.__getitem__ if side == "float" else ahead.read
    for step in range(10):
        take(step)
    cpu, wall, step = _cpu_of_all(), time.monotonic(), 10
    while time.monotonic() - wall < seconds:
        take(step)
        step += 1
    cpu, wall, count = _cpu_of_all() - cpu, time.monotonic() - wall, (step - 10) * BATCH
    fresh.report({"images_per_second": count / wall, "images_per_cpu_second": count / cpu})


def _cpu_of_all() -> float:
    """Return the CPU seconds of this process and of its living children (Linux)."""
    import os

    total, tick = 0, os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    for process in [str(os.getpid()), *children]:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / tick


def _prepare(folder: Path, count: int) -> None:
    from benchmarks import synthetic_cub
    from dmgan.data.prepare import prepare_photographs
    from dmgan.data.sources.cub import list_cub

    root, captions = synthetic_cub.make(folder, count, WORKERS)
    prepare_photographs(list_cub(root, captions=captions), folder / "prepared", 256, WORKERS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--images", type=int, default=1000, help="photographs (default 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, all sides in each (default 5)")
    parser.add_argument("--seconds", type=float, default=8, help="seconds of a measurement (default 8)")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        _measure(Path(arguments.measure[0]), arguments.measure[1], arguments.seconds)
        return
    described = record.machine()
    folder = Path(tempfile.mkdtemp(prefix="reading."))
    try:
        _prepare(folder, arguments.images)
        flags = ["--seconds", str(arguments.seconds), "--measure", str(folder)]
        settings = {name: [*flags, side] for name, side in SIDES.items()}
        runs = fresh.interleaved("benchmarks.reading", settings, arguments.rounds)
    finally:
        shutil.rmtree(folder)
    figures = []
    wall = {name: fresh.median(rounds, "images_per_second") for name, rounds in runs.items()}
    cpu = {name: fresh.median(rounds, "images_per_cpu_second") for name, rounds in runs.items()}
    for name in SIDES:
        bound = 3000 if name == "ours, bytes" else None
        figures += [
            record.Figure(f"{name}: read here", wall[name], "images/s", at_least=bound),
            record.Figure(f"{name}: two cores' worth of CPU time", 2 * cpu[name], "images/s"),
        ]
    released = runs["released loader"]
    for name in list(SIDES)[1:]:
        for key, words, bound in (("images_per_second", "wall time", 5), ("images_per_cpu_second", "CPU time", None)):
            ratio = fresh.ratio(runs[name], released, key)
            figures.append(record.Figure(f"{name}, against the released loader, {words}", ratio, "x", at_least=bound))
    details = {"runs": runs, "images": arguments.images, "batch": BATCH, "workers": WORKERS}
    record.write("reading", "Reading 64, 128 and 256 px for training", figures, described, details)
    plot.bars(
        record.RESULTS / "reading.png",
        "Reading 64, 128 and 256 px, two workers",
        {"images a CPU second": cpu, "images/s, wall": wall},
        ours=list(SIDES)[1:],
        note=f"{described['cpu']}, load {described['load'][0]} at the start",
    )


if __name__ == "__main__":
    sys.exit(main())
