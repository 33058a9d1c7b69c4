"""Evaluations as `evaluate` writes them, of images that are not there: for tests of comparisons."""

import json
from pathlib import Path

import numpy as np

HITS, FID, IMAGES = "R-precision(held-out DAMSM)", "FID(species)", 300


def write_evaluation(
    parent: Path, name: str, share: float, seed=0, fid=20.0, random_seed=None, kind="model", **changes
) -> Path:
    """Write an evaluation of a model whose images show their captions with probability `share`; return metrics.json."""
    random = np.random.default_rng(0)
    difficulty = random.random(IMAGES)  # of the caption: what both models share
    moved = difficulty + 0.05 * np.random.default_rng(random_seed or seed).normal(size=IMAGES)
    hits = (moved < share).astype(int)
    without = fid + np.random.default_rng(seed + 50).normal(scale=0.02, size=10)
    measures = {
        key: {
            "value": value, "spread": 1.0, "spread_over": "10 folds of one image set", "interval": [0, 100],
            "interval_level": 0.95, "interval_over": "folds", "num_images": IMAGES, "folds": 10,
            "protocol": {"feature_network": "a network"},
        }
        for key, value in ((HITS, 100 * hits.mean()), (FID, fid))
    }  # fmt: skip
    inputs = {"sampling_seed": 100, "data": {"captions.json": "5e"}, "images_sha256": f"{name} {seed}"} | changes
    subject = {"kind": kind, "name": name, "seed": seed, "dataset": "synthbirds", "image_size": 64}
    folder = parent / f"{name}{seed}"
    folder.mkdir()
    content = {"schema": 2, "subject": subject | {"num_images": IMAGES}, "metrics": measures, "inputs": inputs}
    (folder / "metrics.json").write_text(json.dumps(content))
    np.savez(
        folder / "per_image.npz",
        **{
            "images_sha256": f"{name} {seed}",
            "test_images": np.arange(IMAGES) // 3, "captions": np.arange(IMAGES) % 3,
            "folds": np.arange(IMAGES) // 30, f"hits/{HITS}": hits,
            f"counts/{HITS}": np.ones(IMAGES, int), f"without/{FID}": without, f"without/{HITS}": without,
        },
    )  # fmt: skip
    return folder / "metrics.json"
