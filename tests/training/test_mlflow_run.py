"""MLflow: every job has one run, which it continues after an interruption; concurrent jobs share the database."""

import http.server
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest

from dmgan.training.mlflow_database import GENERATORS, create_database
from dmgan.training.mlflow_run import MlflowRun
from dmgan.training.system_metrics import SystemMetrics

pytestmark = pytest.mark.slow  # every test creates or writes a database

TAGS = {"stage": "train", "dataset": "synthbirds", "model": "dmgan", "seed": "0", "config": "abc", "commit": "def"}
ROWS = [{"step": step, "loss": 1.0 / step} for step in (20, 40, 60)]


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("mlflow_run")
    create_database(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    create_database(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")  # a second time changes nothing
    return f"sqlite:///{folder}/mlflow.db"


def runs(uri: str) -> list:
    client = mlflow.MlflowClient(uri)
    return client.search_runs([client.get_experiment_by_name(GENERATORS).experiment_id])


def steps(uri: str, run_id: str) -> list[int]:
    return [point.step for point in mlflow.MlflowClient(uri).get_metric_history(run_id, "generator/loss")]


def files_of(uri: str, run_id: str) -> tuple[set[str], int]:
    """Return the names of a run's artefacts, and the number of its images."""
    client = mlflow.MlflowClient(uri)
    pictures = [each for each in client.list_artifacts(run_id, "images") if each.path.endswith(".png")]
    return {each.path for each in client.list_artifacts(run_id)}, len(pictures)


def test_a_resumed_job_continues_its_mlflow_run(uri, tmp_path):
    killed = MlflowRun(uri, tmp_path, "dmgan seed0", TAGS, {"epochs": 8, "batch_size": 12})
    killed.log_history(ROWS[:2])
    killed.flush()  # the job is killed here
    resumed = MlflowRun(uri, tmp_path, "dmgan seed0", TAGS, {"epochs": 8, "batch_size": 12})
    resumed.log_history(ROWS[:1])  # the checkpoint was older than the last row
    resumed.log_history(ROWS[1:])
    resumed.log_scores({"FID": 10.0})
    resumed.log_image(np.zeros((8, 8, 3), np.uint8), "generated", 60)
    (tmp_path / "options.json").write_text("{}")
    resumed.log_file(tmp_path / "options.json")
    resumed.close()

    run = next(run for run in runs(uri) if run.info.run_name == "dmgan seed0")
    assert steps(uri, run.info.run_id) == [20, 40, 60]
    assert run.info.status == "FINISHED" and TAGS.items() <= run.data.tags.items()
    assert run.data.params == {"epochs": "8", "batch_size": "12"} and run.data.metrics["FID"] == 10.0
    assert files_of(uri, run.info.run_id) == ({"images", "options.json"}, 1)


def test_a_curve_is_sent_in_batches_of_whole_rows(uri, tmp_path, monkeypatch):
    sent = []

    def log_batch(self, run_id, metrics=(), **others):
        if metrics:
            sent.append([(point.step, point.key) for point in metrics])
        logged(self, run_id, metrics=metrics, **others)

    logged = mlflow.MlflowClient.log_batch
    killed = MlflowRun(uri, tmp_path, "now and then", TAGS, {})
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", log_batch)
    monkeypatch.setattr("dmgan.training.mlflow_run._POINTS", 5)
    monkeypatch.setattr(SystemMetrics, "read", lambda self: {})
    rows = [{"step": step, "loss": 1.0, "kl": 2.0} for step in range(1, 8)]
    for row in rows:
        killed.log_history([row])
    assert sent == [
        [(1, "generator/loss"), (1, "generator/kl")]
    ]  # the first row is sent, the others wait; the job is killed here
    resumed = MlflowRun(uri, tmp_path, "now and then", TAGS, {})
    resumed.log_history(rows[:5])  # from the checkpoint
    resumed.log_history(rows[5:])  # computed again
    resumed.close()
    assert [len(each) for each in sent[1:]] == [2, 2, 2, 2, 2, 2]
    run = next(run for run in runs(uri) if run.info.run_name == "now and then")
    assert steps(uri, run.info.run_id) == list(range(1, 8))


def test_other_options_start_another_run(uri, tmp_path):
    for config in ("one", "two"):
        MlflowRun(uri, tmp_path, "other options", TAGS | {"config": config}, {}).close()
    assert len([run for run in runs(uri) if run.info.run_name == "other options"]) == 2


def test_a_deleted_run_is_replaced_by_a_new_one(uri, tmp_path):
    MlflowRun(uri, tmp_path, "lost", TAGS, {}).close()
    lost = next(run for run in runs(uri) if run.info.run_name == "lost")
    mlflow.MlflowClient(uri).delete_run(lost.info.run_id)
    MlflowRun(uri, tmp_path, "lost", TAGS, {}).close()
    assert [run.info.run_id for run in runs(uri) if run.info.run_name == "lost"] != [lost.info.run_id]


def test_parallel_jobs_log_every_step(uri, tmp_path):
    code = """
import sys
from pathlib import Path
from dmgan.training.mlflow_run import MlflowRun
uri, folder = sys.argv[1:]
mlflow_run = MlflowRun(uri, Path(folder), "parallel", {"folder": folder}, {})
for step in range(1, 21):
    mlflow_run.log_history([{"step": step, "loss": float(step)}])
mlflow_run.close()
"""
    jobs = [subprocess.Popen([sys.executable, "-c", code, uri, str(tmp_path / str(i))]) for i in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    written = [run for run in runs(uri) if run.info.run_name == "parallel"]
    assert [steps(uri, run.info.run_id) for run in written] == [list(range(1, 21))] * 3


def test_no_uri_logs_nothing(tmp_path):
    mlflow_run = MlflowRun(None, tmp_path, "name", TAGS, {})
    mlflow_run.log_history(ROWS)
    mlflow_run.close()
    assert list(tmp_path.iterdir()) == []


def log_everything(uri: str, folder: Path, name: str) -> None:
    """Run a job's calls; `folder` holds options.json."""
    job = MlflowRun(uri, folder, name, TAGS, {"epochs": 8})
    for row in ROWS:
        job.log_history([row])
    job.log_scores({"FID": 10.0})
    job.log_image(np.zeros((8, 8, 3), np.uint8), "generated", 60)
    job.log_file(folder / "options.json")
    job.close()


def assert_complete(uri: str, name: str) -> None:
    (run,) = (run for run in runs(uri) if run.info.run_name == name)
    assert steps(uri, run.info.run_id) == [20, 40, 60]
    assert run.info.status == "FINISHED" and run.data.metrics["FID"] == 10.0
    assert files_of(uri, run.info.run_id) == ({"images", "options.json"}, 1)


def no_experiment(folder: Path) -> str:
    return f"sqlite:///{folder}/empty.db"


def damaged(folder: Path) -> str:
    (folder / "damaged.db").write_bytes(b"no database" * 1000)
    return f"sqlite:///{folder}/damaged.db"


def unreachable(folder: Path) -> str:
    return "http://127.0.0.1:9"  # the port refuses connections


@pytest.mark.parametrize("database", [no_experiment, damaged, unreachable])
def test_a_database_that_fails_costs_one_warning_and_the_next_run_sends_everything(database, uri, tmp_path, capfd):
    (tmp_path / "options.json").write_text("{}")
    broken = database(tmp_path)
    log_everything(broken, tmp_path, f"after {database.__name__}")
    warned = capfd.readouterr().err
    assert warned.count("the job continues") == 1 and warned.count("run the same command again") == 1
    log_everything(uri, tmp_path, f"after {database.__name__}")
    assert_complete(uri, f"after {database.__name__}")


def test_a_database_that_fails_for_a_while_gets_everything_later(uri, tmp_path, monkeypatch, capfd):
    (tmp_path / "options.json").write_text("{}")
    (tmp_path / "mlflow.json").write_text("{")  # damaged: a new run is made
    monkeypatch.setattr("dmgan.training.mlflow_run._SECONDS", 0.0)
    real, failing = mlflow.MlflowClient.log_batch, [True]

    def log_batch(self, *arguments, **options):
        if failing[0] and options.get("metrics"):
            raise mlflow.exceptions.MlflowException("database is locked")
        return real(self, *arguments, **options)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", log_batch)
    job = MlflowRun(uri, tmp_path, "for a while", TAGS, {})
    job.log_history(ROWS[:2])
    job.log_scores({"FID": 10.0})
    failing[0] = False
    job.log_history(ROWS[2:])  # within a minute of the failure: nothing is tried
    assert not steps(uri, job._run_id)
    job.log_image(np.zeros((8, 8, 3), np.uint8), "generated", 60)
    job.log_file(tmp_path / "options.json")
    job.close()
    assert_complete(uri, "for a while")
    said = capfd.readouterr().err
    assert said.count("database is locked; the job continues") == 1 and said.count("answers again") == 1


@pytest.mark.parametrize("content", [b"", b"no database" * 1000], ids=["emptied", "overwritten"])
def test_a_database_that_is_lost_meanwhile_costs_one_warning_and_no_traceback(content, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("dmgan.training.mlflow_run._SECONDS", 0.0)
    own = f"sqlite:///{tmp_path}/own.db"
    create_database(own, tmp_path / "artifacts")
    job = MlflowRun(own, tmp_path, "emptied", TAGS, {})
    capfd.readouterr()
    (tmp_path / "own.db").write_bytes(content)
    job.log_history(ROWS[:2])
    job.close()
    printed = capfd.readouterr().err
    assert printed.count("the job continues") == 1 and "Traceback" not in printed


def test_a_silent_server_costs_seconds_and_one_warning(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never answers
        started = time.monotonic()
        job = MlflowRun(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, "silent", TAGS, {})
        for row in ROWS:
            job.log_history([row])
        assert time.monotonic() - started < 20
    assert capfd.readouterr().err.count("the job continues") == 1


@pytest.mark.parametrize("answer", [b"<html>log in</html>", b'{"experiment": 5}', b"[]"], ids=["page", "type", "list"])
def test_a_server_that_answers_something_else_costs_one_warning(answer, tmp_path, capfd):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        job = MlflowRun(f"http://127.0.0.1:{server.server_port}", tmp_path, "other", TAGS, {})
        job.log_history(ROWS)
        server.shutdown()
    printed = capfd.readouterr().err
    assert printed.count("the job continues") == 1 and "Traceback" not in printed


def test_an_image_of_a_step_is_logged_once_though_the_step_is_computed_twice(uri, tmp_path):
    for _ in range(2):  # a killed job, and the one that resumes it
        job = MlflowRun(uri, tmp_path, "pictures", TAGS, {})
        for step in (10, 20):
            job.log_image(np.zeros((8, 8, 3), np.uint8), "test images", step)
    (run,) = (run for run in runs(uri) if run.info.run_name == "pictures")
    assert files_of(uri, run.info.run_id) == ({"images"}, 2)
    assert run.data.tags["mlflow.loggedImages"] == "True"  # by which the comparison offers images


def test_a_fault_of_this_program_is_raised(uri, tmp_path):
    job = MlflowRun(uri, tmp_path, "faulty", TAGS, {})
    with pytest.raises(AttributeError):
        job.log_scores({3: 10.0})


def test_a_value_that_mlflow_refuses_is_a_fault_of_this_program(uri, tmp_path):
    with pytest.raises(mlflow.exceptions.MlflowException, match="value"):
        MlflowRun(uri, tmp_path, "faulty", TAGS, {}).log_scores({"FID": None})


def test_the_last_of_two_scores_is_shown(uri, tmp_path):
    for value in (20.0, 10.0):  # MLflow takes the larger one of two values of equal time and step
        job = MlflowRun(uri, tmp_path, "evaluated twice", TAGS, {})
        job.log_scores({"FID(clean)": value})
        job.close()
        time.sleep(0.01)
    (run,) = (run for run in runs(uri) if run.info.run_name == "evaluated twice")
    assert run.data.metrics["FID/clean"] == 10.0


def test_system_metrics_have_the_steps_of_the_rows(uri, tmp_path):
    job = MlflowRun(uri, tmp_path, "system", TAGS, {})
    job.log_history(ROWS)
    job.close()
    (run,) = (run for run in runs(uri) if run.info.run_name == "system")
    client = mlflow.MlflowClient(uri)
    points = client.get_metric_history(run.info.run_id, "system/system_memory_usage_percentage")
    assert [point.step for point in points] == [60] and 0 < points[0].value <= 100
