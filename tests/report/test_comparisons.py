"""The table of paired comparisons: what is claimed of two models, and what is not."""

import csv
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.evaluation.statistics import uncertainty
from dmgan.evaluation.statistics.uncertainty import cohens_h
from dmgan.report.tables.comparisons import write_comparisons
from tests.report.made_metrics import read_all
from tests.written_evaluations import FID, HITS, IMAGES, write_evaluation


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(uncertainty, "RESAMPLES", 400)


@pytest.fixture
def write(tmp_path):
    """Writes an evaluation under this test's folder."""
    return functools.partial(write_evaluation, tmp_path)


def rows(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(folder / "comparisons.csv", newline="", encoding="utf-8") as file:
        return {(row["first"], row["second"], row["metric"]): row for row in csv.DictReader(file)}


def test_a_difference_that_is_there_is_claimed_with_its_size(write, tmp_path):
    write_comparisons([write("dmgan", 0.7), write("attngan", 0.55, fid=25.0, random_seed=9)], tmp_path, 0)
    found = rows(tmp_path)
    hits = found["DM-GAN", "AttnGAN", "R-precision"]
    assert hits["claim"] == "DM-GAN better than AttnGAN" and hits["scorer"] == "held-out DAMSM"
    low, value, high = (float(hits[key]) for key in ("interval_low", "difference", "interval_high"))
    assert 0 < low < value < high
    assert value == pytest.approx(float(hits["first_value"]) - float(hits["second_value"]))
    shares = (float(hits[key]) / 100 for key in ("first_value", "second_value"))
    assert float(hits["effect_size"]) == pytest.approx(cohens_h(*shares))
    assert hits["effect_size_name"] == "Cohen's h" and float(hits["p_value_holm"]) < 0.05
    distance = found["DM-GAN", "AttnGAN", "FID"]
    assert distance["claim"] == "DM-GAN better than AttnGAN" and float(distance["difference"]) == -5
    assert "paired delete-one-fold jackknife" in distance["interval_over"]
    text = read_all(tmp_path, "comparisons")
    assert "**DM-GAN better than AttnGAN**" in text and "One seed: claims hold for these trained generators" in text


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
    assert "better than" not in read_all(tmp_path, "comparisons")


def test_a_lead_that_other_seeds_do_not_share_is_not_claimed(write, tmp_path):
    files = [write("dmgan", share, seed, fid=10 + seed) for seed, share in enumerate((0.9, 0.4))]
    files += [write("attngan", share, seed + 7, fid=80) for seed, share in enumerate((0.5, 0.52))]
    write_comparisons(files, tmp_path, 0)
    found = rows(tmp_path)
    hits, distance = (found["DM-GAN", "AttnGAN", metric] for metric in ("R-precision", "FID"))
    assert float(hits["interval_low"]) > 0 and float(hits["p_value_holm"]) < 0.05  # over images it leads
    assert float(hits["seeds_low"]) < 0 and hits["claim"] == "no difference shown"
    assert float(distance["seeds_p_value_holm"]) == pytest.approx(2 * float(distance["seeds_p_value"]))
    assert float(distance["seeds_p_value_holm"]) < 0.05 and distance["claim"] == "DM-GAN better than AttnGAN"
    assert (hits["first_seeds"], hits["second_seeds"]) == ("2", "2")


def test_notes_name_the_family_and_what_the_seeds_can_show(write, tmp_path):
    names = ("dmgan", "attngan", "mdsp")
    files = [
        write(name, 0.5 + 0.01 * seed, 10 * place + seed, fid=20 + seed)
        for place, name in enumerate(names) for seed in range(2)
    ]  # fmt: skip
    write_comparisons(files, tmp_path, 0)
    text = read_all(tmp_path, "comparisons")
    assert f"One family of comparisons: 3 pairs of models by {HITS}, {FID}. 6 tests over images and 6 over" in text
    assert f"{FID}: the real images are held fixed. Interval, p and claim are about the distance to these" in text
    assert "With 2 and 2 seeds and 6 tests, the first claim needs a difference of 10.9 standard deviations" in text
    assert "4 seeds of each model can show 3 standard deviations" in text and "One seed" not in text


def test_a_claim_by_a_metric_that_a_control_beats_is_qualified(write, tmp_path):
    models = [write("dmgan", 0.7), write("attngan", 0.55, fid=25.0, random_seed=9)]
    controls = [write("adversarial", 0.95, fid=90.0, kind="control"), write("real", 0.9, fid=1.0, kind="control")]
    write_comparisons([*models, *controls], tmp_path, 0)
    found = rows(tmp_path)
    hits, distance = (found["DM-GAN", "AttnGAN", metric] for metric in ("R-precision", "FID"))
    assert len(found) == 2 and hits["claim"] == distance["claim"] == "DM-GAN better than AttnGAN"
    assert hits["note"] == "a control that should lose ranks before the model" and distance["note"] == ""
    lines = read_all(tmp_path, "comparisons").splitlines()
    under = [line for line in lines if line.startswith("|")]
    by_hits, by_distance = (
        under[next(place for place, line in enumerate(under) if key in line) + 1] for key in (HITS, FID)
    )
    assert "DM-GAN better than AttnGAN †" in by_hits and "**" not in by_hits
    assert "**DM-GAN better than AttnGAN**" in by_distance
    assert any(
        line.startswith("- † The metric ranks a control") and f"Adversarial images ({HITS}" in line for line in lines
    )


def test_p_values_are_corrected_for_the_number_of_pairs_and_metrics(write, tmp_path):
    names = ("dmgan", "attngan", "dmgan-paper")
    write_comparisons([write(name, 0.6 + 0.02 * i, seed=i) for i, name in enumerate(names)], tmp_path, 0)
    found = list(rows(tmp_path).values())
    assert len(found) == 6 and {row["metric"] for row in found} == {"R-precision", "FID"}
    least = min(found, key=lambda row: float(row["p_value"]))
    assert float(least["p_value_holm"]) == pytest.approx(min(1, 6 * float(least["p_value"])))


def test_one_model_has_nothing_to_be_compared_with(write, tmp_path):
    write_comparisons([write("dmgan", 0.6)], tmp_path, 0)
    assert "there is only one model, so there is nothing to compare" in read_all(tmp_path, "comparisons")
    assert "No number to show." in (tmp_path / "comparisons.tex").read_text()


def test_nothing_is_claimed_of_too_few_images(write, tmp_path):
    """FID needs 300 images: a difference that is significant by the t test of ten folds of 29 images is not claimed."""
    files = [write("dmgan", 0.7), write("attngan", 0.2, fid=25.0, random_seed=9)]
    for file in files:
        path = file.with_name("per_image.npz")
        arrays = dict(np.load(path))
        of_images = ("test_images", "captions", "folds", f"hits/{HITS}", f"counts/{HITS}")
        np.savez(path, **{name: each[:299] if name in of_images else each for name, each in arrays.items()})
    write_comparisons(files, tmp_path, 0)
    found = rows(tmp_path)
    hits, distance = (found["DM-GAN", "AttnGAN", metric] for metric in ("R-precision", "FID"))
    assert hits["claim"] == "DM-GAN better than AttnGAN" and hits["too_few"] == ""  # it needs 100
    assert (distance["claim"], distance["num_images"]) == ("too few images to tell", "299")
    assert distance["too_few"] == "299 images, FID needs 300" and float(distance["p_value_holm"]) < 0.05
    assert "- ? Too few images to tell: 299 images, FID needs 300. Nothing is claimed." in read_all(
        tmp_path, "comparisons"
    )


def test_files_that_cannot_be_compared_leave_no_table(write, tmp_path):
    with pytest.raises(UserError, match="cannot be paired .different sampling_seed"):
        write_comparisons([write("dmgan", 0.6), write("attngan", 0.6, sampling_seed=7)], tmp_path, 0)
    assert not list(tmp_path.glob("comparisons*"))
