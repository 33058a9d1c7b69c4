"""Released weights in the workflow: import, sampling, evaluation, and their row in the tables."""

import json
import shutil
from pathlib import Path

import pytest

from dmgan.report.tables.render import write_tables
from dmgan.storage.seals import write_sealed_json
from tests.project import copy_of_project, run
from tests.reading import read_csv
from tests.workflow.configurations import planned_jobs, read_config, write_config

pytestmark = pytest.mark.slow


def test_released_weights_are_imported_sampled_and_evaluated(
    released, data, classifier_folder, attributes_folder, tmp_path
):
    """The data set and the classifiers exist already."""
    project = copy_of_project(tmp_path / "project")
    shutil.copytree(data, project / "results" / "data" / "synthbirds")
    shutil.copytree(classifier_folder, project / "results" / "synthbirds" / "species")
    shutil.copytree(attributes_folder, project / "results" / "synthbirds" / "attributes")
    config = read_config("config.yaml") | {"num_images": 20}
    del config["held_out_damsm"]
    block = {
        "model": "dmgan",
        "dataset": "synthbirds",
        **{role: str(path) for role, path in released._asdict().items()},
    }
    config["imported"] = {"official": block | {"word_mask": "released"}}
    path = write_config(tmp_path / "imported.yaml", config)

    jobs = planned_jobs(project, path)
    own = {rule: count for rule, count in jobs.items() if "import" in rule}
    assert own == {
        "import_weights": 1, "sample_imported": 1, "evaluate_imported": 1, "evaluate_controls_imported": 1,
        "tables_imported": 1,
    }  # fmt: skip

    target = "results/synthbirds/official/imported/metrics.json"
    done = run("snakemake", target, "--cores", "2", "--rerun-triggers", "mtime", "--configfile", path, folder=project)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    content = json.loads((project / target).read_text())
    subject = content["subject"]
    assert subject["name"] == "dmgan" and subject["seed"] is None and subject["imported"] is True
    assert content["inputs"]["variant"] == {"word_mask": "released"}
    protocol = content["metrics"]["R-precision(released DAMSM)"]["protocol"]
    assert (
        protocol["feature_network"] == "DAMSM, the released one (imported)" and "own vocabulary" in protocol["captions"]
    )
    trained = json.loads(json.dumps(content)) | {"subject": subject | {"seed": 0, "imported": False}}
    check_tables(project / target, trained, tmp_path)


def check_tables(imported_metrics: Path, trained: dict, folder: Path) -> None:
    """Raise unless an imported model has a row of its own, and no column with numbers of another scorer."""
    write_sealed_json(folder / "trained.json", trained)
    write_tables([imported_metrics, folder / "trained.json"], folder / "tables")
    for number in (1, 2, 3):
        table = read_csv(folder / "tables" / f"table{number}.csv")
        rows = [row for row in table if row["method"] == "DM-GAN (released weights)"]
        assert rows and all(row["value"] and row["file"] == str(imported_metrics) for row in rows)
    trained["metrics"]["R-precision(training DAMSM)"] = trained["metrics"].pop("R-precision(released DAMSM)")
    write_sealed_json(folder / "trained.json", trained)
    write_tables([imported_metrics, folder / "trained.json"], folder / "tables")
    table = read_csv(folder / "tables" / "table2.csv")
    scored = {(row["method"], row["scorer"]): row for row in table if row["metric"] == "R-precision"}
    assert scored["DM-GAN (released weights)", "released DAMSM"]["value"]
    assert scored["DM-GAN (released weights)", "training DAMSM"]["note"] == "not measured"
    assert scored["DM-GAN", "released DAMSM"]["note"] == "not measured"


def test_an_imported_model_of_an_unknown_data_set_is_refused(tmp_path):
    config = read_config("config.yaml")
    files = dict.fromkeys(["generator", "text_encoder", "image_encoder", "captions_pickle"], "x.pth")
    config["imported"] = {"official": {"model": "dmgan", "dataset": "bird", **files}}
    dry = run("snakemake", "--dry-run", "--configfile", write_config(tmp_path / "config.yaml", config))
    assert dry.returncode == 1
    assert "imported.official.dataset: bird is not a data set of this file; add it under datasets" in dry.stderr
