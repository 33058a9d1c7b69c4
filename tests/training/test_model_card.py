"""Model cards: valid metadata for a hub, the facts of the run, and an update by every evaluation."""

import json
import shutil

import pytest
from huggingface_hub import ModelCard

from dmgan.errors import UserError
from dmgan.report.verify import OK, verify
from dmgan.storage.files import read_json
from dmgan.training.model_card import CARD, model_card


def test_a_finished_training_has_a_card(run_folder, dataset):
    card = ModelCard.load(run_folder / CARD)
    about = card.data.to_dict()
    assert about["license"] == "mit" and about["tags"] == ["text-to-image", "gan", "dmgan"]
    assert about["datasets"] == [dataset.name_of_set] and "model-index" not in about
    images = dataset.description["images"]
    assert f"{images['train']} training and {images['test']} test images of the source `synthbirds`" in card.text
    assert "| `batch_size` | 4 |" in card.text and "Zhu et al.: DM-GAN" in card.text and "Not measured yet" in card.text
    assert f'dmgan.load("{run_folder}")' in card.text and "@inproceedings{zhu2019dmgan," in card.text


def test_an_evaluation_adds_its_metrics_to_the_card(measured_run):
    card = ModelCard.load(measured_run / CARD)
    written = read_json(measured_run / "metrics.json", "")["metrics"]
    results = {each.metric_name: each for each in card.data.eval_results}
    assert results.keys() == written.keys()
    fid = results["FID(species)"]
    assert (fid.metric_type, fid.metric_value) == ("fid", written["FID(species)"]["value"])
    assert fid.verified is False and fid.task_type == "text-to-image" and fid.dataset_split == "test"
    assert "| FID(species) | " in card.text and "all real test images" in card.text
    assert "Not measured yet" not in card.text


def test_verification_accepts_the_card(measured_run):
    findings = list(verify(measured_run.parents[2]))
    assert all(each.state == OK for each in findings if each.path.is_relative_to(measured_run)), findings


def test_the_metrics_of_other_weights_are_left_out(measured_run, run_folder, tmp_path):
    run = shutil.copytree(measured_run, tmp_path / "seed0")
    content = (run / "metrics.json").read_text(encoding="utf-8")
    sha256 = read_json(run / "metrics.json", "")["inputs"]["generator_sha256"]
    (run / "metrics.json").write_text(content.replace(sha256, "0" * 64))
    assert "Not measured yet" in model_card(run)
    (run / "metrics.json").write_text("{")
    assert "Not measured yet" in model_card(run)


def test_a_damaged_metrics_json_is_named_and_left_out(run_folder, tmp_path, capsys):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text("{", encoding="utf-8")
    assert "Not measured yet" in model_card(tmp_path / "run")
    printed = "".join(capsys.readouterr())
    assert "metrics.json: is not valid JSON" in printed and "the model card leaves its metrics out" in printed


def test_imported_weights_have_a_card_of_their_own(imported):
    card = ModelCard.load(imported / CARD)
    assert card.data.license == "other" and card.data.to_dict()["license_name"] == "terms-of-the-training-images"
    assert "Not trained here: imported from" in card.text and "`generator_lr`" not in card.text


def test_a_damaged_run_is_refused(tmp_path):
    (tmp_path / "options.json").write_text("{}")
    with pytest.raises(UserError, match="was not written by training"):
        model_card(tmp_path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content.update(inputs=[]), "inputs is not an object"),
        (lambda content: content["subject"].pop("dataset"), "no entry subject.dataset"),
        (lambda content: content["metrics"]["FID(species)"].update(value=float("nan")), "value is not a finite number"),
        (lambda content: content["metrics"]["FID(species)"].update(interval=[]), "an interval has not two ends"),
    ],
    ids=["inputs", "subject", "NaN", "interval"],
)
def test_a_metrics_json_with_entries_of_another_type_is_left_out(damage, reason, measured_run, tmp_path, capsys):
    run = shutil.copytree(measured_run, tmp_path / "seed0")
    content = read_json(run / "metrics.json", "")
    damage(content)
    del content["content_sha256"]  # an altered file is refused before its entries are read
    (run / "metrics.json").write_text(json.dumps(content))
    assert "Not measured yet" in model_card(run)
    assert f"{reason}); evaluate again; the model card leaves its metrics out" in capsys.readouterr().err
