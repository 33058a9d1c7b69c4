"""Snapshots measured on validation images during training, and the selection of weights."""

import dataclasses
import re
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import torch

from dmgan.__main__ import main
from dmgan.data.batches import TrainingBatches
from dmgan.data.dataset import PreparedDataset
from dmgan.data.validation import cut_validation_split
from dmgan.errors import UserError
from dmgan.evaluation.validation import Validator
from dmgan.options import EngineOptions, TrainingOptions, TrainingSettings
from dmgan.sampling.trained_model import load_run
from dmgan.storage.files import file_sha256, read_json
from dmgan.training.mlflow_database import GENERATORS, create_database
from dmgan.training.snapshots import Snapshots
from dmgan.training.train import train
from tests.conftest import ARCHITECTURE, CPU
from tests.reading import read_csv
from tests.training.short_runs import assert_equal_files, train_command
from tests.training.two_processes import torchrun
from tests.training.validated_runs import VALIDATED, train_validated

FID, HITS = "FID(species)", "R-precision(training DAMSM)"
SNAPSHOTS = [f"snapshots/step{step}.safetensors" for step in (3, 6, 8)]


@pytest.fixture(scope="module")
def validated(training_inputs, networks, tmp_path_factory):
    """A run of two epochs of 4 steps: of 24 training images 6 are held out."""
    return train_validated(training_inputs, networks, tmp_path_factory.mktemp("validated") / "seed0")


@pytest.fixture
def scripted(monkeypatch):
    """Return a function that replaces the measured FID by given values, in the order of the measurements."""

    def script(*values: float) -> None:
        given = iter(values)
        monkeypatch.setattr(Validator, "measure", lambda self, weights: {FID: next(given), HITS: 1.0})

    return script


def rows_without_seconds(folder) -> list[dict[str, str]]:
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in read_csv(folder / "validation.csv")
    ]


def test_a_run_measures_its_snapshots_and_its_last_step(validated):
    rows = read_csv(validated / "validation.csv")
    assert [int(row["step"]) for row in rows] == [3, 6, 8] and {row["images"] for row in rows} == {"6"}
    assert {FID, HITS, "attribute accuracy(attribute classifier)"} < set(rows[0])
    assert all(float(row["seconds"]) > 0 and float(row[FID]) > 0 for row in rows)
    assert len({row[FID] for row in rows}) == 3
    assert sorted(str(path.relative_to(validated)) for path in validated.glob("snapshots/*")) == SNAPSHOTS
    assert file_sha256(validated / SNAPSHOTS[-1]) == file_sha256(validated / "generator.safetensors")
    options = read_json(validated / "options.json", "")
    assert options["selection"] == {"rule": "last", "step": 8}
    assert options["validation"]["images"] == 6 and options["validation"]["of_training_images"] == 24
    classifier = options["validation"]["metrics"][FID]
    assert classifier["feature_network"] == "species-classifier" and classifier["feature_network_sha256"]


def test_measuring_does_not_change_the_training(validated, training_inputs, networks, tmp_path):
    rarely = dataclasses.replace(VALIDATED, evaluate_every=1000)
    other = train_validated(training_inputs, networks, tmp_path / "run", rarely)
    assert_equal_files(validated, other)
    assert rows_without_seconds(other) == rows_without_seconds(validated)[-1:]


def test_a_run_that_stops_resumes_to_the_same_bits_and_rows(
    validated, training_inputs, networks, tmp_path, monkeypatch
):
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 4)
    training = dataclasses.replace(VALIDATED, evaluate_every=2)
    whole = train_validated(training_inputs, networks, tmp_path / "whole", training)
    measured = []
    with monkeypatch.context() as patch:
        measure = Validator.measure

        def interrupted(self, weights):
            measured.append(weights.name)
            if weights.name == "step6.safetensors":
                raise KeyboardInterrupt
            return measure(self, weights)

        patch.setattr(Validator, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_validated(training_inputs, networks, tmp_path / "run", training)
    assert measured == ["step2.safetensors", "step4.safetensors", "step6.safetensors"]
    assert (tmp_path / "run" / "snapshots" / "step6.safetensors").exists()  # after the checkpoint of step 4
    assert read_checkpoint(tmp_path / "run")["step"] == 4
    run = train_validated(training_inputs, networks, tmp_path / "run", training)
    assert [int(row["step"]) for row in read_csv(run / "validation.csv")] == [2, 4, 6, 8]
    assert rows_without_seconds(run) == rows_without_seconds(whole)
    assert_equal_files(whole, run, *("generator.safetensors", "history.csv", *sorted(names_of_snapshots(whole))))


def test_a_longer_run_drops_the_last_step_of_the_shorter(training_inputs, networks, tmp_path):
    short = dataclasses.replace(VALIDATED, epochs=1)
    train_validated(training_inputs, networks, tmp_path / "run", short)
    assert [row["step"] for row in read_csv(tmp_path / "run" / "validation.csv")] == ["3", "4"]
    train_validated(training_inputs, networks, tmp_path / "run")
    assert [row["step"] for row in read_csv(tmp_path / "run" / "validation.csv")] == ["3", "6", "8"]
    assert sorted(names_of_snapshots(tmp_path / "run")) == SNAPSHOTS


def test_best_is_the_snapshot_with_the_lowest_fid(training_inputs, networks, tmp_path, scripted):
    scripted(3.0, 1.0, 2.0)
    run = train_validated(training_inputs, networks, tmp_path / "run", dataclasses.replace(VALIDATED, select="best"))
    assert file_sha256(run / "generator.safetensors") == file_sha256(run / "snapshots/step6.safetensors")
    assert read_json(run / "options.json", "")["selection"] == {
        "rule": "best", "step": 6, "metric": FID, "value": 1.0, "snapshots": 3
    }  # fmt: skip


@pytest.mark.parametrize(("values", "step"), [((1.0, 2.0, 1.0), 3), ((2.0, 1.0, 1.0), 6), ((3.0, 2.0, 1.0), 9)])
def test_of_equal_snapshots_the_earliest_is_the_best(values, step):
    snapshots = Snapshots.__new__(Snapshots)
    snapshots._validator = SimpleNamespace(criterion=FID)
    snapshots.rows = [{"step": 3 * number, FID: value} for number, value in enumerate(values, 1)]
    assert snapshots.best() == {"step": step, "metric": FID, "value": min(values), "snapshots": 3}


def test_the_log_states_the_cost(training_inputs, networks, tmp_path, scripted, capsys):
    scripted(3.0, 2.0, 1.0)
    run = train_validated(training_inputs, networks, tmp_path / "run")
    size = sum((run / name).stat().st_size for name in SNAPSHOTS)
    lines = capsys.readouterr().err
    said = re.search(r"6 of 24 training images are held out for validation; 3 measurements, (\S+) MB of snap", lines)
    assert float(said[1]) == pytest.approx(size / 1e6, rel=0.3, abs=0.06)
    assert re.search(r"3 measurements on validation images took \d+\.\d s", lines)


def test_a_finished_run_may_select_other_weights(training_inputs, networks, tmp_path, scripted, capsys):
    scripted(1.0, 2.0, 3.0)  # no more: nothing is trained or measured again
    train_validated(training_inputs, networks, tmp_path / "run")
    last = file_sha256(tmp_path / "run" / "generator.safetensors")
    best = dataclasses.replace(VALIDATED, select="best")
    train_validated(training_inputs, networks, tmp_path / "run", best)
    assert "all 8 steps are finished already" in capsys.readouterr().err
    assert file_sha256(tmp_path / "run" / "generator.safetensors") != last
    train_validated(training_inputs, networks, tmp_path / "run")
    assert file_sha256(tmp_path / "run" / "generator.safetensors") == last


def test_other_networks_measure_the_kept_snapshots_again(training_inputs, networks, tmp_path, scripted, capsys):
    scripted(*[1.0] * 3, *[2.0] * 3)
    train_validated(training_inputs, networks, tmp_path / "run")
    train_validated(training_inputs, networks._replace(attributes=None), tmp_path / "run")
    assert "the validation networks changed; measuring 3 snapshots again" in capsys.readouterr().err
    assert [row[FID] for row in read_csv(tmp_path / "run" / "validation.csv")] == ["2.0"] * 3


def test_weights_that_are_not_finite_are_not_measured_and_stop_the_run(
    training_inputs, networks, tmp_path, scripted, monkeypatch
):
    scripted()  # nothing is measured
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 4)
    diverging = dataclasses.replace(VALIDATED, generator_lr=1e30)
    with pytest.raises(UserError, match="the last good checkpoint is kept, and failure.json records the step"):
        train_validated(training_inputs, networks, tmp_path / "run", diverging)
    assert (tmp_path / "run" / "failure.json").exists() and not (tmp_path / "run" / "snapshots").exists()


def test_validation_images_are_in_no_batch_and_are_the_same_for_every_seed(dataset):
    training, validation = cut_validation_split(dataset, 6)
    held_out = set(validation.indices("test").tolist())
    assert len(held_out) == 6 and held_out < set(dataset.indices("train").tolist())
    assert not held_out & set(training.indices("train").tolist())
    assert np.array_equal(training.indices("test"), dataset.indices("test"))
    for seed in (0, 1):
        batches = TrainingBatches(training, [32], 6, 12, seed)
        assert batches.steps_per_epoch == 3
        shown = {int(row) for step in range(30) for row in batches.rows(step)}
        assert shown == set(training.indices("train").tolist())
    assert set(cut_validation_split(dataset, 4).validation.indices("test")) < held_out
    assert len(dataset.indices("train")) == 24  # the data set itself is not changed


@pytest.mark.parametrize("images", [0, 1, 24])
def test_a_split_without_images_on_either_side_is_refused(images, dataset):
    with pytest.raises(UserError, match=f"{images} of its 24 training images cannot be held out; set validation_im"):
        cut_validation_split(dataset, images)


def test_the_number_of_validation_images():
    assert TrainingOptions().held_out(5000) == 0
    assert TrainingOptions(evaluate_every=10).held_out(300) == 30
    assert TrainingOptions(evaluate_every=10).held_out(8855) == 500
    assert TrainingOptions(evaluate_every=10, validation_images=900).held_out(8855) == 900
    with pytest.raises(UserError, match="select best: needs evaluate_every above 0"):
        TrainingOptions(select="best")


def test_a_model_that_retrieves_has_no_validation_image_in_its_memory_bank(
    training_inputs, networks, dataset, tmp_path
):
    run = train_validated(training_inputs, networks, tmp_path / "run", name="mdsp")
    held_out = cut_validation_split(dataset, 6).validation.indices("test")
    assert len(read_csv(run / "validation.csv")) == 3
    assert not set(load_run(run, CPU).memory_bank.images) & set(held_out)


def test_captions_cached_for_one_run_serve_the_others(training_inputs, networks, tmp_path):
    """The cache holds the captions of held-out images too, so that its folder does not depend on the first run."""
    settings = TrainingSettings(ARCHITECTURE, VALIDATED, engine=EngineOptions(cache_captions=True))
    validator = Validator.read("dmgan", settings, training_inputs, networks, tmp_path, CPU)
    inputs = dataclasses.replace(training_inputs, validator=validator)
    train("dmgan", inputs, tmp_path / "run", settings, 0, CPU)
    (folder,) = training_inputs.damsm.glob("captions-*")
    captions = len(np.load(folder / "starts.npy")) - 1
    dataset = PreparedDataset(training_inputs.data)
    every = {
        dataset.tokens(image, number).tobytes()
        for image in dataset.indices("train")
        for number in range(dataset.caption_count(image))
        if len(dataset.tokens(image, number)) <= VALIDATED.max_words
    }
    assert captions == len(every)


def test_a_network_of_the_validation_is_refused_if_nothing_is_validated(training_inputs, capsys):
    words = ["train", "--model", "dmgan", "--data", str(training_inputs.data), "--damsm", str(training_inputs.damsm)]
    assert main([*words, "--out", "run", "--classifier", "species"]) == 1
    assert "--classifier species: is only read with --evaluate-every; leave it out" in capsys.readouterr().err


def names_of_snapshots(folder) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.glob("snapshots/*.safetensors")]


def logged(uri: str, metric: str) -> list[tuple[int, float]]:
    """Step and value of every point of a metric in the database's only run."""
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name(GENERATORS).experiment_id])
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric))


@pytest.mark.slow
def test_mlflow_has_one_point_for_each_measurement_of_a_resumed_run(training_inputs, networks, tmp_path, monkeypatch):
    uri, stops = f"sqlite:///{tmp_path}/mlflow.db", ["step8.safetensors"]
    create_database(uri, tmp_path / "artifacts")
    monkeypatch.setattr("dmgan.training.loop.ROW_EVERY", 4)

    def measure(self, weights):
        if weights.name in stops:
            raise KeyboardInterrupt
        return {FID: float(weights.stem.removeprefix("step")), HITS: 50.0}

    monkeypatch.setattr(Validator, "measure", measure)
    training = dataclasses.replace(VALIDATED, evaluate_every=2)
    with pytest.raises(KeyboardInterrupt):
        train_validated(training_inputs, networks, tmp_path / "run", training, mlflow=uri)
    assert logged(uri, "validation/FID/species") == [(2, 2.0), (4, 4.0), (6, 6.0)]  # the checkpoint is of step 4
    stops.clear()
    train_validated(training_inputs, networks, tmp_path / "run", training, mlflow=uri)
    assert logged(uri, "validation/FID/species") == [(2, 2.0), (4, 4.0), (6, 6.0), (8, 8.0)]
    assert logged(uri, "validation/R-precision/training DAMSM") == [(step, 50.0) for step in (2, 4, 6, 8)]
    assert [step for step, _ in logged(uri, "generator/adversarial")] == [4, 8]


@pytest.mark.slow
def test_the_main_process_of_two_measures(training_inputs, networks, tmp_path):
    command = train_command(training_inputs, tmp_path / "run", 2, threads=2)
    flags = ["--evaluate-every", 3, "--validation-images", 6, "--select", "best", "--classifier", networks.classifier]
    job = torchrun(*command, *flags)
    _, messages = job.communicate(timeout=300)
    assert job.returncode == 0, messages
    assert [row["step"] for row in read_csv(tmp_path / "run" / "validation.csv")] == ["3", "6", "8"]
    assert messages.count("on 6 validation images") == 3
    step = read_json(tmp_path / "run" / "options.json", "")["selection"]["step"]
    snapshot = tmp_path / "run" / f"snapshots/step{step}.safetensors"
    assert file_sha256(snapshot) == file_sha256(tmp_path / "run" / "generator.safetensors")


def read_checkpoint(folder) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)
