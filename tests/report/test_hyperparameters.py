"""Notes on hyperparameters in which compared models differ, under tables and claims."""

import json

import pytest
import yaml

from dmgan.options import ArchitectureOptions, MatchingOptions, TrainingOptions, as_dict
from dmgan.report.hyperparameters import differences
from dmgan.report.results import read_evaluation
from dmgan.report.tables.comparisons import write_comparisons
from dmgan.report.tables.paper_tables import title_of
from dmgan.report.tables.render import write_tables
from tests.paths import CONFIGS
from tests.reading import read_csv
from tests.report.made_metrics import read_all
from tests.written_evaluations import write_evaluation

TRAINED = {**as_dict(ArchitectureOptions()), **as_dict(TrainingOptions()), **as_dict(MatchingOptions())}


@pytest.fixture
def write(write_metrics):
    """Write metrics.json of a model that was trained with these options beside the defaults."""

    def with_options(model, seed=0, **options):
        inputs = {"data": {}, "hyperparameters": TRAINED | options}
        return write_metrics(model, seed, inputs=inputs)

    return with_options


def notes(folder, name="table1") -> list[str]:
    lines = read_all(folder, name).splitlines()
    return [line.removeprefix("- ") for line in lines if line.startswith("- ") and "yperparameters" in line]


def test_the_demo_s_discriminators_have_two_learning_rates(write, tmp_path):
    """As the configuration of the demo gives them."""
    blocks = yaml.safe_load((CONFIGS / "config.yaml").read_text())["hyperparameters"]["synthbirds"]
    files = [write(model, **blocks[model]) for model in ("dmgan", "attngan")]
    write_tables(files, tmp_path)
    expected = "Hyperparameters that differ: discriminator_lr 0.0004 (AttnGAN); discriminator_lr 0.001 (DM-GAN)."
    for table in ("table1", "table2", "mdsp-table1"):
        assert notes(tmp_path, table) == [expected]
    assert notes(tmp_path, "table3") == []  # of the ablations only DM-GAN was run


def test_options_that_divide_the_models_alike_share_a_line(write, tmp_path):
    names = ("dmgan", "attngan", "dmgan-m", "dmgan-paper", "kvmgan")
    files = [write(name) for name in names]
    files += [write("dmgan-004", epochs=3, batch_size=2), write("dmgan-004-two-words", epochs=3, batch_size=2)]
    write_tables(files, tmp_path)
    assert notes(tmp_path, "measures") == []  # none of the models has a number there
    assert notes(tmp_path, "table1") == [
        "Hyperparameters that differ: epochs 3, batch_size 2 (DM-GAN, batch 2, DM-GAN, batch 2, two words); "
        "epochs 800, batch_size 10 (the others)."
    ]


def test_options_that_a_model_does_not_use_are_no_difference(write):
    """The registry tells which losses and networks a model has; steps between checkpoints change no weight."""
    models = {
        "dmgan": {}, "mdsp": {"r1_gamma": 0.1, "feature_network": "small"}, "mirrorgan": {"caption_weight": 5.0},
        "controlgan": {"perceptual": "damsm", "checkpoint_every": 7},
    }  # fmt: skip
    found = {name: [read_evaluation(write(name, **options))] for name, options in models.items()}
    assert differences(found, title_of) == []
    found["mdsp-a1"] = [read_evaluation(write("mdsp-a1"))]
    (line,) = differences({name: found[name] for name in ("mdsp", "mdsp-a1", "dmgan")}, title_of)
    assert line.startswith("feature_network small, r1_gamma 0.1 (MDSP); feature_network vgg16, r1_gamma 10 (MDSP A1")


def test_seeds_of_a_model_that_differ_are_shown(write):
    runs = [read_evaluation(write("dmgan", seed, epochs=epochs)) for seed, epochs in enumerate((8, 9))]
    models = {"dmgan": runs, "attngan": [read_evaluation(write("attngan", epochs=8))]}
    assert differences(models, title_of) == ["epochs 8 and 9 (DM-GAN); epochs 8 (AttnGAN)"]


def test_equal_and_unknown_hyperparameters_are_said(write, write_metrics, tmp_path):
    write_tables([write("dmgan"), write("attngan")], tmp_path)
    assert notes(tmp_path) == ["All models of this table have the same hyperparameters."]
    known = {"max_words": 25, "generator_width": 64}
    released = write_metrics("attngan", inputs={"data": {}, "hyperparameters": known})
    write_tables([write("dmgan"), released, write_metrics("stackgan", inputs={"data": {}})], tmp_path)
    assert notes(tmp_path) == [
        "Hyperparameters that differ: max_words 25 (AttnGAN); max_words 18 (DM-GAN).",
        "Hyperparameters not recorded, or not all: StackGAN, AttnGAN.",
    ]


def test_claims_name_the_hyperparameters_of_their_models(tmp_path):
    rates = {"dmgan": 1e-3, "attngan": 4e-4, "kvmgan": 4e-4}
    files = [
        write_evaluation(tmp_path, name, 0.6, place, hyperparameters=TRAINED | {"discriminator_lr": rate})
        for place, (name, rate) in enumerate(rates.items())
    ]
    write_comparisons(files, tmp_path, 0)
    text = read_all(tmp_path, "comparisons")
    assert "differ: discriminator_lr 0.001 (DM-GAN); discriminator_lr 0.0004 (AttnGAN, KVM-GAN)." in text
    found = {(row["first"], row["second"]): row for row in read_csv(tmp_path / "comparisons.csv")}
    between = "discriminator_lr 0.001 (DM-GAN); discriminator_lr 0.0004 (AttnGAN)"
    assert found["DM-GAN", "AttnGAN"]["different_hyperparameters"] == between
    assert found["AttnGAN", "KVM-GAN"]["different_hyperparameters"] == ""
    assert json.loads(files[0].read_text())["inputs"]["hyperparameters"]["discriminator_lr"] == 1e-3
