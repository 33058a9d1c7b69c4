"""A writer of metrics.json files."""

import json
import os
from pathlib import Path

import pytest

from tests.report.made_metrics import MODEL, metrics


@pytest.fixture(autouse=True)
def no_flush(monkeypatch):
    """Do not wait for the disk: a test writes dozens of small tables."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def write_metrics(tmp_path):
    """Return a function that writes metrics.json of a model or control and returns its path."""
    model_metrics = metrics(MODEL)

    def write(
        name, seed=0, kind="model", dataset="synthbirds", metrics=model_metrics, data="5e", made_for="", **changes
    ) -> Path:
        subject = {"kind": kind, "name": name, "seed": seed, "dataset": dataset, "num_images": 2000, "image_size": 64}
        inputs = {"data": {"captions.json": "ca", "images.bin": data}}
        content = {"schema": 2, "subject": subject, "metrics": metrics, "inputs": inputs, "provenance": {}} | changes
        subject |= {"made_for": made_for} if made_for else {}
        path = tmp_path / f"{kind}_{name}_{seed}_{dataset}{made_for}" / "metrics.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write
