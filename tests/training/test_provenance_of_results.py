"""Every result of a small pipeline says what made it, and what that cost."""

import pytest

from dmgan.__main__ import build_parser
from dmgan.commands import checklist, claims, generate, prepare, tables
from dmgan.data.sources.table import SOURCES
from dmgan.report.checklist import YES, checklist_items
from dmgan.storage.files import file_sha256, read_json

ENTRIES = {"commit", "dirty", "command", "versions", "machine", "cost"}
COST = {"device", "devices", "seconds", "device_hours", "peak_memory"}
TRAINED = ("run_folder", "damsm_folder", "classifier_folder", "captioner_folder", "attributes_folder", "imported")


def assert_complete(content: dict) -> None:
    """Raise unless the provenance of a result has every entry."""
    made = content["provenance"]
    assert made.keys() == ENTRIES and made["cost"].keys() == COST
    assert made["cost"]["seconds"] > 0 and made["cost"]["peak_memory"]["ram_bytes"] > 0
    assert made["command"][:3] == ["python", "-m", "dmgan"] and made["versions"]["torch"]


@pytest.mark.parametrize("name", TRAINED)
def test_options_of_every_trained_or_imported_network(name, request):
    assert_complete(read_json(request.getfixturevalue(name) / "options.json", ""))


@pytest.mark.parametrize("name", ["images/manifest.json", "metrics.json"])
def test_images_and_metrics(name, measured_run):
    assert_complete(read_json(measured_run / name, ""))


def run(module, *words: object) -> None:
    """Run a subcommand's module with these flags."""
    name = module.__name__.rpartition(".")[2]
    module.run(build_parser(name).parse_args([name, *map(str, words)]))


def test_prepared_data_tables_and_checklist(measured_run, data, tmp_path):
    run(prepare, "--out", tmp_path / "data/few", "--num-species", 4, "--images-per-species", 1, "--image-size", 32)
    run(tables, "--metrics", measured_run / "metrics.json", "--out", tmp_path / "tables")
    run(checklist, "--metrics", measured_run / "metrics.json", "--data", data, "--out", tmp_path / "report")
    run(claims, "--metrics", measured_run / "metrics.json", "--out", tmp_path / "tables")
    for path in ("data/few", "tables/tables", "tables/claims", "report/checklist"):
        assert_complete(read_json(tmp_path / f"{path}.provenance.json", ""))
    made_from = read_json(tmp_path / "tables/tables.provenance.json", "")["made_from"]
    assert [(tmp_path / "tables" / each).resolve() for each in made_from] == [measured_run / "metrics.json"]
    assert {"checklist.md", "CITATION.bib", "CITATION.cff"} < {each.name for each in (tmp_path / "report").iterdir()}


def test_images_of_own_captions(run_folder, tmp_path):
    words = ["--run", run_folder, "--caption", "a red bird", "--out", tmp_path / "own", "--threads", 1]
    run(generate, *words, "--device", "cpu")
    written = read_json(tmp_path / "own" / "captions.json", "")
    assert_complete(written)
    assert written["generator_sha256"] == file_sha256(run_folder / "generator.safetensors")


def test_the_checklist_answers_from_the_facts(measured_run, data):
    items = {each.question: each for each in checklist_items([measured_run / "metrics.json"], data)}
    described = read_json(data / "dataset.json", "")
    splits = items["The details of train, validation and test splits?"]
    assert f"{described['classes']['train']} training and" in splits.facts and "none is held out" in splits.facts
    assert items["The exact number of training and evaluation runs?"].facts == "Trainings: dmgan 1."
    assert "one seed of training only" in items["Central tendency and variation?"].facts
    assert items["Central tendency and variation?"].answer != YES
    cost = items["The average run time, or the energy cost?"]
    assert cost.answer == YES and cost.facts.startswith("1 trainings, ")
    assert "DM-GAN; equations" in items["A clear description of the models?"].facts
    assert list(SOURCES)[0] in items["A link to a downloadable version?"].facts
