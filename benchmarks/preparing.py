"""Time to prepare a set of CUB's size and layout (11,788 JPEGs of about 500 px, made here first) for 256 px."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import fresh, plot, record, synthetic_cub
from dmgan.data.dataset import PreparedDataset
from dmgan.data.prepare import prepare_photographs
from dmgan.data.sources.cub import list_cub

WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preparing", description=__doc__)
    words = "photographs (default CUB's 11788); with fewer, the time is extrapolated"
    parser.add_argument("--images", type=int, default=synthetic_cub.IMAGES, help=words)
    arguments = parser.parse_args()
    described = record.machine()
    folder = Path(tempfile.mkdtemp(prefix="preparing."))
    try:
        root, captions = synthetic_cub.make(folder, arguments.images, WORKERS)
        read = sum(path.stat().st_size for path in (root / "images").rglob("*.jpg"))
        cpu, wall = fresh.cpu_seconds(), time.monotonic()
        prepare_photographs(list_cub(root, captions=captions), folder / "prepared", 256, WORKERS)
        cpu, wall = fresh.cpu_seconds() - cpu, time.monotonic() - wall
        prepared = PreparedDataset(folder / "prepared")
        written = (folder / "prepared" / "images.bin").stat().st_size
        kept, enlarged = len(prepared), prepared.description["enlarged"]
    finally:
        shutil.rmtree(folder)
    scale = synthetic_cub.IMAGES / arguments.images
    whole = arguments.images == synthetic_cub.IMAGES
    named = "CUB's 11,788 images" if whole else f"CUB's 11,788 images, extrapolated from {arguments.images:,}"
    figures = [
        record.Figure(named, wall * scale, "s", at_most=120 if whole else None),
        record.Figure("CUB's 11,788 images, CPU time over two cores", cpu * scale / WORKERS, "s"),
        record.Figure("photographs a CPU second", kept / cpu, "images/s"),
        record.Figure("mean size of a photograph", read / arguments.images / 1e3, "KB"),
        record.Figure("size of the prepared set", written * scale / 1e9, "GB"),
    ]
    details = {"images": arguments.images, "kept": kept, "enlarged": enlarged, "workers": WORKERS}
    details |= {"read_bytes": read, "written_bytes": written, "cpu_seconds": cpu, "wall_seconds": wall}
    record.write("preparing", "Preparing CUB's 11,788 photographs", figures, described, details)
    plot.bars(
        record.RESULTS / "preparing.png",
        "Preparing 11,788 photographs of 500 px for 256 px",
        {"seconds": {"wall, here": wall * scale, "CPU time / 2 cores": cpu * scale / WORKERS}},
        ours=["wall, here", "CPU time / 2 cores"],
        note=f"{described['cpu']}, load {described['load'][0]} at the start",
    )


if __name__ == "__main__":
    sys.exit(main())
