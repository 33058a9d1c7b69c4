"""One image set measured by every metric that tests have networks for: columns, per-image values, comparison."""

import json
import shutil

import numpy as np
import pytest

from dmgan.evaluation.paired_comparison import check_pairs, compare, correct, holds, read_per_image
from dmgan.evaluation.statistics import uncertainty
from dmgan.evaluation.statistics.folds import fold_order, fold_rows

TRAINING, HELD_OUT = "R-precision(training DAMSM)", "R-precision(held-out DAMSM)"
CLIP, ATTRIBUTES = "R-precision(CLIP tiny-clip)", "attribute accuracy(attribute classifier)"


@pytest.fixture
def evaluated(evaluated_folder):
    """metrics.json, and what each image adds to it."""
    arrays = dict(np.load(evaluated_folder / "per_image.npz"))
    return json.loads((evaluated_folder / "metrics.json").read_text()), arrays


def test_every_reader_of_captions_has_a_column_of_its_own(evaluated):
    content, _ = evaluated
    keys = [name for name in content["metrics"] if not name.endswith("(species)") and not name.startswith("SOA")]
    assert keys == [TRAINING, HELD_OUT, CLIP, ATTRIBUTES]
    for name in keys:
        metric = content["metrics"][name]
        low, high = metric["bootstrap"]["interval"]
        assert low <= metric["bootstrap"]["value"] <= high
        assert metric["bootstrap"]["over"] == "images, clustered by test image"
        assert 0 < metric["chance"] < 100
    hashes = {json.dumps(content["metrics"][name]["protocol"]["feature_network_sha256"]) for name in keys}
    assert len(hashes) == 4
    assert content["metrics"]["IS(species)"]["bootstrap"]["interval"]
    read = [content["metrics"][name]["protocol"]["captions"] for name in keys[:3]]
    assert read == ["whole", "whole", "whole, up to CLIP's 77 tokens"]
    assert content["inputs"]["longest_caption_read"] == 12  # TRAINING.max_words


def test_objects_are_looked_for_by_the_attribute_classifier(evaluated):
    content, _ = evaluated
    named = [name for name in content["metrics"] if name.startswith("SOA")]
    assert named == ["SOA-C(attribute classifier)", "SOA-I(attribute classifier)"]
    soa_i, accuracy = content["metrics"][named[1]], content["metrics"][ATTRIBUTES]
    assert soa_i["value"] == pytest.approx(accuracy["bootstrap"]["value"])  # the same share, summed in another order
    assert soa_i["protocol"]["feature_network_sha256"] == accuracy["protocol"]["feature_network_sha256"]


def test_per_image_values_make_the_metric(evaluated):
    content, arrays = evaluated
    for name in (TRAINING, HELD_OUT, ATTRIBUTES):
        hits, counts = arrays[f"hits/{name}"], arrays[f"counts/{name}"]
        assert content["metrics"][name]["bootstrap"]["value"] == pytest.approx(100 * hits.sum() / counts.sum())
        assert (hits <= counts).all() and len(hits) == 40
    order = fold_order(40, 100)
    folds = [100 * arrays[f"hits/{TRAINING}"][rows].mean() for rows in fold_rows(order)]
    assert content["metrics"][TRAINING]["value"] == pytest.approx(np.mean(folds))
    assert arrays["without/FID(species)"].shape == (8,)  # folds of whole test images, of which there are eight
    distance = content["metrics"]["FID(species)"]
    assert (distance["folds"], distance["interval_folds"]) == (10, 8)
    for fold in range(8):
        assert len(set(arrays["test_images"][arrays["folds"] == fold])) == 1


def test_a_model_does_not_differ_from_its_own_copy(evaluated_folder, tmp_path, monkeypatch):
    """A comparison reads what an evaluation writes, for every metric."""
    monkeypatch.setattr(uncertainty, "RESAMPLES", 100)
    for name in ("metrics.json", "per_image.npz"):
        shutil.copy(evaluated_folder / name, tmp_path)
    runs = [read_per_image(folder / "metrics.json") for folder in (evaluated_folder, tmp_path)]
    check_pairs(runs)
    assert set(runs[0].compared) == {
        "IS(species)", "FID(species)", "KID(species)", TRAINING, HELD_OUT, CLIP, ATTRIBUTES,
        "SOA-C(attribute classifier)", "SOA-I(attribute classifier)",
    }  # fmt: skip
    for metric in runs[0].compared:
        comparison = compare(runs[:1], runs[1:], metric, 0)
        assert comparison.difference.value == 0 and not holds(comparison, *correct([comparison]))
