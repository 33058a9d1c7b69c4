"""Paired comparison of two models: differences, seeds, and evaluations that do not pair."""

import functools
import json
import shutil

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import metrics
from dmgan.evaluation.paired_comparison import Corrected, check_pairs, compare, correct, holds, read_per_image
from dmgan.evaluation.statistics import uncertainty
from dmgan.evaluation.statistics.claims import OverSeeds
from dmgan.evaluation.statistics.uncertainty import cohens_h
from tests.written_evaluations import FID, HITS, IMAGES, write_evaluation


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(uncertainty, "RESAMPLES", 400)


@pytest.fixture
def write(tmp_path):
    """Writes an evaluation under this test's folder."""
    return functools.partial(write_evaluation, tmp_path)


def test_a_difference_that_is_there_holds_and_has_its_size(write):
    first, second = read_per_image(write("dmgan", 0.7)), read_per_image(write("attngan", 0.55, fid=25.0, random_seed=9))
    check_pairs([first, second])
    hits = compare([first], [second], HITS, 0)
    low, high = hits.difference.interval
    assert 0 < low < hits.difference.value < high and holds(hits, *correct([hits]))
    assert hits.difference.value == pytest.approx(hits.first - hits.second)
    assert hits.difference.effect == pytest.approx(cohens_h(hits.first / 100, hits.second / 100))
    assert hits.seeds == (1, 1) and hits.over_seeds is None
    distance = compare([first], [second], FID, 0)
    assert distance.difference.value == -5 and holds(distance, *correct([distance]))
    assert "paired delete-one-fold jackknife" in distance.difference.over


def test_the_difference_is_of_what_the_jackknife_is_of(write):
    runs = []
    for name, seed, fid, centre in (("dmgan", 0, 20.0, 20.0), ("attngan", 1, 20.1, 25.0)):
        file = write(name, 0.6, seed=seed, fid=fid)
        content = json.loads(file.read_text())
        content["metrics"][FID]["interval_centre"] = centre
        file.write_text(json.dumps(content))
        runs.append(read_per_image(file))
    comparison = compare(runs[:1], runs[1:], FID, 0)
    assert (comparison.first, comparison.second, comparison.difference.value) == (20.0, 25.0, -5.0)


def test_pairing_finds_what_two_intervals_would_hide(write):
    first, second = read_per_image(write("dmgan", 0.60)), read_per_image(write("attngan", 0.57, seed=1))
    difference = compare([first], [second], HITS, 0).difference
    unpaired = 1.96 * (2 * 0.6 * 0.4 / IMAGES) ** 0.5 * 100  # half of the interval of two sets that do not pair
    assert difference.interval[1] - difference.value < 0.6 * unpaired


def test_a_lead_that_other_seeds_do_not_share_does_not_hold(write):
    first = [read_per_image(write("dmgan", share, seed, fid=10 + seed)) for seed, share in enumerate((0.9, 0.4))]
    second = [read_per_image(write("attngan", share, seed + 7, fid=80)) for seed, share in enumerate((0.5, 0.52))]
    hits, distance = (compare(first, second, metric, 0) for metric in (HITS, FID))
    of_hits, of_distance = correct([hits, distance])
    assert hits.difference.interval[0] > 0 and of_hits.images < 0.05  # over images it leads
    assert hits.over_seeds.interval[0] < 0 and of_hits.seeds > 0.05 and not holds(hits, of_hits)
    assert of_distance.seeds == pytest.approx(2 * distance.over_seeds.p_value)
    assert of_distance.seeds < 0.05 and holds(distance, of_distance)
    assert hits.seeds == (2, 2)


def test_a_corrected_p_value_of_5_percent_does_not_hold(write):
    first, second = read_per_image(write("dmgan", 0.7)), read_per_image(write("attngan", 0.55, random_seed=9))
    comparison = compare([first], [second], HITS, 0)
    assert holds(comparison, Corrected(0.049, None)) and not holds(comparison, Corrected(0.05, None))
    several = comparison._replace(over_seeds=OverSeeds((1.0, 2.0), 0.001))
    assert holds(several, Corrected(0.01, 0.049)) and not holds(several, Corrected(0.01, 0.05))
    other_side = comparison._replace(over_seeds=OverSeeds((-2.0, -1.0), 0.001))
    assert not holds(other_side, Corrected(0.01, 0.01))


def test_models_of_one_seed_are_in_the_family_over_images_only(write):
    runs = [[read_per_image(write("dmgan", 0.6, seed, fid=20 + seed)) for seed in range(2)]]
    runs += [[read_per_image(write("attngan", 0.6, seed + 5, fid=21 + seed)) for seed in range(2)]]
    runs += [[read_per_image(write("mdsp", 0.6, 9))]]
    family = [compare(runs[i], runs[j], FID, 0) for i, j in ((0, 1), (0, 2), (1, 2))]
    several, *one = correct(family)
    assert several.seeds == pytest.approx(family[0].over_seeds.p_value) and [each.seeds for each in one] == [None, None]
    least = min(family, key=lambda each: each.difference.p_value).difference.p_value
    assert min(each.images for each in correct(family)) == pytest.approx(min(1, 3 * least))


@pytest.mark.parametrize("name", metrics())
def test_metrics_that_do_not_rank_are_not_compared(write, name):
    """Every metric with per-image values or folds left out is compared if either direction is better, and only then."""
    run = read_per_image(write("dmgan", 0.6))
    key = f"{name}(some reader)"
    for array in ("hits", "without"):
        changed = run._replace(values={key: 1.0}, arrays={f"{array}/{key}": np.zeros(10)})
        assert changed.compared == ([key] if metrics()[name].facts.better else [])
    assert run._replace(values={key: 1.0}, arrays={}).compared == []


def test_per_image_values_must_be_of_the_same_images(write):
    first, other = write("dmgan", 0.6), write("attngan", 0.7)
    shutil.copy(other.with_name("per_image.npz"), first.parent)
    with pytest.raises(UserError, match=f"dmgan0/per_image.npz: is of other images than {first}"):
        read_per_image(first)
    arrays = dict(np.load(other.with_name("per_image.npz")))
    del arrays["images_sha256"]
    np.savez(first.with_name("per_image.npz"), **arrays)
    with pytest.raises(UserError, match="is of other images"):
        read_per_image(first)


def test_images_that_do_not_pair_are_refused(write):
    first, other = write("dmgan", 0.6), write("attngan", 0.6, sampling_seed=7)
    with pytest.raises(UserError, match="cannot be paired .different sampling_seed"):
        check_pairs([read_per_image(first), read_per_image(other)])
    path = first.with_name("per_image.npz")
    arrays = dict(np.load(path)) | {"captions": np.zeros(IMAGES, int)}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match="cannot be paired .different captions"):
        check_pairs([read_per_image(first), read_per_image(other)])
    np.savez(path, **{name: array for name, array in arrays.items() if name != "folds"})
    with pytest.raises(UserError, match="per_image.npz: has no folds of whole test images; evaluate both"):
        read_per_image(first)
    path.write_bytes(b"cut short")
    with pytest.raises(UserError, match="per_image.npz: is damaged"):
        read_per_image(first)
