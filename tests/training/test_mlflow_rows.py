"""A model's row in MLflow: options, curves, images and scores of its training and its evaluation."""

import dataclasses

import mlflow
import pytest

from dmgan.data.dataset import PreparedDataset
from dmgan.evaluation.evaluate import evaluate, evaluate_controls
from dmgan.models.colours import OTHER, colour_of
from dmgan.options import PLAIN_ENGINE, DamsmSettings, EvaluationOptions, TrainingSettings
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.storage.files import file_sha256, read_json
from dmgan.training.mlflow_database import CONTROLS, GENERATORS, NETWORKS, create_database
from dmgan.training.pretrain_damsm import pretrain
from dmgan.training.train import train
from tests.conftest import ARCHITECTURE, CPU, DAMSM, TRAINING

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mirrored(training_inputs, networks, tmp_path_factory):
    """A folder with a database, in which a model was trained and evaluated, and a control row."""
    folder = tmp_path_factory.mktemp("mirrored")
    results = folder / "results"
    uri = f"sqlite:///{results}/mlflow.db"
    results.mkdir()
    create_database(uri, results / "mlflow")
    run = results / "dmgan" / "seed0"
    training = dataclasses.replace(TRAINING, epochs=4)
    train("dmgan", training_inputs, run, TrainingSettings(ARCHITECTURE, training, engine=PLAIN_ENGINE), 0, CPU, uri)
    pretrain(training_inputs.data, results / "damsm", DamsmSettings(DAMSM), 0, CPU, uri)
    sample_test_captions(run, training_inputs.data, run / "images", SampleRequest(24), CPU)
    measured = {"data": training_inputs.data, "network_files": networks, "reference": results / "reference"}
    measured |= {"options": EvaluationOptions(neighbours=2), "device": CPU, "mlflow": uri}
    evaluate(images=run / "images", out=run / "metrics.json", **measured)
    with pytest.MonkeyPatch.context() as patch:  # the test set has eight images
        for module in ("evaluate", "statistics.folds", "statistics.manifolds"):
            patch.setattr(f"dmgan.evaluation.{module}.FOLDS", 2)
        evaluate_controls(controls=["noise"], out=results / "controls", **measured)
    return results


def rows(results, experiment: str) -> list:
    client = mlflow.MlflowClient(f"sqlite:///{results}/mlflow.db")
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_options_and_scores_share_a_row(mirrored, training_inputs):
    (row,) = rows(mirrored, GENERATORS)
    name = PreparedDataset(training_inputs.data).name_of_set
    assert row.info.run_name == f"{name} dmgan seed0" and row.info.status == "FINISHED"
    assert row.data.params["epochs"] == "4" and row.data.params["model"] == "dmgan"
    values = read_json(mirrored / "dmgan/seed0/metrics.json", "")["metrics"]
    assert row.data.metrics["FID/species"] == values["FID(species)"]["value"]
    assert {"generator/adversarial", "system/cpu_utilization_percentage"} <= row.data.metrics.keys()
    assert row.data.tags["mlflow.runColor"] == colour_of("dmgan") and row.data.tags["images"] == "24"


def test_images_are_logged_by_key_and_step(mirrored):
    (row,) = rows(mirrored, GENERATORS)
    client = mlflow.MlflowClient(f"sqlite:///{mirrored}/mlflow.db")
    found = [each.path.split("+") for each in client.list_artifacts(row.info.run_id, "images") if "png" in each.path]
    steps = {key: sorted(int(each[2]) for each in found if each[0] == f"images/{key}") for key in ("generated", "real")}
    assert len(steps["generated"]) == 11 and steps["generated"][::10] == [0, 24] and steps["real"] == [0]
    assert {each[0] for each in found} == {f"images/{key}" for key in ("generated", "real", "stages", "test images")}


def test_controls_and_networks_have_experiments_of_their_own(mirrored):
    (control,) = rows(mirrored, CONTROLS)
    assert control.data.tags["model"] == "noise" and control.data.tags["mlflow.runColor"] == OTHER
    (encoders,) = rows(mirrored, NETWORKS)
    curves = {key for key in encoders.data.metrics if not key.startswith("system/")}
    assert curves and all(key.startswith("damsm/") for key in curves - {"r_precision"})


def test_images_logged_while_training_change_no_bit(mirrored, training_inputs, tmp_path):
    training = dataclasses.replace(TRAINING, epochs=4)
    settings = TrainingSettings(ARCHITECTURE, training, engine=PLAIN_ENGINE)
    train("dmgan", training_inputs, tmp_path / "run", settings, 0, CPU)
    for name in ("generator.safetensors", "history.csv"):
        assert file_sha256(tmp_path / "run" / name) == file_sha256(mirrored / "dmgan/seed0" / name)


def test_artefacts_are_found_after_the_results_were_moved(mirrored, tmp_path):
    moved = mirrored.rename(tmp_path / "moved")
    try:
        create_database(f"sqlite:///{moved}/mlflow.db", moved / "mlflow")
        (row,) = rows(moved, GENERATORS)
        client = mlflow.MlflowClient(f"sqlite:///{moved}/mlflow.db")
        assert client.list_artifacts(row.info.run_id, "images")
        copy = client.download_artifacts(row.info.run_id, "options.json", str(tmp_path))
        assert read_json(copy, "")["model"] == "dmgan"
        assert client.get_experiment_by_name(CONTROLS).artifact_location == (moved / "mlflow").as_uri()
    finally:
        moved.rename(mirrored)
        create_database(f"sqlite:///{mirrored}/mlflow.db", mirrored / "mlflow")
