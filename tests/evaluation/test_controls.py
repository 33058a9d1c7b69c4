"""Control rows: the images and captions of each row, and which encoder the adversarial row deceives."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dmgan.errors import UserError
from dmgan.evaluation import controls
from dmgan.evaluation.controls import (
    CONTROLS,
    NoiseImages,
    adversarial_images,
    control_images,
    nearest_training_images,
)
from dmgan.evaluation.evaluate import evaluate_controls
from dmgan.evaluation.statistics import folds, uncertainty
from dmgan.options import EvaluationOptions
from dmgan.text.damsm import Damsm
from tests.conftest import CPU

TRAINING, HELD_OUT = "R-precision(training DAMSM)", "R-precision(held-out DAMSM)"


@pytest.fixture(scope="module")
def rows(data, network_files, tmp_path_factory):
    """metrics.json of every control row, by its name, and the folder."""
    folder = tmp_path_factory.mktemp("controls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dmgan.evaluation.evaluate.FOLDS", 2)
        patch.setattr(folds, "FOLDS", 2)
        patch.setattr("dmgan.evaluation.statistics.manifolds.FOLDS", 2)
        patch.setattr(uncertainty, "RESAMPLES", 100)
        evaluate_controls(
            controls=CONTROLS, data=data, network_files=network_files._replace(clip=None), reference=None, out=folder,
            options=EvaluationOptions(neighbours=2), device=CPU,
        )  # fmt: skip
    return {name: json.loads((folder / name / "metrics.json").read_text()) for name in CONTROLS}, folder


def test_every_control_row_has_every_metric(rows, dataset):
    content, _ = rows
    test = len(dataset.indices("test"))
    for name, row in content.items():
        assert row["subject"] == {
            "kind": "control", "name": name, "seed": None, "dataset": "synthbirds", "image_size": 32,
            "num_images": test // 2 if name in ("real", "shuffled") else test,
        }  # fmt: skip
        assert list(row["metrics"]) == list(content["real"]["metrics"])
        assert row["metrics"]["diversity(species)"]["num_images"] == row["subject"]["num_images"]
        undefined = {key for key, metric in row["metrics"].items() if metric is None}
        no_truth = name in ("noise", "adversarial")  # nothing is stored of what they show
        assert undefined == ({"SOA-C(truth)", "SOA-I(truth)"} if no_truth else set())


def test_the_adversarial_row_deceives_the_encoder_it_was_made_against(rows):
    content, folder = rows
    value = {name: row["metrics"][TRAINING]["value"] for name, row in content.items()}
    assert value["adversarial"] > 70 > value["noise"]
    assert content["adversarial"]["metrics"][HELD_OUT]["value"] < value["adversarial"]
    with Image.open(folder / "adversarial" / "images" / "000000.png") as image:
        assert np.asarray(image).std() > 50  # still noise


def test_adversarial_images_are_reused_and_made_again_for_another_encoder(rows, dataset, damsm_folder, held_out_folder):
    _, folder = rows
    first = folder / "adversarial" / "images" / "000000.png"
    before = first.stat().st_mtime_ns
    arguments = (32, EvaluationOptions(), folder / "adversarial", CPU)
    control_images("adversarial", dataset, Damsm.read(damsm_folder), *arguments)
    assert first.stat().st_mtime_ns == before
    control_images("adversarial", dataset, Damsm.read(held_out_folder), *arguments)
    assert first.stat().st_mtime_ns != before


@pytest.fixture
def control(dataset, damsm_folder, tmp_path):
    encoders = Damsm.read(damsm_folder)
    return lambda name: control_images(name, dataset, encoders, 32, EvaluationOptions(), tmp_path, CPU)


def test_real_halves_share_no_image(control, dataset):
    real = control("real")
    assert not set(real.reference) & set(real.test_images)
    assert set(real.reference) | set(real.test_images) == set(dataset.indices("test"))


def test_shuffled_captions_are_of_other_classes(control, dataset):
    real, shuffled = control("real"), control("shuffled")
    for number in range(len(real)):
        assert np.array_equal(real.read(number), shuffled.read(number))
        assert dataset.class_ids[real.test_images[number]] != dataset.class_ids[shuffled.test_images[number]]


def test_noise_is_noise(control):
    noise = control("noise")
    assert np.unique(noise.read(0)).size > 200 and not np.array_equal(noise.read(0), noise.read(1))


def test_nearest_images_are_those_of_the_nearest_captions(control, dataset, damsm_folder):
    encoders = Damsm.read(damsm_folder)
    train = dataset.indices("train")
    own = [dataset.tokens(image, 2) for image in train]
    assert nearest_training_images(dataset, encoders, dataset.tokens, own).tolist() == train.tolist()
    nearest = control("nearest")
    assert set(nearest.read.indices) <= set(train) and set(nearest.test_images) == set(dataset.indices("test"))


def test_the_number_of_adversarial_images_is_bounded(dataset, damsm_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(controls, "ADVERSARIAL_STEPS", 1)
    few = SimpleNamespace(seed=100, adversarial_images=5)
    adversarial = control_images("adversarial", dataset, Damsm.read(damsm_folder), 32, few, tmp_path, CPU)
    assert len(adversarial) == 5 and len(set(adversarial.test_images)) == 5
    assert adversarial.reference.tolist() == dataset.indices("test").tolist()


def test_an_unknown_control_is_refused(control):
    with pytest.raises(UserError, match="control 'blank': unknown; known controls are real, "):
        control("blank")


def test_the_adversarial_row_records_how_it_was_made(rows):
    inputs = rows[0]["adversarial"]["inputs"]
    assert (inputs["steps"], inputs["learning_rate"]) == (controls.ADVERSARIAL_STEPS, controls.ADVERSARIAL_LR)


def test_control_images_replace_their_own_folder_and_no_other(dataset, damsm_folder, tmp_path, capsys):
    encoders, folder = Damsm.read(damsm_folder), tmp_path / "images"

    def made(seed: int) -> None:
        tokens = [dataset.tokens(0, 0), dataset.tokens(1, 0)]
        adversarial_images(folder, encoders, tokens, NoiseImages(seed, 32), dataset.sha256, CPU)

    made(0)
    first = (folder / "000001.png").read_bytes()
    (folder / "000001.png").write_bytes(first[:-20])
    made(0)
    assert (folder / "000001.png").read_bytes() == first
    assert "images: its images changed after they were made; making them again" in capsys.readouterr().err
    made(1)
    assert (folder / "000001.png").read_bytes() != first
    (folder / "notes.md").write_text("mine")
    with pytest.raises(UserError, match="images: holds notes.md, which controls did not write"):
        made(0)
    assert (folder / "notes.md").exists()
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="manifest.json: is damaged .its content is not an object.; delete"):
        made(0)
