"""Precision, memory layout and fused computation: losses stay close to those of plain float32."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmarks import precision
from dmgan.options import PLAIN_ENGINE, EngineOptions, TrainingSettings
from dmgan.runtime.distributed import SINGLE_PROCESS
from dmgan.storage.files import file_sha256
from dmgan.training.engine import describe_engine
from dmgan.training.train import train
from tests.conftest import ARCHITECTURE, CPU, TRAINING
from tests.reading import read_csv
from tests.training import without_batch_norm
from tests.training.short_runs import assert_equal_files, first_losses, train_briefly

SMALL = precision.Size(side=32, stages=2, images=120, batch=8, width=4, embedding_dim=16, damsm_epochs=3)
OTHER_OPTIONS = {"fused": True, "channels_last": True, "fused_adam": True, "cache_captions": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine, tolerance",
    [
        (EngineOptions(precision="bfloat16"), 0.01),
        (EngineOptions(precision="float16"), 0.01),
        (EngineOptions(channels_last=True), 1e-3),
        (EngineOptions(fused_adam=True), 1e-3),
        (EngineOptions(cache_captions=True), 1e-3),
        (EngineOptions(fused=True), 1e-3),
        (EngineOptions(precision="bfloat16", **OTHER_OPTIONS), 0.01),
        (EngineOptions(precision="float16", fused=True), 0.01),
    ],
    ids=["bfloat16", "float16", "channels_last", "fused_adam", "cache_captions", "fused", "all", "float16, fused"],
)
def test_losses_are_close_to_those_of_plain_float32(engine, tolerance, run_folder, training_inputs, tmp_path):
    found = train_briefly(training_inputs, tmp_path / "run", engine=engine)
    assert first_losses(found) == pytest.approx(first_losses(run_folder), rel=tolerance)
    assert file_sha256(found / "generator.safetensors") != file_sha256(run_folder / "generator.safetensors")


@pytest.mark.parametrize("engine", [EngineOptions(gradient_checkpointing=True), EngineOptions(deterministic=True)])
def test_gradient_checkpointing_and_deterministic_algorithms_are_bit_exact(
    engine, run_folder, training_inputs, tmp_path
):
    train_briefly(training_inputs, tmp_path / "run", engine=engine)
    torch.use_deterministic_algorithms(False)
    assert_equal_files(tmp_path / "run", run_folder)


def test_float32_on_a_gpu_does_not_use_tf32():
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    without_batch_norm.trainer_of("dmgan")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert describe_engine(PLAIN_ENGINE, TRAINING, torch.device("cuda"), SINGLE_PROCESS)["tf32"] is False


@pytest.mark.slow
def test_a_compiled_generator_has_the_same_losses(training_inputs, tmp_path):
    training = dataclasses.replace(TRAINING, epochs=1)
    architecture = dataclasses.replace(ARCHITECTURE, stages=1)
    losses = []
    for engine in (PLAIN_ENGINE, EngineOptions(compile=True)):
        out = tmp_path / str(engine.compile)
        train("dmgan", training_inputs, out, TrainingSettings(architecture, training, engine=engine), 0, CPU)
        losses.append({name: float(value) for name, value in read_csv(out / "history.csv")[0].items()})
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_the_loss_scale_of_float16_is_saved(training_inputs, tmp_path):
    out = train_briefly(training_inputs, tmp_path / "run", engine=EngineOptions(precision="float16"))
    state = torch.load(out / "checkpoint.pt", weights_only=True)["state"]["scaler"]
    assert state["scale"] > 0 and state["_growth_tracker"] > 0


@pytest.mark.slow
def test_loss_curves_of_half_precision_are_within_the_seed_noise_of_float32(tmp_path):
    """100 steps on synthbirds, by the criterion that benchmarks/precision.py applies at a larger size."""
    precision.prepare(tmp_path, SMALL)

    def curves(name: str, engine: dict, seeds: int = 1, **changes) -> np.ndarray:
        runs = [
            precision.train_curves(tmp_path, tmp_path / f"{name}{seed}", engine, seed, 100, SMALL, **changes)
            for seed in range(seeds)
        ]
        return np.stack(runs)

    plain = curves("float32", {}, 3)
    halves = {
        "bfloat16": curves("bfloat16", {"precision": "bfloat16", **OTHER_OPTIONS}),
        "float16": curves("float16", {"precision": "float16"}),
    }
    for name, half in halves.items():
        noise, distance = precision.distances(plain, half)
        assert distance < precision.NOISES * noise, name
    # The criterion detects a learning rate that is 1.5 times as high.
    noise, distance = precision.distances(plain, curves("faster", {}, lr_factor=1.5))
    assert distance > precision.NOISES * noise


def test_distances_are_in_standard_deviations_over_seeds_pooled_over_blocks():
    plain = np.zeros((3, 2, 1))
    plain[:, 0, 0] = [-1.0, 0.0, 1.0]  # variance 1 in one block, 0 in the other: pooled 1/2
    noise, distance = precision.distances(plain, np.full((1, 2, 1), 2.0))
    assert noise == pytest.approx(np.mean([1.5, 0.0, 1.5]))  # sqrt((1.5^2 / 0.5 + 0) / 2)
    assert distance == pytest.approx(np.sqrt((1.5**2 + 2.0**2) / 0.5 / 2))
