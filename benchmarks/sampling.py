"""Images per second of DM-GAN's generator, bird configuration (64, 128 and 256 px), from captions to PNG files.

The baseline works like the released evaluation: batches of 10, captions encoded per batch, float32, eager mode, PNG
files written one by one. "Ours" is `python -m dmgan sample`. Weights are random, which does not affect the speed.

On a GPU all settings are measured in this process, ours with its default batch and workers, for at most 55 seconds.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks import fresh, plot, record
from benchmarks.record import Figure
from benchmarks.time_limit import time_limit
from dmgan.errors import UserError
from dmgan.models.initialisation import initialise
from dmgan.options import ArchitectureOptions, SamplingOptions, TrainingOptions, as_dict

NAME, TITLE = "sampling", "Sampling, DM-GAN bird configuration"
BATCH = 10  # batch size of the released evaluation
PAPERS = 30000  # images of one evaluation
EMBEDDING_DIM, MAX_WORDS = 256, 25


class Setting(NamedTuple):
    """Settings of one measurement of sampling."""

    allocator: bool  # whether freed memory is kept in the process (dmgan/runtime/allocator.py)
    options: SamplingOptions | None = None  # None: the baseline


_PLAIN = SamplingOptions(fused=False, channels_last=False)
_BFLOAT16 = SamplingOptions(precision="bfloat16", channels_last=False, fused=False)
SETTINGS = {
    "baseline, as a user would start it": Setting(allocator=False),
    "baseline, with our allocator": Setting(allocator=True),
    "float32, plain": Setting(True, _PLAIN),
    "float32, fused": Setting(True, SamplingOptions(channels_last=False)),
    "float32, fused, channels_last (default)": Setting(True, SamplingOptions()),
    "bfloat16, plain": Setting(True, _BFLOAT16),
    "bfloat16, fused": Setting(True, SamplingOptions(precision="bfloat16", channels_last=False)),
    "bfloat16, fused, channels_last": Setting(True, SamplingOptions(precision="bfloat16")),
    "bfloat16, fused, channels_last, compiled": Setting(True, SamplingOptions(precision="bfloat16", compile=True)),
    "bfloat16, fused, channels_last, without CUDA graphs": Setting(
        True, SamplingOptions(precision="bfloat16", cuda_graphs=False)
    ),
}
USER, SAME, DEFAULT, BEST, COMPILED, EAGER = (list(SETTINGS)[i] for i in (0, 1, 4, 7, 8, 9))
ON_GPU = (BEST, DEFAULT, USER, EAGER)  # in the order of their measurement
GPU_SECONDS, GPU_IMAGES, CPU_IMAGES = 55, 6000, 100
PAPERS_MINUTES = 0.5  # bound of PAPERS images on an H100 with 16 cores


# The functions below run in a fresh process.


def make_run(folder: Path, image_encoder: str = "small") -> None:
    """Make a prepared data set, encoders and a run of DM-GAN in its bird configuration, with random weights.

    image_encoder: "inception" or "small".
    """
    import torch

    from dmgan.data.dataset import PreparedDataset
    from dmgan.data.prepare import prepare_synthbirds
    from dmgan.data.vocabulary import Vocabulary
    from dmgan.models.registry import build_model
    from dmgan.options import DamsmOptions
    from dmgan.storage import files
    from dmgan.storage.weights import save_weights
    from dmgan.text.encoders import TextEncoder, build_image_encoder

    prepare_synthbirds(folder / "data", 64, 8, 8, 10, seed=0, workers=min(os.cpu_count(), 8))
    vocabulary: Vocabulary = PreparedDataset(folder / "data").vocabulary
    torch.manual_seed(0)
    damsm, options = folder / "damsm", DamsmOptions(image_encoder=image_encoder, embedding_dim=EMBEDDING_DIM)
    save_weights(TextEncoder(len(vocabulary), EMBEDDING_DIM), damsm / "text_encoder.safetensors")
    save_weights(build_image_encoder(image_encoder, EMBEDDING_DIM, options.width), damsm / "image_encoder.safetensors")
    vocabulary.write(damsm / "vocabulary.json")
    files.write_json(damsm / "options.json", {"options": as_dict(options)})
    model = build_model("dmgan", ArchitectureOptions(), EMBEDDING_DIM)
    initialise(model)
    save_weights(model, folder / "run" / "generator.safetensors")
    names = ("text_encoder.safetensors", "image_encoder.safetensors", "vocabulary.json")
    written = {
        "model": "dmgan",
        "architecture": as_dict(ArchitectureOptions()),
        "training": as_dict(TrainingOptions(max_words=MAX_WORDS)),
        "seed": 0,
        "inputs": {"damsm": {name: files.file_sha256(damsm / name) for name in names}},
        "damsm_folder": "../damsm",
        "config_sha256": "random weights",
    }
    files.write_json(folder / "run" / "options.json", written)


def _baseline(folder: Path, batch: int, device) -> Callable[[int], None]:
    """Return a function that samples a given number of images like the released evaluation."""
    import torch
    from PIL import Image

    from benchmarks.baseline import BaselineGenerator
    from dmgan.data.dataset import PreparedDataset
    from dmgan.data.vocabulary import pad_captions
    from dmgan.sampling.captions import choose_test_caption
    from dmgan.sampling.trained_model import load_run
    from dmgan.text.encoders import padding_mask

    trained, dataset = load_run(folder / "run", device), PreparedDataset(folder / "data")
    network = BaselineGenerator(ArchitectureOptions(), EMBEDDING_DIM).to(device)
    network.load_state_dict(trained.model.state_dict(), strict=True)
    network.eval()
    sizes = ArchitectureOptions()

    def sample(count: int) -> None:
        choices = [choose_test_caption(dataset, number, 100, MAX_WORDS).tokens for number in range(count)]
        with tempfile.TemporaryDirectory(dir=folder) as out, torch.no_grad():
            for start in range(0, count, batch):
                tokens, lengths = (torch.from_numpy(x) for x in pad_captions(choices[start : start + batch]))
                words, sentence = trained.damsm.text_encoder(tokens.to(device), lengths)
                z = torch.randn(len(lengths), sizes.noise_dim, device=device)
                epsilon = torch.randn(len(lengths), sizes.condition_dim, device=device)
                images = network(z, sentence, words, padding_mask(lengths).to(device), epsilon)[0]
                for row, image in enumerate(images[-1].cpu()):
                    pixels = image.add(1.0).mul(127.5).byte().permute(1, 2, 0).numpy()
                    Image.fromarray(pixels).save(f"{out}/{start + row}.png")

    return sample


def _ours(folder: Path, options: SamplingOptions, batch: int, device) -> Callable[[int], None]:
    """Return a function that samples a given number of images like `python -m dmgan sample`."""
    from dmgan.sampling.sample import SampleRequest, sample_test_captions

    def sample(count: int) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            request, chosen = SampleRequest(count), replace(options, batch_size=batch)
            sample_test_captions(folder / "run", folder / "data", Path(out) / "images", request, device, chosen)

    return sample


def measure(
    setting: Setting, folder: Path, images: int, batch: int, threads: int, device_name: str
) -> dict[str, float]:
    """Return images per second, CPU seconds per image and the peak memory of a setting.

    The rate excludes loading and start-up: it is computed from the difference of a long and a short sampling.
    """
    if setting.allocator:
        from dmgan.runtime.allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(threads)
    device = torch.device(device_name)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    sample = _ours(folder, setting.options, batch, device) if setting.options else _baseline(folder, batch, device)
    sample(batch)  # warm-up; every call compiles the generator again, using the cache of the first call
    seconds, cpu_seconds = [], []
    for count in (batch, batch + images):
        started, cpu_started = time.perf_counter(), fresh.cpu_seconds()
        sample(count)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(fresh.cpu_seconds() - cpu_started)
    measured = {
        "images_per_s": images / (seconds[1] - seconds[0]),
        "cpu_s_per_image": (cpu_seconds[1] - cpu_seconds[0]) / images,
        "peak_mb": fresh.peak_mb(),
    }
    if device.type == "cuda":
        measured["peak_gpu_mb"] = torch.cuda.max_memory_allocated(device) / 2**20
    return measured


def gflop_per_image() -> float:
    """Return the GFLOP per image of the baseline's pass; a multiply-add counts as two operations."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.baseline import BaselineGenerator

    with torch.device("meta"), torch.no_grad():
        network, sizes = BaselineGenerator(ArchitectureOptions(), EMBEDDING_DIM).eval(), ArchitectureOptions()
        mask = torch.zeros(1, MAX_WORDS, dtype=torch.bool)
        words, sentence = torch.zeros(1, EMBEDDING_DIM, MAX_WORDS), torch.zeros(1, EMBEDDING_DIM)
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, sizes.noise_dim), sentence, words, mask, torch.zeros(1, sizes.condition_dim))
    return counter.get_total_flops() / 1e9


def profile(folder: Path, threads: int) -> str:
    """Profile a batch of the plain model, then of the fused model in both precisions."""
    from dmgan.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    from dmgan.sampling.inference import InferenceGenerator
    from dmgan.sampling.trained_model import load_run
    from dmgan.text.damsm import EncodedCaptions

    torch.set_num_threads(threads)
    trained, text = load_run(folder / "run", torch.device("cpu")), []
    noise, words = torch.randn(BATCH, trained.model.noise_dim), torch.randn(BATCH, EMBEDDING_DIM, 15)
    mask, lengths = torch.zeros(BATCH, 15, dtype=torch.bool), torch.full((BATCH,), 15)
    captions = EncodedCaptions(torch.randn(BATCH, EMBEDDING_DIM), words, mask, lengths)
    for name in ("float32, plain", DEFAULT, BEST):
        options = replace(SETTINGS[name].options, batch_size=BATCH)
        model = InferenceGenerator(trained.model, options, trained.device, MAX_WORDS)
        model.images(noise, captions)
        with profiler(activities=[ProfilerActivity.CPU]) as profiled:
            model.images(noise, captions)
        table = profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=36)
        text.append(f"{name}: one batch of {BATCH}, {threads} threads\n{table}")
    return "\n".join(text)


# The functions below run in the process that compares the settings.


def measure_on_cpu(
    settings: list[str], images: int, batch: int, rounds: int, threads: int, seconds: float
) -> dict[str, list[dict[str, object]]]:
    """Measure the settings alternately, in fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        fresh.measure("benchmarks.sampling", ["--make", folder])
        common = ["--folder", folder, "--images", str(images), "--batch", str(batch), "--threads", str(threads)]
        arguments = {name: ["--measure", name, *common] for name in settings}
        return fresh.interleaved("benchmarks.sampling", arguments, rounds, seconds=seconds)


def measure_on_gpu(
    settings: Sequence[str], images: int, batch: int | None, threads: int, device: str, seconds: float
) -> dict[str, list[dict[str, object]]]:
    """Measure the settings once, in this process, until the time limit; the baseline with a tenth of the images."""
    runs: dict[str, list[dict[str, object]]] = {}
    with tempfile.TemporaryDirectory() as folder, time_limit(seconds):
        make_run(Path(folder))
        for name in settings:
            options = SETTINGS[name].options
            own_batch, count = (BATCH, images // 10) if options is None else (options.batch_size, images)
            runs[name] = [measure(SETTINGS[name], Path(folder), count, batch or own_batch, threads, device)]
            print(f"{name}: {fresh.line(runs[name][0])}", file=sys.stderr, flush=True)
    return runs


def write(runs: dict[str, list[dict[str, object]]], described: dict[str, object], details: dict[str, object]) -> None:
    """Write the figures of the measured settings; `described`: result of record.machine."""
    device, settings, figures = described["device"], list(runs), []
    if not settings:
        raise UserError("nothing was measured before the time limit; raise --seconds")
    for name in settings:
        figures += [
            Figure(f"{name}", fresh.median(runs[name], "images_per_s"), "images/s"),
            Figure(f"{name}: peak memory", fresh.median(runs[name], _memory(device)), "MB"),
        ]
    for ours in (name for name in settings if SETTINGS[name].options):
        for baseline, bound in ((USER, 4.5), (SAME, 2.5)):
            if baseline in settings:
                claimed = bound if ours == BEST and device == "cpu" else None
                times = fresh.ratio(runs[ours], runs[baseline], "images_per_s")
                figures.append(Figure(f"{ours}, against the {baseline}", times, "times as fast", at_least=claimed))
                spared = fresh.ratio(runs[baseline], runs[ours], "cpu_s_per_image")
                figures.append(Figure(f"{ours}, against the {baseline}: CPU time", spared, "times less"))
    gflop = gflop_per_image()
    for name in (name for name in (USER, DEFAULT, BEST) if name in settings):
        rate = fresh.median(runs[name], "images_per_s")
        bound = PAPERS_MINUTES if name == BEST and device != "cpu" else None
        figures += [
            Figure(f"{name}: {PAPERS:,} images, extrapolated", PAPERS / rate / 60, "minutes", at_most=bound),
            Figure(f"{name}: the baseline's {gflop:.1f} GFLOP an image", rate * gflop / 1e3, "TFLOP/s"),
        ]
    name = NAME if device == "cpu" else f"{NAME}-cuda"
    result = record.write(NAME, TITLE, figures, described, details | {"runs": runs}, file=name)
    panels = {
        "images/s, median of rounds": {each: fresh.median(runs[each], "images_per_s") for each in settings},
        "peak memory, MB": {each: fresh.median(runs[each], _memory(device)) for each in settings},
    }
    note = f"{described['cpu']}, {details['threads']} threads, {device}; {details['rounds']} rounds of "
    note += f"{details['images']} images; {result.date}"
    plot.bars(
        record.RESULTS / f"{name}.png", TITLE, panels, [each for each in settings if SETTINGS[each].options], note
    )


def _memory(device: str) -> str:
    return "peak_mb" if device == "cpu" else "peak_gpu_mb"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling", description=__doc__)
    parser.add_argument(
        "--images", type=int, help=f"images of each measurement (default {CPU_IMAGES}, on a GPU {GPU_IMAGES})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each setting on the CPU (default 3)")
    parser.add_argument(
        "--batch", type=int, help=f"images at a time (default {BATCH}, the release's; ours on a GPU: the option's)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default 2, on a GPU all cores)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N] (default cpu)")
    parser.add_argument(
        "--seconds", type=float,
        help=f"time limit, 0 for none (default: none, on a GPU {GPU_SECONDS}); at the limit or at SIGTERM the result "
        "is written with what was measured",
    )  # fmt: skip
    parser.add_argument("--compile", action="store_true", help="measure the compiled generator too (takes minutes)")
    parser.add_argument("--profile", action="store_true", help="write results/sampling-profile.txt instead")
    parser.add_argument("--measure", choices=SETTINGS, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device, on_gpu = arguments.device, arguments.device != "cpu"
    images = arguments.images or (GPU_IMAGES if on_gpu else CPU_IMAGES)
    threads = arguments.threads or (os.cpu_count() if on_gpu else 2)
    seconds = arguments.seconds if arguments.seconds is not None else GPU_SECONDS if on_gpu else 0
    try:
        if arguments.make:
            make_run(arguments.make)
            fresh.report({})
        elif arguments.measure:
            setting = SETTINGS[arguments.measure]
            fresh.report(measure(setting, arguments.folder, images, arguments.batch or BATCH, threads, device))
        elif arguments.profile:
            with tempfile.TemporaryDirectory() as folder:
                make_run(Path(folder))
                (record.RESULTS / "sampling-profile.txt").write_text(profile(Path(folder), threads))
        else:
            described = record.machine(device)
            compiled = [COMPILED] if arguments.compile else []
            if on_gpu:
                runs = measure_on_gpu([*ON_GPU, *compiled], images, arguments.batch, threads, device, seconds)
            else:
                settings = [name for name in SETTINGS if name not in (COMPILED, EAGER)] + compiled
                runs = measure_on_cpu(settings, images, arguments.batch or BATCH, arguments.rounds, threads, seconds)
            rounds = 1 if on_gpu else arguments.rounds
            details = {"rounds": rounds, "images": images, "batch": arguments.batch, "threads": threads}
            write(runs, described, details)
    except UserError as error:
        print(f"benchmarks.sampling: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
