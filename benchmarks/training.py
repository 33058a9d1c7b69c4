"""Training steps of DM-GAN, bird configuration (64, 128 and 256 px), Inception as the image encoder.

The baseline's step is the released code's way (benchmarks/training_baseline.py). Ours is that of
`dmgan.training.trainer.Trainer`, on a GPU as one CUDA graph (dmgan/training/captured_steps.py) where the setting says
so. Weights, images and encoded captions are random: they cost the same.

On a GPU the schedules of the papers are projected from the measured steps. By default four settings are measured there,
in about a minute; --all adds the others, --compiled those that compile for minutes first. A benchmark that --seconds or
SIGTERM cuts short writes what it has measured.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import fresh, plot, record
from benchmarks.record import Figure
from dmgan.errors import UserError
from dmgan.models.initialisation import initialise
from dmgan.options import (
    PLAIN_ENGINE,
    ArchitectureOptions,
    EngineOptions,
    LossOptions,
    MatchingOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.storage.files import write_text

if TYPE_CHECKING:
    from dmgan.training.trainer import StepInputs, Trainer

NAME, TITLE = "training", "Training step, DM-GAN bird configuration, batch 10"
EMBEDDING_DIM, MAX_WORDS = 256, 18
STEP_GFLOP = 2389  # baseline's step at batch 10; a multiply-add counts as two operations


class Setting(NamedTuple):
    """Settings of one measurement of training."""

    allocator: bool  # whether freed memory is kept in the process (dmgan/runtime/allocator.py)
    engine: EngineOptions | None = None  # None: the baseline
    batch: int = 10
    residual_blocks: int = 2  # 2: the bird configuration; 3: COCO's
    tf32: bool = True  # whether PyTorch's default stays: convolutions in TF32 on a GPU; ours never use it


_FAST = {"precision": "bfloat16", "channels_last": True, "fused": True}
_EAGER = EngineOptions(**_FAST, fused_adam=True, cuda_graphs=False)
_GRAPHS = EngineOptions(**_FAST, cuda_graphs=True)
_COMPILED = EngineOptions(**_FAST, cuda_graphs=True, compile=True)
SETTINGS = {
    "baseline, as a user would start it": Setting(allocator=False),
    "baseline, with our allocator": Setting(allocator=True),
    "float32 (default)": Setting(True, PLAIN_ENGINE),
    "bfloat16": Setting(True, EngineOptions(precision="bfloat16")),
    "bfloat16, fused": Setting(True, EngineOptions(precision="bfloat16", fused=True)),
    "bfloat16, fused, channels_last": Setting(True, EngineOptions(**_FAST)),
    "bfloat16, fused, channels_last, compiled": Setting(True, EngineOptions(**_FAST, compile=True)),
}
FLOAT32_EAGER, FLOAT32_GRAPH = "float32, kernel by kernel", "float32, CUDA graph (default)"
GRAPH, GRAPH_64 = "bfloat16, fused, channels_last, CUDA graph", "the same, batch 64"
CUDA_SETTINGS = {
    GRAPH: Setting(False, _GRAPHS),
    FLOAT32_EAGER: Setting(False, EngineOptions(cuda_graphs=False)),
    GRAPH_64: Setting(False, _GRAPHS, batch=64),
    "baseline": Setting(False),
    FLOAT32_GRAPH: Setting(False, EngineOptions(cuda_graphs=True)),
    "bfloat16, fused, channels_last, kernel by kernel": Setting(False, _EAGER),
    "baseline, without TF32": Setting(False, tf32=False),
    "COCO configuration, batch 10, CUDA graph": Setting(False, _GRAPHS, residual_blocks=3),
    "COCO configuration, batch 16, CUDA graph": Setting(False, _GRAPHS, batch=16, residual_blocks=3),
}
FIRST = list(CUDA_SETTINGS)[:4]  # measured by default
COMPILED_SETTINGS = {
    "bfloat16, fused, channels_last, compiled, CUDA graph": Setting(False, _COMPILED),
    "the same, compiled, batch 64": Setting(False, _COMPILED, batch=64),
}
Runs = dict[str, list[dict[str, object]]]  # measurements of every setting
USER, SAME, BEST = "baseline, as a user would start it", "baseline, with our allocator", list(SETTINGS)[-1]
SCHEDULES = {  # the paper's (workflow/config/paper.yaml), and those of the released code's files: setting, steps
    "CUB, the paper's 600 epochs of 885 steps of 10": (GRAPH, 600 * 885),
    "CUB, the release's 800 epochs of 885 steps of 10": (GRAPH, 800 * 885),
    "COCO, the paper's 120 epochs of 8,278 steps of 10": ("COCO configuration, batch 10, CUDA graph", 120 * 8278),
    "COCO, the release's 200 epochs of 5,173 steps of 16": ("COCO configuration, batch 16, CUDA graph", 200 * 5173),
}


def on_gpu(device: str) -> bool:
    """Return whether `device` is a GPU."""
    return device.startswith("cuda")


# The functions below run in a fresh process.


def make_step(setting: Setting, device_name: str) -> tuple[Callable[[], None], int]:
    """Return a function that runs one training step, and its batch size."""
    if setting.allocator:
        from dmgan.runtime.allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    from dmgan.runtime.device import disable_tf32
    from dmgan.text.damsm import EncodedCaptions
    from dmgan.text.encoders import build_image_encoder, padding_mask

    torch.manual_seed(0)
    device = torch.device(device_name)
    torch.backends.cudnn.benchmark = device.type == "cuda"
    if not setting.tf32:
        disable_tf32()
    sizes = ArchitectureOptions(residual_blocks=setting.residual_blocks)
    options = TrainingOptions(batch_size=setting.batch)
    encoder = build_image_encoder("inception", EMBEDDING_DIM, 32).eval().requires_grad_(False).to(device)
    batch = options.batch_size
    images = [torch.rand(batch, 3, side, side, device=device) * 2 - 1 for side in sizes.sizes]
    lengths = torch.arange(batch) % (MAX_WORDS - 7) + 8
    lengths[0] = MAX_WORDS
    words, sentence = torch.randn(batch, EMBEDDING_DIM, MAX_WORDS), torch.randn(batch, EMBEDDING_DIM)
    captions = EncodedCaptions(sentence.to(device), words.to(device), padding_mask(lengths).to(device), lengths)
    class_ids = torch.arange(batch, device=device)
    noise = torch.randn(batch, sizes.noise_dim + sizes.condition_dim, device=device)

    if setting.engine is None:
        from benchmarks.training_baseline import BaselineStep

        released = BaselineStep(sizes, EMBEDDING_DIM, encoder, options, MatchingOptions(), device)
        given = (images, captions.sentence, captions.words, captions.mask, lengths, class_ids, noise)
        return lambda: released.step(*given), batch

    from dmgan.models.registry import build_model
    from dmgan.training.trainer import StepInputs, Trainer

    model = build_model("dmgan", sizes, EMBEDDING_DIM)
    initialise(model)
    settings = TrainingSettings(sizes, options, engine=setting.engine)
    trainer = Trainer(model, encoder, settings, LossOptions(), device)
    inputs = StepInputs(images, captions, class_ids, noise)
    if not setting.engine.cuda_graphs:
        return lambda: trainer.step(*inputs), batch
    return captured(trainer, inputs), batch


def captured(trainer: "Trainer", inputs: "StepInputs") -> Callable[[], None]:
    """Return a function that runs a step of `trainer` on the same inputs, as a CUDA graph; UserError if it cannot."""
    from dmgan.training.engine import EngineRecord
    from dmgan.training.train import captured_steps

    class Refusing(EngineRecord):
        def without_graphs(self, reason: str) -> None:
            raise UserError(f"the step cannot be captured: {reason}")

    run, steps = captured_steps(trainer, lambda step: inputs, sys.maxsize, Refusing({})), itertools.count()
    return lambda: run(next(steps))


def measure(setting: Setting, steps: int, threads: int, device_name: str) -> None:
    """Report seconds and CPU seconds per step and the peak memory of a setting; the first steps are not counted."""
    import torch

    torch.set_num_threads(threads)
    step, batch = make_step(setting, device_name)
    gpu = on_gpu(device_name)
    wait = torch.cuda.synchronize if gpu else lambda: None
    for _ in range(10 if gpu else 1):
        step()
    wait()
    seconds, cpu_started = [], fresh.cpu_seconds()
    blocks, per_block = (5, max(1, steps // 5)) if gpu else (steps, 1)  # a GPU is synchronised once per block
    for _ in range(blocks):
        started = time.perf_counter()
        for _ in range(per_block):
            step()
        wait()
        seconds.append((time.perf_counter() - started) / per_block)
    measured = {"s_per_step": statistics.median(seconds), "batch": batch, "peak_mb": fresh.peak_mb()}
    measured["cpu_s_per_step"] = (fresh.cpu_seconds() - cpu_started) / (blocks * per_block)
    if gpu:
        measured["peak_gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
    fresh.report(measured)


def profile(name: str, setting: Setting, threads: int, device_name: str) -> str:
    """Profile one step of a setting; on a GPU by kernel time."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    torch.set_num_threads(threads)
    gpu = on_gpu(device_name)
    step, _ = make_step(setting, device_name)
    for _ in range(10 if gpu else 1):  # the first steps on a GPU search for algorithms and compile
        step()
    if gpu:
        torch.cuda.synchronize()
    with profiler(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * gpu) as profiled:
        step()
        if gpu:
            torch.cuda.synchronize()
    order = "self_device_time_total" if gpu else "self_cpu_time_total"
    table = profiled.key_averages().table(sort_by=order, row_limit=22, max_name_column_width=50)
    return f"{name}: one step, {threads} threads, {device_name}\n{table}\n"


# The functions below run in the process that compares the settings.


def compare(
    settings: dict[str, Setting], steps: int, rounds: int, threads: int, device: str, seconds: float = 0
) -> None:
    """Measure the settings alternately and write the result; on a GPU what a time limit allows."""
    described = record.machine(device)
    common = ["--steps", str(steps), "--threads", str(threads), "--device", device]
    arguments = {name: ["--measure", name, *common] for name in settings}
    details = {"rounds": rounds, "steps": steps, "threads": threads}

    runs = fresh.interleaved("benchmarks.training", arguments, rounds, seconds=seconds)
    _write(settings, runs, described, details)


def _write(settings: dict[str, Setting], runs: Runs, described: dict[str, object], details: dict[str, object]) -> None:
    """Write figures and plot of the settings that were measured."""
    device = described["device"]
    memory = "peak_gpu_mb" if on_gpu(device) else "peak_mb"
    figures = []
    for name in runs:
        seconds, batch = fresh.median(runs[name], "s_per_step"), runs[name][0]["batch"]
        figures += [
            Figure(f"{name}: a step", seconds, "s"),
            Figure(f"{name}: images", batch / seconds, "images/s"),
            Figure(f"{name}: CPU time of a step", fresh.median(runs[name], "cpu_s_per_step"), "s"),
            Figure(f"{name}: peak memory", fresh.median(runs[name], memory), "MB"),
        ]
    figures += _gpu_claims(runs) if on_gpu(device) else _cpu_claims(runs)
    name = f"{NAME}-cuda" if on_gpu(device) else NAME
    result = record.write(NAME, TITLE, figures, described, {**details, "runs": runs}, file=name)
    panels = {
        "images/s, median of rounds": {
            each: runs[each][0]["batch"] / fresh.median(runs[each], "s_per_step") for each in runs
        },
        "peak memory, MB": {each: fresh.median(runs[each], memory) for each in runs},
    }
    rounds, threads = f"{details['rounds']} rounds of {details['steps']} steps", f"{details['threads']} threads"
    note = f"{described.get('gpu', described['cpu'])}, {threads}, {device}; {rounds}; {result.date}"
    plot.bars(record.RESULTS / f"{name}.png", TITLE, panels, [each for each in runs if settings[each].engine], note)


def _cpu_claims(runs: Runs) -> list[Figure]:
    figures = []
    for ours in (name for name in runs if SETTINGS[name].engine):
        for baseline, bound in ((USER, 3.0), (SAME, 2.0)):
            if baseline in runs:
                times = fresh.ratio(runs[baseline], runs[ours], "s_per_step")
                at_least = bound if ours == BEST else None
                figures.append(Figure(f"{ours}, against the {baseline}", times, "times as fast", at_least))
        if USER in runs:
            share = fresh.ratio(runs[ours], runs[USER], "peak_mb")
            at_most = 0.7 if ours == BEST else None
            figures.append(Figure(f"{ours}: memory, against the {USER}", share, "times as much", None, at_most))
    return figures


def _gpu_claims(runs: Runs) -> list[Figure]:
    figures = []
    if GRAPH in runs:
        seconds = fresh.median(runs[GRAPH], "s_per_step")
        figures.append(Figure(f"{GRAPH}: a step of 10, wanted on an H100", seconds * 1e3, "ms", at_most=20.0))
        rate = STEP_GFLOP / seconds / 1e3
        figures.append(Figure(f"{GRAPH}: the baseline's {STEP_GFLOP} GFLOP a step", rate, "TFLOP/s"))
    if GRAPH_64 in runs:
        rate = 64 / fresh.median(runs[GRAPH_64], "s_per_step")
        figures.append(Figure(f"{GRAPH_64}, wanted on an H100", rate, "images/s", at_least=1000.0))
    for slower, bound in ((FLOAT32_EAGER, 6.0), ("baseline", None), ("baseline, without TF32", None)):
        if {slower, GRAPH} <= runs.keys():
            times = fresh.ratio(runs[slower], runs[GRAPH], "s_per_step")
            figures.append(Figure(f"{GRAPH}, against {slower}", times, "times as fast", at_least=bound))
    for schedule, (name, steps) in SCHEDULES.items():
        if name in runs:
            hours = fresh.median(runs[name], "s_per_step") * steps / 3600
            at_most = 3.0 if schedule.startswith("CUB, the paper's") else None
            figures.append(Figure(f"projected, steps alone: {schedule}", hours, "hours", None, at_most))
    return figures


def main() -> int:
    every = list(SETTINGS | CUDA_SETTINGS | COMPILED_SETTINGS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--steps", type=int, help="steps of each measurement (default 3; on a GPU 40)")
    parser.add_argument("--rounds", type=int, help="measurements of each setting (default 3; on a GPU 1)")
    parser.add_argument(
        "--seconds", type=float, default=0, help="time limit, 0 for none (default); the result is written at the limit"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N] (default cpu)")
    parser.add_argument("--only", nargs="+", choices=every, help="measure these settings alone")
    parser.add_argument("--all", action="store_true", help="measure every setting that does not compile (on a GPU)")
    parser.add_argument(
        "--compiled", action="store_true", help="measure the settings that compile for minutes first (on a GPU)"
    )
    parser.add_argument(
        "--profile", action="store_true",
        help="write results/training-profile.txt instead (on a GPU training-profile-cuda.txt)",
    )  # fmt: skip
    parser.add_argument("--measure", choices=every, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    gpu = on_gpu(arguments.device)
    settings = (COMPILED_SETTINGS if arguments.compiled else CUDA_SETTINGS) if gpu else SETTINGS
    steps, rounds = arguments.steps or (40 if gpu else 3), arguments.rounds or (1 if gpu else 3)
    try:
        if arguments.measure:
            setting = (SETTINGS | CUDA_SETTINGS | COMPILED_SETTINGS)[arguments.measure]
            measure(setting, steps, arguments.threads, arguments.device)
        elif arguments.profile:
            names = ("baseline", GRAPH) if gpu else (SAME, BEST)
            text = "\n".join(profile(name, settings[name], arguments.threads, arguments.device) for name in names)
            write_text(record.RESULTS / f"training-profile{'-cuda' * gpu}.txt", text)
        else:
            if other := [name for name in arguments.only or () if name not in settings]:
                raise UserError(
                    f"--only {other[0]!r}: is not measured on {arguments.device}; there are {list(settings)}"
                )
            few = gpu and not (arguments.all or arguments.compiled)
            chosen = {name: settings[name] for name in arguments.only or (FIRST if few else settings)}
            compare(chosen, steps, rounds, arguments.threads, arguments.device, arguments.seconds)
    except UserError as error:
        print(f"benchmarks.training: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
