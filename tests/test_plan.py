"""What a configuration costs, and the papers' own configuration."""

import csv
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from dmgan.__main__ import main
from dmgan.errors import UserError
from dmgan.models.registry import build_model
from dmgan.options import ArchitectureOptions
from dmgan.plan import costs, extrapolated, hours, image_counts, network_of, read_configuration, read_rates

CONFIGS = Path(__file__).parent.parent / "workflow" / "config"
PAPER = CONFIGS / "paper.yaml"
COLUMNS = ("device", "stage", "network", "batch", "images_per_second", "gflop_per_image", "checkpoint_mb",
           "precision", "over", "date")  # fmt: skip


@pytest.fixture
def paper() -> dict:
    return read_configuration(PAPER)


def write_rates(path: Path, *rows) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("dataset", "model", "parameters"),
    [("cub", "dmgan", 21_449_042), ("coco", "dmgan", 22_335_314),
     ("cub", "attngan", 7_084_592), ("coco", "attngan", 13_811_456)],
)  # fmt: skip
def test_papers_configuration_has_the_released_generators(paper, dataset, model, parameters):
    block = paper["hyperparameters"][dataset][model]
    sizes = {name: block[name] for name in ArchitectureOptions.__dataclass_fields__ if name in block}
    with torch.device("meta"):
        generator = build_model(model, ArchitectureOptions(**sizes), paper["damsm"]["embedding_dim"])
    assert sum(each.numel() for each in generator.parameters()) == parameters


def test_steps_images_and_disk_of_the_papers_schedules(paper):
    found = {(each.dataset, each.rule, each.what): each for each in costs(paper, {})}
    assert found["cub", "train", "dmgan"].steps == 3 * 531_000  # 600 epochs of 885 steps, three seeds
    assert found["cub", "train", "attngan"].steps == 3 * 600 * 442
    assert found["coco", "train", "dmgan"].steps == 3 * 120 * 8_278
    assert found["coco", "train", "attngan"].steps == 3 * 120 * 5_913
    assert found["cub", "pretrain", "DAMSM"].steps == 200 * 184
    assert found["coco", "pretrain", "DAMSM"].steps == 100 * 1_724  # its own epochs
    assert found["cub", "sample", "dmgan"].images == 90_000
    evaluated = found["cub", "evaluate", "5 Inception passes an image"]  # four rungs and the DAMSM
    shown = 2 * 90_000 + 2 * 1_466 + 2 * 2_933 + 1_000 + 2_933  # models, control rows, reference
    assert evaluated.images == 5 * shown and evaluated.jobs == 8
    assert found["coco", "prepare", "coco"].images == 82_783 + 40_504
    assert 3.2e9 < found["cub", "prepare", "cub"].disk < 3.6e9  # benchmarks.preparing wrote 3.4 GB


def test_a_species_classifier_costs_where_its_rung_is_asked_for(paper):
    assert not [each for each in costs(paper, {}) if each.rule == "classifier"]
    with_species = costs(paper | {"rungs": ["species"], "classifier": {}}, {})
    assert [each.jobs for each in with_species if each.rule == "classifier"] == [1, 1]


def test_hours_are_measured_where_they_were_and_extrapolated_where_operations_were_counted(paper, tmp_path):
    network = network_of("train", paper, "cub", "dmgan")
    row = ("a card", "train", network, 10, 50, 240, 700, "float32", "wall time", "2026-01-01")
    rates = read_rates(write_rates(tmp_path / "rates.csv", row))
    measured = rates["a card (float32, over wall time)"]
    cost = next(each for each in costs(paper, {network: 7e8}) if (each.rule, each.network) == ("train", network))
    assert cost.images == 15_930_000 and cost.disk == 2.1e9
    assert hours(cost, measured) == pytest.approx(88.5)  # 15.93 million images at 50 a second
    assert extrapolated(cost, rates.values(), 40.0) == pytest.approx(26.55)  # 240 GFLOP each at 40 TFLOP/s
    assert hours(cost._replace(network="another"), measured) is None
    assert extrapolated(cost._replace(network="another"), rates.values(), 40.0) is None


def test_plan_says_what_it_rests_on(tmp_path, capsys, paper):
    network = network_of("train", paper, "cub", "dmgan")
    row = ("a card", "train", network, 10, 50, 240, 700, "float32", "wall time", "2026-01-01")
    rates = write_rates(tmp_path / "rates.csv", row)
    assert main(["plan", "--configfile", str(PAPER), "--rates", str(rates)]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("cub") and "train" in line and " dmgan" in line)
    assert line.split() == ["cub", "train", "dmgan", "3", "1,593,000", "15,930,000", "88.5", "26.6", "2.1"]
    assert "[1] measured on a card (float32, over wall time)" in said
    assert "[2] extrapolated" in said and "not a measurement" in said
    other = next(line for line in said.splitlines() if line.startswith("coco") and "pretrain" in line)
    assert other.split()[-3:] == ["?", "?", "-"]


def test_images_are_counted_as_prepared_drawn_or_published(data, tmp_path):
    assert image_counts("birds", {"num_species": 8, "images_per_species": 4}, tmp_path) == (24, 8)
    assert image_counts("coco", {"source": "coco", "year": "2017"}, tmp_path) == (118_287, 5_000)
    shutil.copytree(data, tmp_path / "data" / "coco")
    assert image_counts("coco", {"source": "coco"}, tmp_path) == (24, 8)


def test_bad_input_of_the_plan_is_named(tmp_path):
    with pytest.raises(UserError, match="no.yaml: cannot be read"):
        read_configuration(tmp_path / "no.yaml")
    (tmp_path / "bad.yaml").write_text("datasets: [")
    with pytest.raises(UserError, match="bad.yaml: is not YAML"):
        read_configuration(tmp_path / "bad.yaml")
    config = yaml.safe_load(PAPER.read_text())
    del config["datasets"]["cub"]["root"]
    (tmp_path / "rootless.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="datasets.cub: 'root' is a required property"):
        read_configuration(tmp_path / "rootless.yaml")
    with pytest.raises(UserError, match="rates.csv: is no table of rates .*; make it: python -m benchmarks.rates"):
        read_rates(tmp_path / "rates.csv")
    with pytest.raises(UserError, match="is no table of rates"):
        read_rates(write_rates(tmp_path / "rates.csv", ("a card", "train")))
