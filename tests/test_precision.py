"""Half precision keeps the loss curves: 500 steps on synthbirds, small, judged as benchmarks/precision.py does."""

import numpy as np
import pytest

from benchmarks import precision

SIZE = precision.Size(side=32, images=120, batch=8, width=4, embedding_dim=16, damsm_epochs=3)
STEPS, SEEDS = 500, 3
EVERYTHING = {"rewritten": True, "channels_last": True, "fused_adam": True, "cache_captions": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision")
    precision.prepare(folder, SIZE)
    return folder


def test_loss_curves_stay_within_the_noise_of_float32(folder):
    def curves(name: str, engine: dict, seeds: int = 1, **changes) -> np.ndarray:
        runs = [
            precision.train_curves(folder, folder / f"{name}{seed}", engine, seed, STEPS, SIZE, **changes)
            for seed in range(seeds)
        ]
        return np.stack(runs)

    plain = curves("float32", {}, SEEDS)
    halves = {
        "bfloat16": curves("bfloat16", {"precision": "bfloat16", **EVERYTHING}),
        "float16": curves("float16", {"precision": "float16"}),
    }
    for name, half in halves.items():
        noise, distance = precision.distances(plain, half)
        assert distance < precision.NOISES * noise, name
    # The criterion sees a generator that learns half as fast again.
    noise, distance = precision.distances(plain, curves("faster", {}, lr_factor=1.5))
    assert distance > precision.NOISES * noise


def test_distances_are_in_deviations_of_the_seeds_pooled_over_blocks():
    plain = np.zeros((3, 2, 1))
    plain[:, 0, 0] = [-1.0, 0.0, 1.0]  # variance 1 in one block, 0 in the other: pooled 1/2
    noise, distance = precision.distances(plain, np.full((1, 2, 1), 2.0))
    assert noise == pytest.approx(np.mean([1.5, 0.0, 1.5]))  # sqrt((1.5^2 / 0.5 + 0) / 2)
    assert distance == pytest.approx(np.sqrt((1.5**2 + 2.0**2) / 0.5 / 2))
