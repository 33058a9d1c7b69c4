"""A training of the released architecture at 256 px on photographs: memory, seconds a step, and a resumed run.

DM-GAN with the options of workflow/config/paper.yaml for CUB, but for batch and epochs, on a few training images; the
DAMSM's trunk is EfficientNet-lite0, whose weights are installed. The training runs for half of its epochs, is run again
for all of them, which resumes it from its checkpoint, and once more, which trains nothing and shows what starting
costs. The photographs are made, or, with --root and --metadata, those of CUB.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks import plot, record, synthetic_cub
from dmgan.data.dataset import PreparedDataset
from dmgan.errors import UserError
from dmgan.storage.plain_pickle import load_plain_pickle
from workflow.configuration import model_block, read_configuration

PAPER = Path(__file__).parent.parent / "workflow" / "config" / "paper.yaml"
TEST_IMAGES = 20
_RESUMED = re.compile(r"resuming from step (\d+) of (\d+)")


class Ended(NamedTuple):
    """What a subcommand took, and its log."""

    cpu: float  # seconds
    wall: float  # seconds
    peak_mb: float
    log: str


def run(*words: object) -> Ended:
    """Run `python -m dmgan WORDS` with one thread; raise UserError with its log if it fails."""
    command, started = [sys.executable, "-m", "dmgan", *map(str, words)], time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read()
    if process.returncode:
        raise UserError(f"{' '.join(command[1:])}: ended with status {process.returncode}\n{said}")
    return Ended(usage.ru_utime + usage.ru_stime, time.monotonic() - started, usage.ru_maxrss / 1024, said)


def texts_of_some(metadata: Path, folder: Path, images: int) -> Path:
    """Copy the captions of some training images and of TEST_IMAGES test images; `prepare` leaves out the others."""
    for split, count in (("train", images), ("test", TEST_IMAGES)):
        names = load_plain_pickle(metadata / split / "filenames.pickle")
        for name in names[:: max(1, len(names) // count)][:count]:
            target = folder / f"{name}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(metadata / "text" / f"{name}.txt", target)
    return folder


def training_flags(batch: int, precision: str) -> list[object]:
    """Return the flags of DM-GAN's training in the papers' configuration, with another batch and number format."""
    config = read_configuration(PAPER)
    block = model_block(config, "cub", "dmgan") | config["matching"]
    block |= {"batch_size": batch, "precision": precision, "checkpoint_every": 20, "cache_captions": False}
    words = []
    for name, value in block.items():
        flag = name.replace("_", "-")
        if name != "epochs":
            words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", value]
    return words


def measure(folder: Path, prepare: list[object], arguments: argparse.Namespace) -> dict[str, float]:
    """Prepare, pretrain, train, resume and sample in `folder`; return the numbers of the figures."""
    data, damsm, out = folder / "data", folder / "damsm", folder / "run"
    run("prepare", "--source", "cub", "--out", data, "--image-size", 256, *prepare)
    shown = len(PreparedDataset(data).indices("train"))
    run(
        "pretrain", "--data", data, "--out", damsm, "--image-encoder", "efficientnet-lite0", "--image-size", 256,
        "--batch-size", min(shown, 20), "--epochs", 2, "--threads", 1,
    )  # fmt: skip
    steps_per_epoch = shown // arguments.batch_size
    epochs = -(-arguments.steps // steps_per_epoch)
    flags = training_flags(arguments.batch_size, arguments.precision)
    train = ["train", "--model", "dmgan", "--data", data, "--damsm", damsm, "--out", out, "--threads", 1, *flags]
    first, second, third = (run(*train, "--epochs", each * epochs) for each in (1, 2, 2))
    resumed, whole = map(int, _RESUMED.search(second.log).groups())
    run("sample", "--data", data, "--run", out, "--out", folder / "images", "--num-images", TEST_IMAGES, "--threads", 1)
    if arguments.images_out is not None:
        shutil.copytree(folder / "images", arguments.images_out)
    steps = whole - resumed
    return {
        "training images": shown,
        "steps": whole,
        "resumed from step": resumed,
        "cpu_s_per_step": (second.cpu - third.cpu) / steps,
        "wall_s_per_step": (second.wall - third.wall) / steps,
        "start_s": third.cpu,
        "peak_mb": max(first.peak_mb, second.peak_mb),
        "checkpoint_mb": (out / "checkpoint.pt").stat().st_size / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="CUB_200_2011, whole or in part (default: photographs are made)")
    parser.add_argument("--metadata", type=Path, help="AttnGAN's metadata, the folder birds (with --root)")
    parser.add_argument("--images", type=int, default=40, help="training images (default 40)")
    parser.add_argument("--steps", type=int, default=20, help="steps before the run is resumed, and after (default 20)")
    parser.add_argument("--batch-size", type=int, default=4, help="images a step (default 4)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"), help="(default float32)")
    parser.add_argument("--images-out", type=Path, help="folder for the sampled images (default: deleted)")
    arguments = parser.parse_args()
    described = record.machine()
    folder = Path(tempfile.mkdtemp(prefix="full_size."))
    try:
        if arguments.root is None:
            root, captions = synthetic_cub.make(folder, arguments.images + TEST_IMAGES, 1)
            prepare = ["--root", root, "--captions", captions]
        else:
            texts = texts_of_some(arguments.metadata, folder / "texts", arguments.images)
            prepare = ["--root", arguments.root, "--metadata", arguments.metadata, "--texts", texts]
        measured = measure(folder, prepare, arguments)
    finally:
        shutil.rmtree(folder)
    figures = [
        record.Figure("a step, CPU time of one thread", measured["cpu_s_per_step"], "s"),
        record.Figure("a step, here", measured["wall_s_per_step"], "s"),
        record.Figure("peak memory of the training", measured["peak_mb"], "MB"),
        record.Figure("a checkpoint", measured["checkpoint_mb"], "MB"),
        record.Figure("step from which the second run resumed", measured["resumed from step"], "steps", at_least=20),
    ]
    title = f"Released architecture at 256 px, batch {arguments.batch_size}, {arguments.precision}"
    photographs = "made" if arguments.root is None else "CUB"
    details = {**measured, "batch_size": arguments.batch_size, "precision": arguments.precision}
    record.write("full_size", title, figures, described, details | {"photographs": photographs})
    plot.bars(
        record.RESULTS / "full_size.png",
        title,
        {"seconds a step": {"CPU time of one thread": measured["cpu_s_per_step"], "wall": measured["wall_s_per_step"]}},
        note=f"{described['cpu']}, load {described['load'][0]} at the start",
    )


if __name__ == "__main__":
    sys.exit(main())
