"""Measured rates of networks, and the names by which the table of rates has a configuration's networks and engines."""

import csv
import dataclasses
import io
import math
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.options import (
    PLAIN_ENGINE,
    ArchitectureOptions,
    CaptionerOptions,
    ClassifierOptions,
    DamsmOptions,
    EngineOptions,
    SamplingOptions,
    TrainingOptions,
)
from dmgan.storage.reading import read_text
from workflow.configuration import extractors_of, model_block, sampling_block

RATES = Path(__file__).parent.parent / "benchmarks" / "results" / "rates.csv"


class Rate(NamedTuple):
    """Measured rate of a network on a device."""

    images_per_second: float
    gflop_per_image: float
    checkpoint_bytes: float
    batch: int  # images per step


def read_rates(path: Path) -> dict[str, dict[tuple[str, str], Rate]]:
    """Read the table of `python -m benchmarks.rates` as {device: {(stage, `measured_name`): rate}}."""
    hint = "make it: python -m benchmarks.rates"
    text = read_text(path, hint)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        rates: dict[str, dict[tuple[str, str], Rate]] = {}
        for row in rows:
            rate = Rate(
                float(row["images_per_second"]), float(row["gflop_per_image"]), 1e6 * float(row["checkpoint_mb"]),
                int(row["batch"]),
            )  # fmt: skip
            device = f"{row['device']} (over {row['over']})"
            rates.setdefault(device, {})[row["stage"], row["network"]] = rate
            if not all(0 <= each < math.inf for each in rate) or not rate.images_per_second:
                raise ValueError(f"{row['network']}: a number is negative or not finite, or no image passes a second")
    except (csv.Error, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is not a table of rates ({error}); {hint}") from error
    return rates


def network_of(stage: str, config: dict, dataset: str = "", model: str = "") -> str:
    """Return the name of a stage's network, with the sizes that its speed depends on."""
    damsm = values_of(DamsmOptions, config["damsm"])
    if stage == "pretrain":
        return f"{_image_encoder(damsm)}{', stored maps' if damsm['trunk_crops'] else ''}"
    if stage == "trunk":
        return f"{_image_encoder(damsm)}, trunk"
    if stage in ("classifier", "attributes"):
        options = values_of(ClassifierOptions, config[stage])
        return f"classifier {options['image_size']} px, width {options['width']}"
    if stage == "captioner":
        options = values_of(CaptionerOptions, config["captioner"])
        return f"captioner, {options['hidden_dim']} units, {_image_encoder(damsm)}"
    if stage == "evaluate":
        extractors = extractors_of(config, dataset)
        networks = [network_of("classifier", config)] if "species" in extractors else []
        networks += [each for each in extractors if each == "efficientnet-lite0"]
        networks.append(_image_encoder(damsm))
        return f"small networks: {', '.join(networks)}{', held-out' if 'held_out_damsm' in config else ''}"
    options = model_block(config, dataset, model)
    block = values_of(ArchitectureOptions, options) | values_of(TrainingOptions, options)
    sides = "/".join(str(block["base_size"] << stage) for stage in range(block["stages"]))
    widths = f"G {block['generator_width']}, D {block['discriminator_width']}, R {block['residual_blocks']}"
    augmented = "" if block["diff_augment"] == "none" else f", {block['diff_augment']}"
    return f"{model} {sides} px, {widths}, {_trunk(damsm)}{augmented}"


def _trunk(damsm: dict) -> str:
    """Return the name of the DAMSM's image encoder, with the side to which its trunk resizes images."""
    sized = damsm["image_encoder"] == "efficientnet-lite0"
    return f"{damsm['image_encoder']} {damsm['trunk_size']} px" if sized else damsm["image_encoder"]


def _image_encoder(damsm: dict) -> str:
    """Return the name of the DAMSM's image encoder with the side of its images."""
    sized = damsm["image_encoder"] == "efficientnet-lite0"
    of_trunk = f" (trunk {damsm['trunk_size']} px)" if sized else ""
    return f"{damsm['image_encoder']} {damsm['image_size']} px{of_trunk}"


def engine_of(stage: str, config: dict, dataset: str, model: str = "") -> str:
    """Return the engine options that a stage's speed depends on and that differ from the plain engine; "" for none."""
    if stage == "train":
        block = model_block(config, dataset, model)
        values, plain = (
            values_of(EngineOptions, block) | {"gpus": block.get("gpus", 1)},
            {**vars(PLAIN_ENGINE), "gpus": 1},
        )
        elsewhere = ("cache_captions",)  # captions are encoded outside the step
    elif stage == "sample":
        return sampling_engine(sampling_block(config, dataset))
    else:
        return ""
    return _engine_name(values, plain, elsewhere)


def sampling_engine(block: dict) -> str:
    """Return the engine of sampling with the options of a block."""
    plain = vars(SamplingOptions(fused=False, channels_last=False))
    return _engine_name(values_of(SamplingOptions, block), plain, ("batch_size", "workers", "packed", "png_level"))


def _engine_name(values: dict, plain: dict, elsewhere: tuple[str, ...]) -> str:
    """Return the options that differ from the plain ones, without those that do not change the speed."""
    other = {name: value for name, value in values.items() if value != plain[name] and name not in elsewhere}
    return ", ".join(
        name if value is True else value if name == "precision" else f"{name} {value}" for name, value in other.items()
    )


def measured_name(network: str, engine: str) -> str:
    """Return the name of a network and its engine in the table of rates."""
    return f"{network}; {engine}" if engine else network


def values_of(kind: type, block: dict) -> dict[str, object]:
    """Return the defaults of an options class, updated with the values of a block."""
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    return fields | {name: value for name, value in block.items() if name in fields}
