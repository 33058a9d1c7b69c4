"""The contract of every metric of the table: facts, keys, protocol, and a table that is read without torch."""

import json
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from dmgan.errors import UserError
from dmgan.evaluation.metrics.base import Facts, FeatureMetric
from dmgan.evaluation.metrics.table import facts_of, metrics
from dmgan.evaluation.networks.loaded import EvaluationNetworks
from dmgan.evaluation.networks.table import EXTRACTORS
from tests.conftest import CPU
from tests.paths import ROOT

EVERY = pytest.mark.parametrize("name", metrics())


@pytest.fixture(scope="module")
def instances(network_files, dataset):
    """Every metric with every reader that tests have, by its name."""
    networks = EvaluationNetworks.read(network_files, dataset, CPU)
    return {name: metric.build(networks) for name, metric in metrics().items()}


@pytest.fixture(scope="module")
def measured(evaluated_folder):
    """The metrics of metrics.json."""
    return json.loads((evaluated_folder / "metrics.json").read_text())["metrics"]


@EVERY
def test_facts_are_complete(name):
    facts = facts_of(name)
    assert facts is metrics()[name].facts and facts.name == name
    assert facts.better in ("up", "down", "") and facts.unit in ("", "%")
    assert facts.unit != "%" or (facts.least, facts.largest) == (0, 100)
    assert facts.fewest_images >= 100
    assert facts.library and isinstance(facts.library, str)
    assert isinstance(facts.decimals, int) and 0 <= facts.decimals <= 6
    flags = [getattr(facts, each.name) for each in fields(Facts) if each.type is bool]
    assert len(flags) == 6 and all(isinstance(each, bool) for each in flags)
    assert re.fullmatch(r"[A-Za-z][A-Za-z -]*", name)  # a key is NAME(READER)
    assert set(facts.controls_may_differ) <= set(facts.protocol)
    assert len(set(facts.protocol)) == len(facts.protocol)


@EVERY
def test_a_metric_is_described(name):
    metric = metrics()[name]
    assert metric.__doc__ and sys.modules[metric.__module__].__doc__


@EVERY
def test_a_key_is_the_name_and_the_reader(name, instances):
    assert instances[name]
    for metric in instances[name]:
        assert metric.key == f"{name}({metric.reader})" and re.fullmatch(r"[^()]+", metric.reader)


def test_keys_are_unique(instances):
    keys = [metric.key for each in instances.values() for metric in each]
    assert len(set(keys)) == len(keys)


@EVERY
def test_the_facts_name_every_protocol_field(name, instances, measured):
    """A field without a fact could differ between two numbers of one column unseen."""
    for metric in instances[name]:
        if metric.key in measured:  # the stored attributes of synthbirds are no reader of generated images
            of_reader = set() if metric.extractor is None else set(metric.extractor.protocol)
            assert set(measured[metric.key]["protocol"]) == of_reader | set(metrics()[name].facts.protocol)


@EVERY
def test_percentages_lie_between_0_and_100(name, instances, measured):
    values = [measured[metric.key]["value"] for metric in instances[name] if metric.key in measured]
    assert values
    if metrics()[name].facts.unit == "%":
        assert all(0 <= value <= 100 for value in values)


@EVERY
def test_the_extractors_of_a_metric_are_in_their_table(name):
    metric = metrics()[name]
    if issubclass(metric, FeatureMetric):
        assert metric.extractors and set(metric.extractors) <= set(EXTRACTORS)


def test_the_metrics_of_metrics_json_are_in_the_order_of_the_table(measured):
    names = [key.partition("(")[0] for key in measured]
    assert list(dict.fromkeys(names)) == list(metrics())


def test_an_unknown_metric_is_refused():
    with pytest.raises(UserError, match="metric 'LPIPS': unknown; known metrics are IS, FID, KID"):
        facts_of("LPIPS")


def test_intervals_stay_within_the_possible_values_of_their_metric():
    bounds = {name: (facts_of(name).least, facts_of(name).largest) for name in metrics()}
    assert bounds == {
        "IS": (1, None), "FID": (0, None), "KID": (None, None), "precision": (0, 1), "recall": (0, 1),
        "density": (0, None), "coverage": (0, 1), "diversity": (0, None), "R-precision": (0, 100),
        "attribute accuracy": (0, 100), "SOA-C": (0, 100), "SOA-I": (0, 100),
    }  # fmt: skip
    assert facts_of("precision").clipped((-0.02, 1.01), "folds") == ((0.0, 1.0), "folds, clipped to 0 ... 1")
    assert facts_of("R-precision").clipped((0.4, 101.0), "seeds") == ((0.4, 100.0), "seeds, clipped to 0 ... 100")
    assert facts_of("density").clipped((-0.1, 1.4), "folds") == ((0.0, 1.4), "folds, clipped to 0 or more")
    assert facts_of("IS").clipped((-5.0, 11.0), "folds") == ((1.0, 11.0), "folds, clipped to 1 or more")
    assert facts_of("KID").clipped((-0.1, 0.2), "folds") == ((-0.1, 0.2), "folds")
    once = facts_of("FID").clipped((-3.0, 400.0), "folds")
    assert facts_of("FID").clipped(*once) == once == ((0.0, 400.0), "folds, clipped to 0 or more")


def test_too_few_images_are_told_with_the_least_number():
    assert facts_of("FID").too_few(50) == "50 images, FID needs 300"
    assert facts_of("R-precision").too_few(99) == "99 images, R-precision needs 100"
    assert facts_of("FID").too_few(300) == facts_of("R-precision").too_few(100) == ""


@pytest.mark.parametrize(
    "code",
    [
        "from dmgan.evaluation.metrics.table import facts_of; assert facts_of('FID').better == 'down'",
        "from dmgan.evaluation.networks.table import EXTRACTORS; assert 'inception-tf' in EXTRACTORS",
    ],
)
def test_tables_are_read_without_torch(code):
    """Tables and notes, the command line and the workflow read them; torch and scipy.stats take seconds to import."""
    code += "; import sys; print(sorted({'torch', 'torchvision', 'torch_fidelity', 'scipy.stats'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr
