"""Paired comparison: what is claimed of two models, and what is not."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.evaluation import uncertainty
from dmgan.evaluation.uncertainty import cohens_h
from dmgan.report.comparisons import write_comparisons

HITS, FID, IMAGES = "R-precision(held-out DAMSM)", "FID(species)", 300


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(uncertainty, "RESAMPLES", 400)
    monkeypatch.setattr(uncertainty, "PERMUTATIONS", 1000)


@pytest.fixture
def write(tmp_path):
    """Writes an evaluation of a model whose images show their captions with some chance."""

    def write_evaluation(name, share, seed=0, fid=20.0, random_seed=None, kind="model", **changes) -> Path:
        random = np.random.default_rng(0)
        difficulty = random.random(IMAGES)  # of the caption: what both models share
        moved = difficulty + 0.05 * np.random.default_rng(random_seed or seed).normal(size=IMAGES)
        hits = (moved < share).astype(int)
        without = fid + np.random.default_rng(seed + 50).normal(scale=0.02, size=10)
        measures = {
            key: {
                "value": value, "spread": 1.0, "spread_over": "10 folds of one image set", "interval": [0, 100],
                "interval_level": 0.95, "interval_over": "folds", "num_images": IMAGES, "folds": 10,
                "protocol": {"feature_network": "a judge"},
            }
            for key, value in ((HITS, 100 * hits.mean()), (FID, fid))
        }  # fmt: skip
        inputs = {"sampling_seed": 100, "data": {"captions.json": "5e"}, "images_sha256": f"{name} {seed}"} | changes
        subject = {"kind": kind, "name": name, "seed": seed, "dataset": "synthbirds", "image_size": 64}
        folder = tmp_path / f"{name}{seed}"
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

    return write_evaluation


def rows(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(folder / "comparisons.csv", newline="", encoding="utf-8") as file:
        return {(row["first"], row["second"], row["metric"]): row for row in csv.DictReader(file)}


def test_a_difference_that_is_there_is_claimed_with_its_size(write, tmp_path):
    write_comparisons([write("dmgan", 0.7), write("attngan", 0.55, fid=25.0, random_seed=9)], tmp_path, 0)
    found = rows(tmp_path)
    hits = found["DM-GAN", "AttnGAN", "R-precision"]
    assert hits["claim"] == "DM-GAN better than AttnGAN" and hits["judge"] == "held-out DAMSM"
    low, value, high = (float(hits[key]) for key in ("interval_low", "difference", "interval_high"))
    assert 0 < low < value < high
    assert value == pytest.approx(float(hits["first_value"]) - float(hits["second_value"]))
    shares = (float(hits[key]) / 100 for key in ("first_value", "second_value"))
    assert float(hits["effect_size"]) == pytest.approx(cohens_h(*shares))
    assert hits["effect_size_name"] == "Cohen's h" and float(hits["p_value_holm"]) < 0.05
    distance = found["DM-GAN", "AttnGAN", "FID"]
    assert distance["claim"] == "DM-GAN better than AttnGAN" and float(distance["difference"]) == -5
    assert "paired delete-one-fold jackknife" in distance["interval_over"]
    text = (tmp_path / "comparisons.md").read_text()
    assert "**DM-GAN better than AttnGAN**" in text and "One seed: a claim is of these trained generators" in text


def test_the_difference_is_of_what_the_jackknife_is_of(write, tmp_path):
    files = [write("dmgan", 0.6, fid=20.0), write("attngan", 0.6, seed=1, fid=20.1)]
    for file, centre in zip(files, (20.0, 25.0), strict=True):
        content = json.loads(file.read_text())
        content["metrics"][FID]["interval_centre"] = centre
        file.write_text(json.dumps(content))
    write_comparisons(files, tmp_path, 0)
    row = rows(tmp_path)["DM-GAN", "AttnGAN", "FID"]
    assert (row["first_value"], row["second_value"], row["difference"]) == ("20.0", "25.0", "-5.0")


def test_pairing_finds_what_two_intervals_would_hide(write, tmp_path):
    files = [write("dmgan", 0.60), write("attngan", 0.57, seed=1)]
    write_comparisons(files, tmp_path, 0)
    hits = rows(tmp_path)["DM-GAN", "AttnGAN", "R-precision"]
    alone = 1.96 * (2 * 0.6 * 0.4 / IMAGES) ** 0.5 * 100  # half of the interval of two sets that do not pair
    assert float(hits["interval_high"]) - float(hits["difference"]) < 0.6 * alone


def test_nothing_is_claimed_of_models_that_do_not_differ(write, tmp_path):
    write_comparisons([write("dmgan", 0.6), write("attngan", 0.6, random_seed=9)], tmp_path, 0)
    assert {row["claim"] for row in rows(tmp_path).values()} == {"no difference shown"}
    assert "better than" not in (tmp_path / "comparisons.md").read_text()


def test_a_lead_that_other_seeds_do_not_share_is_not_claimed(write, tmp_path):
    files = [write("dmgan", share, seed, fid=10) for seed, share in enumerate((0.9, 0.4))]
    files += [write("attngan", share, seed + 7, fid=30) for seed, share in enumerate((0.5, 0.52))]
    write_comparisons(files, tmp_path, 0)
    found = rows(tmp_path)
    hits = found["DM-GAN", "AttnGAN", "R-precision"]
    assert float(hits["interval_low"]) > 0 and float(hits["p_value_holm"]) < 0.05  # over images it leads
    assert float(hits["seeds_low"]) < 0 and hits["claim"] == "no difference shown"
    assert found["DM-GAN", "AttnGAN", "FID"]["claim"] == "DM-GAN better than AttnGAN"  # equal in every seed
    assert (hits["first_seeds"], hits["second_seeds"]) == ("2", "2")


def test_a_claim_by_a_metric_that_a_control_beats_is_qualified(write, tmp_path):
    models = [write("dmgan", 0.7), write("attngan", 0.55, fid=25.0, random_seed=9)]
    controls = [write("adversarial", 0.95, fid=90.0, kind="control"), write("real", 0.9, fid=1.0, kind="control")]
    write_comparisons([*models, *controls], tmp_path, 0)
    found = rows(tmp_path)
    hits, distance = (found["DM-GAN", "AttnGAN", metric] for metric in ("R-precision", "FID"))
    assert len(found) == 2 and hits["claim"] == distance["claim"] == "DM-GAN better than AttnGAN"
    assert hits["note"] == "a control that should lose ranks before it" and distance["note"] == ""
    lines = (tmp_path / "comparisons.md").read_text().splitlines()
    (by_hits,) = [line for line in lines if HITS in line and line.startswith("|")]
    (by_distance,) = [line for line in lines if FID in line and line.startswith("|")]
    assert "DM-GAN better than AttnGAN †" in by_hits and "**" not in by_hits
    assert "**DM-GAN better than AttnGAN**" in by_distance
    assert any(line.startswith("- † By a metric") and f"Adversarial images ({HITS}" in line for line in lines)


def test_p_values_are_corrected_for_the_number_of_pairs(write, tmp_path):
    names = ("dmgan", "attngan", "dmgan-paper")
    write_comparisons([write(name, 0.6 + 0.02 * i, seed=i) for i, name in enumerate(names)], tmp_path, 0)
    hits = [row for (_, _, metric), row in rows(tmp_path).items() if metric == "R-precision"]
    assert len(hits) == 3
    least = min(hits, key=lambda row: float(row["p_value"]))
    assert float(least["p_value_holm"]) == pytest.approx(min(1, 3 * float(least["p_value"])))


def test_one_model_has_nothing_to_be_compared_with(write, tmp_path):
    write_comparisons([write("dmgan", 0.6)], tmp_path, 0)
    assert "there is one model, and nothing to compare it with" in (tmp_path / "comparisons.md").read_text()


def test_what_lies_beside_metrics_must_be_of_the_same_images(write, tmp_path):
    first, other = write("dmgan", 0.6), write("attngan", 0.7)
    shutil.copy(other.with_name("per_image.npz"), first.parent)
    with pytest.raises(UserError, match=f"dmgan0/per_image.npz: is not of the images that {first} was measured on"):
        write_comparisons([first, other], tmp_path, 0)
    arrays = dict(np.load(other.with_name("per_image.npz")))
    del arrays["images_sha256"]
    np.savez(first.with_name("per_image.npz"), **arrays)
    with pytest.raises(UserError, match="is not of the images"):
        write_comparisons([first, other], tmp_path, 0)


def test_images_that_do_not_pair_are_refused(write, tmp_path):
    first = write("dmgan", 0.6)
    other = write("attngan", 0.6, sampling_seed=7)
    with pytest.raises(UserError, match="do not pair .other sampling_seed"):
        write_comparisons([first, other], tmp_path, 0)
    path = first.with_name("per_image.npz")
    arrays = dict(np.load(path)) | {"captions": np.zeros(IMAGES, int)}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match="do not pair .other captions"):
        write_comparisons([first, other], tmp_path, 0)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "folds"})
    with pytest.raises(UserError, match="per_image.npz: does not say its folds of whole test images; evaluate both"):
        write_comparisons([first, other], tmp_path, 0)
    path.write_bytes(b"cut short")
    with pytest.raises(UserError, match="per_image.npz: cannot be read"):
        write_comparisons([first, other], tmp_path, 0)
    assert not list(tmp_path.glob("comparisons*"))
