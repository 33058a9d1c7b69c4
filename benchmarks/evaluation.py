"""IS, FID, KID and clean-FID of one image set: this project's single pass against torch-fidelity and clean-fid.

All methods read the same files with the same random Inception weights and the same number of threads, in separate
processes, and must give the same numbers. CPU seconds are counted from the end of the imports to the last number. The
libraries run with the default C allocator, this project with the allocator settings of `python -m dmgan`.

- separate: torch-fidelity's ISC, FID and KID in sequence, then clean-fid;
- joint: one call of torch-fidelity for all three, then clean-fid; also measured with this project's allocator settings;
- one pass: this project, without stored features of the real images;
- one pass, cached: this project, with features of the real images stored by an earlier evaluation.

With --device cuda this project is measured alone, stage by stage and with R-precision (benchmarks/evaluation_gpu.py).
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import evaluation_gpu, fresh, plot, record
from dmgan.options import AUTOMATIC
from dmgan.storage import files

METHODS = ("separate", "joint", "joint, our allocator", "one pass", "one pass, cached")
NUMBERS = ("IS", "FID", "KID", "clean-FID")
TOLERANCE = {"IS": 1e-5, "FID": 2e-5, "KID": 1e-5, "clean-FID": 2e-5}  # relative, features in channels-last
SIDE = 256
SETTINGS = "settings.json"


def prepare(folder: Path, settings: dict[str, int]) -> None:
    """Write two sets of image files and the weights, unless they exist; raise SystemExit if settings differ."""
    if (folder / SETTINGS).exists():
        found = files.read_json(folder / SETTINGS, "give another --folder")
        if found != settings:
            raise SystemExit(f"{folder}: holds measurements with {found}; give another --folder")
        return
    from PIL import Image

    from benchmarks.local_weights import (
        drawn_images,
        inception_2015_state,
        torchvision_state,
        with_pool_of_trained_size,
    )

    for seed, name in enumerate(("generated", "real")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(drawn_images(settings["images"], SIDE, seed)):
            Image.fromarray(pixels).save(folder / name / f"{number:06d}.png", compress_level=1)
    state = with_pool_of_trained_size(inception_2015_state(torchvision_state()))
    torch.save(state, folder / "inception.pth")
    files.write_json(folder / SETTINGS, settings)


def with_libraries(folder: Path, images: int, joint: bool) -> dict[str, float]:
    """Return the metrics of torch-fidelity and clean-fid."""
    import torch_fidelity
    from cleanfid.fid import compute_fid
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    generated, real = str(folder / "generated"), str(folder / "real")
    common = {
        "input1": generated, "input2": real, "cuda": False, "cache": False, "verbose": False, "batch_size": 32,
        "feature_extractor_weights_path": str(folder / "inception.pth"), "kid_subset_size": min(1000, images),
    }  # fmt: skip
    wanted = ("isc", "fid", "kid")
    calls = [dict.fromkeys(wanted, True)] if joint else [{each: True} for each in wanted]
    numbers = {}
    for call in calls:
        numbers |= torch_fidelity.calculate_metrics(**call, **common)
    extractor = FeatureExtractorInceptionV3(
        "x", ["2048"], feature_extractor_weights_path=common["feature_extractor_weights_path"]
    )
    trunk = torch.nn.Sequential(*[child for name, child in extractor.named_children() if name != "fc"])
    clean = compute_fid(
        generated, real, mode="clean", device=torch.device("cpu"), num_workers=0, batch_size=32, verbose=False,
        custom_feat_extractor=lambda batch: trunk((batch - 128) / 128).flatten(1),
    )  # fmt: skip
    keys = ("inception_score_mean", "frechet_inception_distance", "kernel_inception_distance_mean")
    return dict(zip(NUMBERS, [*(numbers[key] for key in keys), float(clean)], strict=True))


def with_one_pass(folder: Path, images: int, method: str) -> dict[str, float]:
    """Return the metrics of this project; features are stored next to the images. Cached: keep those of real images."""
    from dmgan.evaluation.feature_store import extract
    from dmgan.evaluation.image_sets import ImageFiles
    from dmgan.evaluation.metrics.inception_score import inception_score, torch_fidelity_order
    from dmgan.evaluation.networks.base import read_weights
    from dmgan.evaluation.networks.inception_2015 import Inception2015
    from dmgan.evaluation.networks.inception_clean import CleanInception
    from dmgan.evaluation.networks.inception_tf import TfInception
    from dmgan.evaluation.statistics.folds import fold_rows
    from dmgan.evaluation.statistics.frechet import moments_to_reference, rows_to_moments, statistics_to_fid
    from dmgan.evaluation.statistics.kernel import subset_kernel_distance

    device = torch.device("cpu")
    inception = Inception2015(read_weights(folder / "inception.pth"), device)
    extractors = [TfInception(inception), CleanInception(inception)]
    stored = []
    for name in ("generated", "real"):
        paths = [folder / name / f"{number:06d}.png" for number in range(images)]
        store = folder / f"{name} features"
        if name == "generated" or method == "one pass":  # discard features of other methods and of killed runs
            shutil.rmtree(store, ignore_errors=True)
        stored.append(extract(ImageFiles(paths, SIDE, ""), images, extractors, store, device))
    generated, real = stored

    def fid(extractor: str) -> float:
        moments = rows_to_moments(generated[extractor]["features"])
        return statistics_to_fid(moments, moments_to_reference(rows_to_moments(real[extractor]["features"])))

    logits = generated["inception-tf"]["logits"]
    return {
        "IS": inception_score(logits, torch_fidelity_order(images), fold_rows(np.arange(images))).value,
        "FID": fid("inception-tf"),
        "KID": subset_kernel_distance(generated["inception-tf"]["features"], real["inception-tf"]["features"]),
        "clean-FID": fid("clean"),
    }


def run_one(method: str, folder: Path, images: int, threads: int) -> None:
    """Run one method in a fresh process and report its numbers and CPU seconds."""
    if method not in ("separate", "joint"):
        from dmgan.runtime.allocator import keep_freed_memory

        keep_freed_memory()
    import cleanfid.fid  # noqa: F401  imports are not counted
    import torch_fidelity  # noqa: F401

    import dmgan.evaluation.networks.inception_2015  # noqa: F401

    torch.set_num_threads(threads)
    start = fresh.cpu_seconds()
    with contextlib.redirect_stdout(io.StringIO()):
        if method.startswith("one pass"):
            numbers = with_one_pass(folder, images, method)
        else:
            numbers = with_libraries(folder, images, joint=method != "separate")
    measured = {"cpu_seconds": fresh.cpu_seconds() - start, "peak_mb": fresh.peak_mb(), **numbers}
    files.write_json(folder / f"{method}.json", measured)
    fresh.report(measured)


def measure_all(folder: Path, images: int, threads: int) -> dict[str, dict[str, float]]:
    """Measure all methods that the folder has no measurement of, in separate processes."""
    runs, environment = {}, {"OMP_NUM_THREADS": str(threads)}
    prepare(folder, {"images": images, "threads": threads})
    for method in METHODS:
        if not (folder / f"{method}.json").exists():
            arguments = ["--images", str(images), "--threads", str(threads), "--one", method, str(folder)]
            fresh.measure("benchmarks.evaluation", arguments, environment)
        runs[method] = files.read_json(folder / f"{method}.json", "delete it")
        print(f"{method}: {json.dumps(runs[method])}", flush=True)
    return runs


def check(runs: dict[str, dict[str, float]]) -> None:
    """Print the numbers of all methods; raise SystemExit if they differ, since speeds would not be comparable."""
    for name in NUMBERS:
        values = {method: run[name] for method, run in runs.items()}
        print(f"{name}: " + ", ".join(f"{method} {value:.7g}" for method, value in values.items()), flush=True)
        if not np.allclose(list(values.values()), values["joint"], rtol=TOLERANCE[name], atol=1e-6):
            raise SystemExit(f"{name} differs between the measured methods")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, help=f"images on either side (default 256, on a GPU {evaluation_gpu.IMAGES})"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default 1, on a GPU all cores)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N] (default cpu)")
    parser.add_argument(
        "--seconds", type=float, default=evaluation_gpu.SECONDS,
        help=f"on a GPU: time limit, 0 for none (default {evaluation_gpu.SECONDS}); at the limit or at SIGTERM the "
        "result is written with the stages that ended",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="keep sets and measurements here; an interrupted run resumes")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device != "cpu":
        images, threads = arguments.images or evaluation_gpu.IMAGES, arguments.threads or os.cpu_count()
        evaluation_gpu.run(images, AUTOMATIC, threads, arguments.device, arguments.seconds)
        return
    arguments.images, arguments.threads = arguments.images or 256, arguments.threads or 1
    if arguments.one:
        run_one(arguments.one[0], Path(arguments.one[1]), arguments.images, arguments.threads)
        return
    machine = record.machine()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        runs = measure_all(folder, arguments.images, arguments.threads)
    check(runs)
    seconds = {method: run["cpu_seconds"] for method, run in runs.items()}
    ours, cached = seconds["one pass"], seconds["one pass, cached"]
    figures = [
        record.Figure("CPU time, separate calls / one pass", seconds["separate"] / ours, "x", at_least=3),
        record.Figure("CPU time, joint call / one pass", seconds["joint"] / ours, "x", at_least=1.8),
        record.Figure(
            "CPU time, separate calls / one pass, real cached", seconds["separate"] / cached, "x", at_least=5
        ),
        record.Figure("CPU time, joint call / one pass, real cached", seconds["joint"] / cached, "x", at_least=3),
        record.Figure(
            "CPU time, joint call with our allocator / one pass", seconds["joint, our allocator"] / ours, "x"
        ),
    ]
    title = f"IS + FID + KID + clean-FID of {arguments.images} + {arguments.images} images"
    details = {"images": arguments.images, "threads": arguments.threads, "runs": runs}
    record.write("evaluation", title, figures, machine, details)
    plot.bars(record.RESULTS / "evaluation.png", title, {"CPU seconds": seconds}, ["one pass", "one pass, cached"])


if __name__ == "__main__":
    main()
