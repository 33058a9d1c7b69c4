"""Tables of claims about several models, seeds and metrics: false claims of equal models, and true ones of others."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dmgan.evaluation.paired_comparison import PerImage
from dmgan.report.tables.comparisons import NOT_SHOWN, compare_pairs

MODELS = ("dmgan", "attngan", "kvmgan", "stackgan", "mirrorgan", "mdsp")
METRICS = ("FID(species)", "KID(species)")
SAME_CAPTIONS = {"test_images": np.arange(300), "captions": np.zeros(300, dtype=int), "folds": np.arange(300) % 10}


def run_of(values: dict[str, float], random: np.random.Generator) -> PerImage:
    """An evaluation whose folds vary far less than trainings do, as those of 30,000 images."""
    without = {f"without/{key}": value + random.normal(scale=1e-3, size=10) for key, value in values.items()}
    return PerImage(Path("metrics.json"), values, {}, without | SAME_CAPTIONS)


def table(random: np.random.Generator, seeds: int, leads: dict[str, float]) -> list[str]:
    """The claims of a table of models whose FID and KID lead by `leads` standard deviations over seeds."""
    runs = {}
    for model in MODELS:
        shared = random.normal(size=seeds)  # a good training is good by several metrics
        measured = [0.8 * shared + 0.6 * random.normal(size=seeds) + 100 - leads.get(model, 0.0) for _ in METRICS]
        by_seed = zip(*measured, strict=True)
        runs[model] = [run_of(dict(zip(METRICS, values, strict=True)), random) for values in by_seed]
    return [each.claim for each in compare_pairs(runs, 0) if each.claim != NOT_SHOWN]


@pytest.mark.parametrize("seeds", [2, 3])
def test_equal_models_have_a_false_claim_in_at_most_5_percent_of_the_tables(seeds):
    random, tables = np.random.default_rng(seeds), 120
    false = sum(bool(table(random, seeds, {})) for _ in range(tables))
    assert stats.binomtest(false, tables, 0.05, alternative="greater").pvalue > 0.01


def test_a_large_lead_is_claimed():
    """DM-GAN leads by twelve standard deviations over three seeds."""
    random = np.random.default_rng(0)
    claims = [table(random, 3, {"dmgan": 12.0}) for _ in range(20)]
    found = [sum(claim.startswith("DM-GAN better than") for claim in each) for each in claims]
    assert np.mean(found) > 3  # of ten: five pairs by two metrics
    assert not any("DM-GAN" not in claim for each in claims for claim in each)


def test_one_seed_is_one_image_set_and_always_differs():
    """Equal models of one seed: the generators differ, and the claim is about them."""
    assert len(table(np.random.default_rng(0), 1, {})) > 20
