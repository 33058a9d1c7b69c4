"""Tables say which weights of a training every row shows."""

import json

from dmgan.report.results import read_evaluation
from dmgan.report.tables.comparisons import write_comparisons
from dmgan.report.tables.render import write_tables
from dmgan.report.tables.weights import weights_of
from tests.reading import read_csv
from tests.report.made_metrics import read_all
from tests.written_evaluations import write_evaluation

LAST = {"rule": "last", "step": 800}
RULE = "best of 8 snapshots by FID(species) on validation images"


def best(step: int) -> dict[str, object]:
    return {"rule": "best", "step": step, "metric": "FID(species)", "value": 3.5, "snapshots": 8}


def selected(path, selection):
    """Write the selection into a metrics.json, as `evaluate` does, and return its path."""
    content = json.loads(path.read_text())
    content["subject"]["selection"] = selection
    path.write_text(json.dumps(content))
    return path


def test_tables_name_the_rule_and_the_step_of_every_row(write_metrics, tmp_path):
    files = [
        selected(write_metrics("dmgan", 0), best(1200)),
        selected(write_metrics("dmgan", 1), best(400)),
        selected(write_metrics("attngan", 0), LAST),
        selected(write_metrics("kvmgan", 0), LAST),
    ]
    write_tables(files, tmp_path)
    note = (
        f"Weights of this run's models. last step: AttnGAN, KVM-GAN; {RULE} (steps 1,200, 400): DM-GAN. Validation "
        "images are held out of the training classes; none is a test image."
    )
    assert note in read_all(tmp_path, "table2")
    rows = {row["method"]: row["weights"] for row in read_csv(tmp_path / "table2.csv") if row["source"] == "this run"}
    assert rows["DM-GAN"] == f"{RULE} (steps 1,200, 400)" and rows["KVM-GAN"] == "last step"
    assert rows["Real test images"] == ""
    published = [row for row in read_csv(tmp_path / "table2.csv") if row["source"] != "this run"]
    assert published and {row["weights"] for row in published} == {""}


def test_tables_without_selection_do_not_speak_of_validation(write_metrics, tmp_path):
    write_tables([selected(write_metrics("dmgan"), LAST)], tmp_path)
    text = read_all(tmp_path, "table2")
    assert "Weights of this run's models. last step: DM-GAN." in text and "alidation images" not in text


def test_seeds_of_different_rules_and_released_weights(write_metrics):
    paths = [selected(write_metrics("dmgan", 0), LAST), selected(write_metrics("dmgan", 1), best(400))]
    assert weights_of([read_evaluation(path) for path in paths]) == f"last step; {RULE} (step 400)"
    released = read_evaluation(write_metrics("attngan"))._replace(name="attngan (released weights)")
    assert weights_of([released]) == "as released"


def test_comparisons_name_the_rules(tmp_path):
    files = [
        selected(write_evaluation(tmp_path, "dmgan", 0.6), best(400)),
        selected(write_evaluation(tmp_path, "attngan", 0.4), LAST),
    ]
    write_comparisons(files, tmp_path, 0)
    assert f"{RULE} (step 400): DM-GAN; last step: AttnGAN" in read_all(tmp_path, "comparisons")
