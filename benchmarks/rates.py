"""Measure the rates of all long stages of a configuration, for results/rates.csv, which `workflow/plan.py` reads.

A row is one network at its configured size on one device, trained with the engine and sampled with the options that the
configuration names: images a second, and floating-point operations an image (0: not counted, for compiled networks and
gradient penalties). Inputs are random. On the CPU the rate is that of one thread's CPU time, times the cores, so that
other programs hardly influence it (several threads use CPU time while they wait for each other); on a GPU it is over
wall time. Rows of the same device, stage and network are replaced.
"""

import argparse
import csv
import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import fresh, record
from benchmarks.training import captured
from dmgan.data.dataset import oversize
from dmgan.data.sources.table import Source
from dmgan.evaluation.networks.table import WITHOUT_INCEPTION
from dmgan.options import (
    WRONG_IMAGES,
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmOptions,
    EngineOptions,
    MatchingOptions,
    SamplingOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.runtime.allocator import keep_freed_memory
from dmgan.storage import files
from workflow.configuration import (
    extractors_of,
    has_attributes,
    model_block,
    needs_captioner,
    read_configuration,
    sampling_block,
    source_of,
    trainings_of,
)
from workflow.rates import RATES, engine_of, measured_name, network_of

_WORDS = 15
_VOCABULARY = 5450
_SAMPLING_BATCH = 64  # the default of `python -m dmgan sample`


def _chosen(kind: type, *blocks: dict):
    """Return options of `kind` from blocks of the configuration, ignoring keys of other options classes."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for block in blocks for name, value in block.items() if name in names})


class _Clock:
    """Timer of a step that first counts its floating-point operations."""

    def __init__(self, device, seconds: float):
        self.device, self.seconds = device, seconds

    def measure(self, step: Callable[[], object], images: int, counted: bool = True) -> dict[str, float]:
        """Return images per second, and operations per image if `counted`, of a step that reads `images` images."""
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)
        with counter if counted else nullcontext():
            step()
        if self.device.type == "cuda":
            for _ in range(3):
                step()
        count, start = 0, self._now()
        while (elapsed := self._now() - start) < self.seconds or not count:
            step()
            count += 1
        elapsed = self._now() - start
        return {
            "gflop_per_image": counter.get_total_flops() / images / 1e9,
            "images_per_second": images * count / elapsed,
        }

    def _now(self) -> float:
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
            return time.monotonic()
        return fresh.cpu_seconds() / _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _captions(batch: int, embedding_dim: int, device):
    import torch

    from dmgan.text.damsm import EncodedCaptions

    words = torch.randn(batch, embedding_dim, _WORDS, device=device)
    mask = torch.zeros(batch, _WORDS, dtype=torch.bool, device=device)
    lengths = torch.full((batch,), _WORDS)
    return EncodedCaptions(torch.randn(batch, embedding_dim, device=device), words, mask, lengths)


def _model(name: str, block: dict, config: dict):
    """Return a model of the configuration with random weights."""
    from dmgan.models.initialisation import initialise
    from dmgan.models.registry import build_model

    damsm = _chosen(DamsmOptions, config["damsm"])
    model = build_model(name, _chosen(ArchitectureOptions, block), damsm.embedding_dim)
    initialise(model)
    return model


def _left_out(stage: str, name: str, reason: str) -> None:
    print(f"{stage} {name}: {reason}; left out", file=sys.stderr)


def _train(name: str, block: dict, config: dict, batch: int, clock: _Clock) -> dict[str, float] | None:
    """Return the rate of a training step with the configured engine, and the megabytes of a checkpoint."""
    import torch

    from dmgan.models.registry import find
    from dmgan.runtime.device import set_deterministic
    from dmgan.training.augmentation import NUMBERS
    from dmgan.training.engine import resolve_graphs
    from dmgan.training.trainer import FurtherInputs, StepInputs, Trainer

    model = _model(name, block, config)
    if block.get("gpus", 1) > 1:
        return _left_out("train", name, "is configured for several GPUs, but only one GPU is measured")
    if find(name).needs:
        return _left_out(
            "train", name, "reads networks or features other than the DAMSM's, which this benchmark does not make"
        )
    damsm, engine, device = _chosen(DamsmOptions, config["damsm"]), _chosen(EngineOptions, block), clock.device
    options = _chosen(TrainingOptions, block)
    set_deterministic(device, engine.deterministic)
    encoder = _encoder(damsm)
    encoder.eval().requires_grad_(False).to(device)
    gammas = _chosen(MatchingOptions, config["matching"])
    settings = TrainingSettings(model.architecture, options, gammas, resolve_graphs(engine, device))
    trainer = Trainer(model, encoder, settings, find(name).losses, device)
    captions = _captions(batch, damsm.embedding_dim, device)
    noise = torch.randn(batch, model.noise_dim, device=device)
    images = [torch.rand(batch, 3, side, side, device=device) * 2 - 1 for side in model.image_sizes]
    class_ids = torch.arange(batch, device=device)
    more_noise = torch.randn(batch + batch // 2, model.noise_dim, device=device)
    wrong_images = images if find(name).losses.mismatched_pairs in WRONG_IMAGES else ()
    augmentation = None
    if options.diff_augment != "none":
        augmentation = torch.rand(batch + batch // 2, 4, len(images), NUMBERS, device=device)
    further = FurtherInputs(wrong_images, captions, more_noise, augmentation)
    inputs = StepInputs(images, captions, class_ids, noise, further)
    step = captured(trainer, inputs) if trainer.engine.cuda_graphs else lambda: trainer.step(*inputs)
    losses = find(name).losses
    # The counter sees no operations of a compiled network, and fails on a gradient that the loss reads.
    counted = not (engine.compile or losses.matching_aware_penalty or losses.r1)
    trained = clock.measure(step, batch, counted)
    tensors = [tensor for each in trainer.stateful().values() for tensor in _tensors(each.state_dict())]
    trained["checkpoint_mb"] = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
    set_deterministic(device, False)
    torch.backends.cudnn.benchmark = False  # only training searches for algorithms
    return trained


def _sample(name: str, block: dict, config: dict, dataset: str, batch: int, clock: _Clock) -> dict[str, float] | None:
    """Return the rate of a generator's pass with the sampling options of the data set."""
    import torch

    from dmgan.models.registry import find
    from dmgan.sampling.inference import InferenceGenerator

    model, options = _model(name, block, config), _chosen(SamplingOptions, sampling_block(config, dataset))
    if find(name).retrieves:
        return _left_out("sample", name, "retrieves from a memory bank, which this benchmark does not make")
    model.to(clock.device).eval().requires_grad_(False)
    captions = _captions(batch, _chosen(DamsmOptions, config["damsm"]).embedding_dim, clock.device)
    noise = torch.randn(batch, model.noise_dim, device=clock.device)
    options = dataclasses.replace(options, batch_size=batch)
    generator = InferenceGenerator(model, options, clock.device, _WORDS)
    return clock.measure(lambda: generator.images(noise, captions), batch, not options.compile)


def _tensors(state) -> list:
    """Yield all tensors within a state dict."""
    import torch

    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else []
    return [tensor for value in values for tensor in _tensors(value)]


def _pretrain(config: dict, batch: int, clock: _Clock) -> dict[str, float]:
    import torch

    from dmgan.text.efficientnet_lite import CHANNELS
    from dmgan.text.encoders import TextEncoder
    from dmgan.training.pretrain_damsm import Pretrainer

    options, device = _chosen(DamsmOptions, config["damsm"]), clock.device
    text = TextEncoder(_VOCABULARY, options.embedding_dim, options.dropout)
    image = _encoder(options)
    pretrainer = Pretrainer(text, image, options, _chosen(MatchingOptions, config["matching"]), device)
    images = torch.rand(batch, 3, options.image_size, options.image_size, device=device) * 2 - 1
    if options.trunk_crops:
        images = torch.rand(batch, CHANNELS, options.trunk_size // 32, options.trunk_size // 32, device=device)
    tokens, lengths = torch.randint(1, _VOCABULARY, (batch, _WORDS)), torch.full((batch,), _WORDS)
    return clock.measure(lambda: pretrainer.step(images, tokens, lengths, torch.arange(batch)), batch)


def _trunk(config: dict, batch: int, clock: _Clock) -> dict[str, float]:
    """Return the rate of the frozen trunk that stores its maps."""
    import torch

    from dmgan.text.folded_encoder import folded_encoder

    options = _chosen(DamsmOptions, config["damsm"])
    network = folded_encoder(_encoder(options).eval().requires_grad_(False).features).to(clock.device)
    images = torch.rand(batch, 3, options.image_size, options.image_size, device=clock.device)
    with torch.inference_mode():
        return clock.measure(lambda: network(images), batch)


def _encoder(options: DamsmOptions):
    """Return the DAMSM's image encoder with random weights."""
    from dmgan.text.encoders import build_image_encoder

    return build_image_encoder(options.image_encoder, options.embedding_dim, options.width, options.trunk_size)


def _evaluate(batch: int, clock: _Clock) -> dict[str, float]:
    """Return the rate of Inception-v3 at 299 px, for Inception extractors and the DAMSM's image encoder."""
    import torch

    from dmgan.text.encoders import build_image_encoder

    encoder = build_image_encoder("inception", 256, 32).eval().to(clock.device)
    images = torch.rand(batch, 3, 299, 299, device=clock.device)
    with torch.inference_mode():
        return clock.measure(lambda: encoder(images), batch)


def _evaluate_small(config: dict, dataset: str, batch: int, clock: _Clock) -> dict[str, float]:
    """Return the rate of a pass by all networks of an evaluation but Inception: extractors and image encoders."""
    import torch

    from dmgan.evaluation.networks.classifier import ImageClassifier
    from dmgan.text.efficientnet_lite import EfficientNetLite0
    from dmgan.text.folded_encoder import folded_encoder

    classifier, damsm = _chosen(ClassifierOptions, config["classifier"]), _chosen(DamsmOptions, config["damsm"])
    extractors, networks = extractors_of(config, dataset), []
    if "species" in extractors:
        network = ImageClassifier(classifier.width, classifier.features, 150).to(clock.device).eval()
        networks.append((network, classifier.image_size))
    if "efficientnet-lite0" in extractors:
        network = folded_encoder(EfficientNetLite0().eval().requires_grad_(False)).to(clock.device)
        networks.append((network, config["datasets"][dataset]["image_size"]))
    encoder = _encoder(damsm).to(clock.device).eval()
    networks += [(encoder, damsm.image_size)] * (1 + ("held_out_damsm" in config))
    images = {side: torch.rand(batch, 3, side, side, device=clock.device) for _, side in networks}
    with torch.inference_mode():
        return clock.measure(lambda: [network(images[side]) for network, side in networks], batch)


def _captioner(config: dict, batch: int, clock: _Clock) -> dict[str, float]:
    import torch

    from dmgan.text.captioner import Captioner

    options, damsm = _chosen(CaptionerOptions, config["captioner"]), _chosen(DamsmOptions, config["damsm"])
    encoder = _encoder(damsm).to(clock.device).eval()
    network = Captioner(_VOCABULARY, damsm.embedding_dim, options).to(clock.device).train()
    adam = torch.optim.Adam(network.parameters(), lr=options.lr)
    images = torch.rand(batch, 3, damsm.image_size, damsm.image_size, device=clock.device)
    tokens = torch.randint(1, _VOCABULARY, (batch, _WORDS), device=clock.device)
    mask = torch.zeros(batch, _WORDS, dtype=torch.bool, device=clock.device)

    def step() -> None:
        with torch.no_grad():
            _, embedding = encoder(images)
        adam.zero_grad(set_to_none=True)
        network.cross_entropy(embedding, tokens, mask).backward()
        adam.step()

    return clock.measure(step, batch)


def _classifier(stage: str, config: dict, batch: int, clock: _Clock) -> dict[str, float]:
    """Return the rate of a training step of the classifier that `stage` trains, "classifier" or "attributes"."""
    import torch
    from torch.nn.functional import cross_entropy

    from dmgan.evaluation.networks.classifier import ImageClassifier

    options = _chosen(ClassifierOptions, config[stage])
    network = ImageClassifier(options.width, options.features, 150).to(clock.device).train()
    adam = torch.optim.AdamW(network.parameters(), lr=options.lr)
    images = torch.rand(batch, 3, options.image_size, options.image_size, device=clock.device)
    target = torch.arange(batch, device=clock.device)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        cross_entropy(network(images)[1], target).backward()
        adam.step()

    return clock.measure(step, batch)


def _drawing(block: dict, source: Source, clock: _Clock) -> dict[str, float]:
    """Return the rate of a source that draws its images, at the configured size."""
    examples = source.collect(source.options(block), oversize(block["image_size"])).examples
    numbers = itertools.cycle(range(len(examples)))
    return clock.measure(lambda: examples[next(numbers)], 1, counted=False)


def _preparing() -> dict[str, float] | None:
    """Return the rate that benchmarks.preparing measured, per second of two cores."""
    path = record.RESULTS / "preparing.json"
    if not path.exists():
        return None
    details = record.read(path).details
    return {"images_per_second": details["kept"] * details["workers"] / details["cpu_seconds"], "gflop_per_image": 0.0}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rates", description=__doc__)
    parser.add_argument("--configfile", type=Path, default=Path("workflow/config/paper.yaml"), help="what to measure")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N] (default cpu)")
    parser.add_argument(
        "--batch-size", type=int, default=0, help="images a step, also in sampling (default: the configuration's)"
    )
    parser.add_argument("--seconds", type=float, default=10, help="least seconds of a measurement (default 10)")
    arguments = parser.parse_args(argv)
    keep_freed_memory()
    import torch

    torch.set_num_threads(1 if arguments.device == "cpu" else _cores())
    torch.manual_seed(0)
    config, described = read_configuration(arguments.configfile), record.machine(arguments.device)
    clock = _Clock(torch.device(arguments.device), arguments.seconds)
    place = described.get("gpu", f"{described['cpu']}, {described['cores']} cores")
    rows: dict[tuple[str, str], dict[str, object]] = {}

    def keep(
        stage: str, network: str, batch: int, measured: dict[str, float] | None, precision: str = "float32"
    ) -> None:
        if measured is None:
            return
        rows[stage, network] = {
            "device": place, "stage": stage, "network": network, "batch": batch,
            "images_per_second": round(measured["images_per_second"], 4),
            "gflop_per_image": round(measured["gflop_per_image"], 2),
            "checkpoint_mb": round(measured.get("checkpoint_mb", 0.0)), "precision": precision,
            "over": "wall time" if clock.device.type == "cuda" else "one thread's CPU time, times the cores",
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        }  # fmt: skip
        _merge(RATES, [rows[stage, network]])
        print(f"{stage} {network}: {measured['images_per_second']:.3g} images/s", file=sys.stderr, flush=True)

    batch = arguments.batch_size or config["damsm"].get("batch_size", DamsmOptions().batch_size)
    keep("prepare", "photographs", 0, _preparing())
    for dataset, block in config["datasets"].items():
        source = source_of(config, dataset)
        if source.rate != "photographs" and ("prepare", source.rate) not in rows:
            keep("prepare", source.rate, 0, _drawing(block, source, clock))
    if any("species" in extractors_of(config, dataset) for dataset in config["datasets"]):
        keep("classifier", network_of("classifier", config), batch, _classifier("classifier", config, batch, clock))
    for dataset in config["datasets"]:
        if any(each in WITHOUT_INCEPTION for each in extractors_of(config, dataset)):
            name = network_of("evaluate", config, dataset)
            keep("evaluate", name, batch, _evaluate_small(config, dataset, batch, clock))
    if any(has_attributes(config, dataset) for dataset in config["datasets"]):
        keep("attributes", network_of("attributes", config), batch, _classifier("attributes", config, batch, clock))
    if any(needs_captioner(model) for _, model in trainings_of(config)):
        keep("captioner", network_of("captioner", config), batch, _captioner(config, batch, clock))
    keep("evaluate", "inception 299", batch, _evaluate(batch, clock))
    if config["damsm"].get("trunk_crops"):
        keep("trunk", network_of("trunk", config), batch, _trunk(config, batch, clock))
    keep("pretrain", network_of("pretrain", config), batch, _pretrain(config, batch, clock))
    for dataset, model in trainings_of(config):
        block, sampling = model_block(config, dataset, model), sampling_block(config, dataset)
        network = network_of("train", config, dataset, model)
        name = measured_name(network, engine_of("train", config, dataset, model))
        if ("train", name) not in rows:
            batch = arguments.batch_size or _chosen(TrainingOptions, block).batch_size
            precision = _chosen(EngineOptions, block).precision
            keep("train", name, batch, _train(model, block, config, batch, clock), precision)
        name = measured_name(network, engine_of("sample", config, dataset))
        if ("sample", name) not in rows:
            batch = arguments.batch_size or sampling.get("batch_size", _SAMPLING_BATCH)
            precision = _chosen(SamplingOptions, sampling).precision
            keep("sample", name, batch, _sample(model, block, config, dataset, batch, clock), precision)


def _merge(path: Path, rows: list[dict[str, object]]) -> None:
    """Write rows to the table, replacing rows of the same device, stage and network."""
    new = {(str(row["device"]), row["stage"], row["network"]) for row in rows}
    old = list(csv.DictReader(path.open(encoding="utf-8"))) if path.exists() else []
    kept = [row for row in old if (row["device"], row["stage"], row["network"]) not in new]
    files.write_csv(path, [*kept, *rows])


if __name__ == "__main__":
    sys.exit(main())
