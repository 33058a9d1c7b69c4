"""What a configuration costs, and the papers' own configuration."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import rates as measuring
from dmgan.errors import UserError
from dmgan.models.registry import build_model, options_of
from dmgan.options import ArchitectureOptions, EngineOptions
from tests.data.made_sources import make_coco, make_cub, make_metadata
from tests.paths import CONFIGS
from tests.workflow.configurations import OF_FIGURES, PAGE, expected_jobs
from workflow.configuration import read_configuration
from workflow.costs import costs, image_counts
from workflow.plan import extrapolated, hours, main, plan
from workflow.rates import RATES, engine_of, measured_name, network_of, read_rates

PAPER = CONFIGS / "paper.yaml"
COLUMNS = ("device", "stage", "network", "batch", "images_per_second", "gflop_per_image", "checkpoint_mb",
           "precision", "over", "date")  # fmt: skip


@pytest.fixture
def paper() -> dict:
    """The papers' configuration in plain float32, with nothing but the papers' own scorers."""
    config = read_configuration(PAPER)
    for blocks in config["hyperparameters"].values():
        for block in blocks.values():
            for name in EngineOptions.__dataclass_fields__:
                block.pop(name, None)
    for block in config["datasets"].values():
        block.pop("extractors", None)
        block.pop("sampling", None)
    config.pop("held_out_damsm", None)
    return config | {"extractors": ["inception-tf", "clean", "torchvision-released", "openai-released"], "sampling": {}}


def write_rates(path: Path, *rows) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("dataset", "model", "parameters"),
    [("cub", "dmgan", 21_449_042), ("coco", "dmgan", 22_335_314),
     ("cub", "attngan", 7_084_592), ("coco", "attngan", 13_811_456),
     ("cub", "dfgan", 9_744_131), ("coco", "dfgan", 9_744_131),
     ("cub", "controlgan", 12_918_064), ("coco", "controlgan", 21_005_248),
     ("cub", "mirrorgan", 7_105_392), ("coco", "mirrorgan", 13_853_408)],
)  # fmt: skip
def test_papers_configuration_has_the_released_generators(paper, dataset, model, parameters):
    sizes = options_of(ArchitectureOptions, model, paper["hyperparameters"][dataset][model])
    with torch.device("meta"):
        generator = build_model(model, sizes, paper["damsm"]["embedding_dim"])
    assert sum(each.numel() for each in generator.parameters()) == parameters


def test_steps_images_and_disk_of_the_papers_schedules(paper):
    found = {(each.dataset, each.rule, each.what): each for each in costs(paper, {})}
    assert found["cub", "train", "dmgan"].steps == 3 * 531_000  # 600 epochs of 885 steps, three seeds
    assert found["cub", "train", "attngan"].steps == 3 * 600 * 442
    assert found["coco", "train", "dmgan"].steps == 3 * 120 * 8_278
    assert found["coco", "train", "attngan"].steps == 3 * 120 * 5_913
    # The release's rivals: epochs and batches of the registry, and those that differ on COCO.
    assert found["cub", "train", "dfgan"].steps == 3 * 1_300 * 276
    assert found["coco", "train", "dfgan"].steps == 3 * 300 * 2_586
    assert found["cub", "train", "gan-int-cls"].steps == 3 * 600 * 138
    assert found["cub", "train", "dmgan-004"].steps == 3 * 800 * 4_427
    assert found["cub", "pretrain", "DAMSM"].steps == 201 * 184
    assert found["coco", "pretrain", "DAMSM"].steps == 101 * 1_724  # its own epochs
    assert found["cub", "sample", "dmgan"].images == 90_000
    evaluated = found["cub", "evaluate", "5 Inception passes an image"]  # four extractors and the DAMSM
    shown = 15 * 90_000 + 2 * 1_466 + 2 * 2_933 + 1_000 + 2_933  # models, control rows, reference
    assert evaluated.images == 5 * shown and evaluated.jobs == 15 * 3 + 2
    assert found["coco", "prepare", "coco"].images == 82_783 + 40_504
    assert 3.2e9 < found["cub", "prepare", "cub"].disk < 3.6e9  # benchmarks.preparing wrote 3.4 GB


def test_a_species_classifier_costs_where_its_features_are_asked_for(paper):
    assert not [each for each in costs(paper, {}) if each.rule == "classifier"]
    with_species = costs(paper | {"extractors": ["species"], "classifier": {}}, {})
    assert [each.jobs for each in with_species if each.rule == "classifier"] == [1, 1]


def test_hours_are_measured_where_they_were_and_extrapolated_where_operations_were_counted(paper, tmp_path):
    network = network_of("train", paper, "cub", "dmgan")
    row = ("a card", "train", network, 10, 50, 240, 700, "float32", "wall time", "2026-01-01")
    rates = read_rates(write_rates(tmp_path / "rates.csv", row))
    measured = rates["a card (over wall time)"]
    cost = next(each for each in costs(paper, {network: 7e8}) if (each.rule, each.network) == ("train", network))
    assert cost.images == 15_930_000 and cost.disk == 4.2e9  # two checkpoints a seed
    assert hours(cost, measured) == pytest.approx(88.5)  # 15.93 million images at 50 a second
    assert extrapolated(cost, rates.values(), 40.0) == pytest.approx(26.55)  # 240 GFLOP each at 40 TFLOP/s
    assert hours(cost._replace(network="another"), measured) is None
    assert extrapolated(cost._replace(network="another"), rates.values(), 40.0) is None


def test_an_engine_that_was_not_measured_has_no_rate(paper, tmp_path):
    network = network_of("train", paper, "cub", "dmgan")
    plain = ("a card", "train", network, 10, 50, 240, 700, "float32", "wall time", "2026-01-01")
    paper["hyperparameters"]["cub"]["dmgan"] |= {"precision": "bfloat16", "compile": True, "accumulate": 2, "gpus": 4}
    paper["hyperparameters"]["cub"]["dmgan"] |= {"cache_captions": True}
    engine = engine_of("train", paper, "cub", "dmgan")
    assert engine == "bfloat16, compile, accumulate 2, gpus 4"
    cost = next(each for each in costs(paper, {}) if (each.dataset, each.rule, each.what) == ("cub", "train", "dmgan"))
    assert cost.engine == engine and cost.disk is None
    rates = read_rates(write_rates(tmp_path / "rates.csv", plain))
    assert hours(cost, rates["a card (over wall time)"]) is None
    assert extrapolated(cost, rates.values(), 40.0) == pytest.approx(26.55)  # the plain step's operations
    row = (*plain[:2], measured_name(network, engine), 10, 200, 0, 700, "bfloat16", *plain[-2:])
    rates = read_rates(write_rates(tmp_path / "rates.csv", plain, row))
    assert hours(cost, rates["a card (over wall time)"]) == pytest.approx(22.125)


def test_encoded_captions_are_counted_where_trainings_keep_them(paper):
    def disk() -> float:
        return next(each for each in costs(paper, {}) if (each.dataset, each.rule) == ("cub", "pretrain")).disk

    assert disk() == 0
    blocks = paper["hyperparameters"]["cub"]
    for name in ("dmgan", "attngan"):
        blocks[name]["cache_captions"] = True
    assert disk() == 8_855 * 10 * (15 + 1) * 256 * 4  # one set for both: their longest caption is the same
    blocks["attngan"]["max_words"] = 7
    assert disk() == 8_855 * 10 * (15 + 1 + 7 + 1) * 256 * 4


def test_sampling_is_planned_as_it_is_configured(paper):
    def sample() -> tuple:
        return next(each for each in costs(paper, {}) if (each.rule, each.what) == ("sample", "dmgan"))

    usual = sample()
    assert usual.engine == "fused, channels_last" and usual.disk == pytest.approx(90_000 * 256**2 * 1.87)
    paper["sampling"] = {"packed": True, "workers": 4, "fused": False, "channels_last": False}
    assert sample().engine == "" and sample().disk == pytest.approx(90_000 * 256**2 * 4.87)
    paper["datasets"]["cub"]["sampling"] = {"precision": "bfloat16"}
    assert sample().engine == "bfloat16"


@pytest.mark.parametrize("name", ["smoke.yaml", "mdsp-grid.yaml", "paper.yaml", "cub50.yaml"])
def test_every_job_of_a_model_or_network_is_in_the_plan(name):
    """But for imports, memorisation, tables and figures, of which the plan says that it leaves them out."""
    config = read_configuration(CONFIGS / name)
    expected, found = expected_jobs(config), {}
    for each in costs(config, {}):
        found[each.rule] = found.get(each.rule, 0) + each.jobs
    left_out = (
        "total",
        "all",
        "tables",
        "compare",
        "claims",
        "checklist",
        *OF_FIGURES,
        PAGE,
        "parameters",
        "memorisation",
        "retrieval_table",
    )
    expected = {rule: count for rule, count in expected.items() if rule not in left_out}
    expected["evaluate"] += expected.pop("evaluate_controls") + expected.pop("reference") + expected.pop("probe", 0)
    assert {rule: jobs for rule, jobs in found.items() if jobs} == expected


def test_scorers_and_imported_models_are_in_the_plan(paper):
    released = {"model": "dmgan", "dataset": "cub"}
    more = {"imported": {"official": released}, "held_out_damsm": {"seed": 1}, "clip": {}, "detector": "file"}
    found = {(each.dataset, each.rule, each.what): each for each in costs(paper | more, {})}
    assert found["cub", "pretrain", "DAMSM and held-out DAMSM"].steps == 2 * 201 * 184
    assert found["cub", "sample_imported", "official"].images == 30_000
    imported = found["cub", "evaluate_imported", "6 Inception passes an image"]  # four extractors, two DAMSMs
    assert imported.jobs == 2 and imported.images == 6 * (30_000 + 2 * 1_466 + 2 * 2_933 + 1_000)
    assert ("coco", "evaluate_imported", "6 Inception passes an image") not in found
    assert (
        found["coco", "evaluate", "of these: CLIP"].network == found["coco", "evaluate", "of these: detector"].network
    )
    assert hours(found["coco", "evaluate", "of these: CLIP"], {}) is None


def test_totals_say_what_they_leave_out(tmp_path):
    def totals(*rows) -> str:
        text = plan(CONFIGS / "smoke.yaml", write_rates(tmp_path / "rates.csv", *rows), 40.0)
        return next(line for line in text.splitlines() if line.startswith("total"))

    smoke = read_configuration(CONFIGS / "smoke.yaml")
    network = network_of("train", smoke, "smoke", "dmgan")
    row = ("a card", "train", network, 8, 0.004, 10, 1, "float32", "wall time", "2026-01-01")  # 144 images: 10 h
    assert totals(row).split(" 78 ")[1].split() == ["at", "least", "10.0", "at", "least", "1e-05", "at", "least", "0.0"]
    other = ("a card", "train", "another", *row[3:])
    assert totals(other).split(" 78 ")[1].split() == ["?", "?", "at", "least", "0.0"]


def test_rates_are_measured_as_configured():
    config = read_configuration(CONFIGS / "smoke.yaml")
    config["sampling"] = {"precision": "bfloat16"}
    clock, block = (
        measuring._Clock(torch.device("cpu"), 0.0),
        config["hyperparameters"]["smoke"]["dmgan"] | {"stages": 2},
    )
    plain = measuring._train("dmgan", block, config, 2, clock)
    fast = {"precision": "bfloat16", "fused": True, "fused_adam": True, "channels_last": True}
    quick = measuring._train("dmgan", block | fast, config, 2, clock)
    assert 0 < quick["gflop_per_image"] < plain["gflop_per_image"]
    assert measuring._train("dmgan", block | {"gpus": 2}, config, 2, clock) is None
    fused = measuring._sample("dmgan", block, config, "smoke", 2, clock)
    config["datasets"]["smoke"]["sampling"] = {"fused": False}
    unfused = measuring._sample("dmgan", block, config, "smoke", 2, clock)
    assert 0 < fused["gflop_per_image"] < unfused["gflop_per_image"] and fused["images_per_second"] > 0


def test_rates_of_every_stage_of_a_configuration(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "RATES", tmp_path / "rates.csv")
    measuring.main(["--configfile", str(CONFIGS / "smoke.yaml"), "--seconds", "0", "--batch-size", "2"])
    said = capsys.readouterr().err
    assert "train mirrorgan: reads networks" in said and "sample mdsp: retrieves from a memory" in said
    (rates,) = read_rates(tmp_path / "rates.csv").values()
    stages = [(stage, name.split()[0]) for stage, name in rates]
    measured = [("prepare", "photographs"), ("prepare", "birds"), ("classifier", "classifier"), ("evaluate", "small"),
                ("attributes", "classifier"), ("captioner", "captioner,"), ("evaluate", "inception"),
                ("pretrain", "small"), ("train", "dmgan"), ("sample", "dmgan"), ("train", "attngan"),
                ("sample", "attngan"), ("sample", "mirrorgan")]  # fmt: skip
    assert stages == measured


@pytest.mark.parametrize("name", ["config.yaml", "cub50.yaml"])
def test_the_plan_has_hours_for_every_rule(name):
    table, notes = plan(CONFIGS / name, RATES, 40.0).split("\n[1] ")
    assert "?" not in table and "at least" not in table and "no measured rate" not in notes


def test_plan_says_what_it_rests_on(tmp_path, capsys, paper):
    network = network_of("train", paper, "cub", "dmgan")
    row = ("a card", "train", network, 10, 50, 240, 700, "float32", "wall time", "2026-01-01")
    rates = write_rates(tmp_path / "rates.csv", row)
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(paper))
    assert main(["--configfile", str(plain), "--rates", str(rates)]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("cub") and "train" in line and " dmgan" in line)
    assert line.split() == [
        "cub",
        "train",
        "dmgan",
        "3",
        "1,593,000",
        "15,930,000",
        "88.5",
        "26.6",
        "4.2",
    ]  # GB of two checkpoints a seed
    assert "[1] measured on a card (over wall time), in batches of 10 images" in said
    assert "[2] extrapolated" in said and "not a measurement" in said
    other = next(line for line in said.splitlines() if line.startswith("coco") and "pretrain" in line)
    assert other.split()[-3:] == ["?", "?", "-"]


def test_images_are_counted_as_prepared_drawn_listed_or_published(data, tmp_path):
    birds = {"source": "synthbirds", "num_species": 8, "images_per_species": 4}
    coco = {"source": "coco", "year": "2017", "root": str(tmp_path / "coco")}
    cub = {"source": "cub", "root": str(tmp_path / "CUB_200_2011"), "metadata": str(tmp_path / "birds")}
    config = {"datasets": {"birds": birds, "coco": coco, "cub": cub}}
    assert image_counts(config, "cub", tmp_path) == (8_855, 2_933)
    make_cub(tmp_path), make_metadata(tmp_path)
    assert image_counts(config, "cub", tmp_path) == (9, 3)
    assert image_counts(config, "birds", tmp_path) == (24, 8)
    assert image_counts(config, "coco", tmp_path) == (118_287, 5_000)
    make_coco(tmp_path, "2017")
    assert image_counts(config, "coco", tmp_path) == (2, 1)
    shutil.copytree(data, tmp_path / "data" / "coco")
    assert image_counts(config, "coco", tmp_path) == (24, 8)


def test_bad_input_of_the_plan_is_named(tmp_path):
    with pytest.raises(UserError, match="no.yaml: cannot be read"):
        read_configuration(tmp_path / "no.yaml")
    (tmp_path / "bad.yaml").write_text("datasets: [")
    with pytest.raises(UserError, match="bad.yaml: is not YAML"):
        read_configuration(tmp_path / "bad.yaml")
    config = yaml.safe_load(PAPER.read_text())
    del config["datasets"]["cub"]["root"]
    (tmp_path / "rootless.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="datasets.cub: has no root; add it"):
        read_configuration(tmp_path / "rootless.yaml")
    with pytest.raises(UserError, match="rates.csv: cannot be read .*; make it: python -m benchmarks.rates"):
        read_rates(tmp_path / "rates.csv")
    with pytest.raises(UserError, match="is not a table of rates"):
        read_rates(write_rates(tmp_path / "rates.csv", ("a card", "train")))


def test_validation_takes_images_from_the_epochs_and_its_snapshots_take_disk(paper):
    network = network_of("train", paper, "cub", "dmgan")
    paper["hyperparameters"]["cub"]["dmgan"] |= {"evaluate_every": 50_000, "select": "best"}
    rows = [each for each in costs(paper, {network: 8e8}) if each.dataset == "cub"]
    found = {(each.rule, each.what): each for each in rows}
    steps = 600 * ((8_855 - 500) // 10)  # 500 training images are held out
    assert found["train", "dmgan"].steps == 3 * steps == 3 * 501_000
    snapshots = 11  # every 50,000 steps, and the last step
    assert found["train", "dmgan"].disk == 3 * 8e8 * (2 + snapshots / 4)
    sampled, measured = (found[rule, "dmgan, validation in training"] for rule in ("sample", "evaluate"))
    assert sampled.images == 3 * snapshots * 500 and sampled.engine == "fused, channels_last" and not sampled.jobs
    assert measured.images == 5 * 3 * (snapshots + 1) * 500 and measured.network == "inception 299"
    assert found["train", "attngan"].steps == 3 * 600 * 442


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "1e9"])
def test_a_speed_of_no_device_is_an_error_of_usage(speed, capsys):
    with pytest.raises(SystemExit) as end:
        main([f"--tflops={speed}"])
    assert end.value.code == 2 and f"argument --tflops: {speed}: must be above 0" in capsys.readouterr().err
