"""MLflow's page on this machine: the server answers on the loopback address only, and the comparison shows the runs."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.models.colours import colour_of
from dmgan.training.mlflow_database import comparison_address, create_database, serve, server_command
from dmgan.training.mlflow_run import MlflowRun, generator_place
from tests.commands.test_command_line import error_line
from tests.paths import ROOT

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,1800", "--timeout=60000",
    "--virtual-time-budget=60000",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def database(tmp_path) -> str:
    """A database with a run of two models, each with scores and an image."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    create_database(uri, tmp_path / "mlflow")
    for name in ("attngan", "dmgan"):
        folder = tmp_path / name
        folder.mkdir()
        tags = {"model": name, "dataset": "synthbirds"}
        job = MlflowRun(uri, folder, f"synthbirds {name} seed0", tags, {"epochs": 8}, generator_place(name, {}))
        job.log_history([{"step": 20, "adversarial": 2.0}])
        job.log_scores({"FID(species)": 12.5})
        job.log_image(np.zeros((16, 16, 3), np.uint8), "generated")
        job.close()
    return uri


def test_the_server_listens_on_the_loopback_address_only(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"")
    command = server_command(f"sqlite:///{tmp_path}/mlflow.db", 5055)
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_telemetry_is_off_in_the_server(tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").write_bytes(b"")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "true")
    monkeypatch.setattr(os, "execv", lambda *command: None)
    serve(f"sqlite:///{tmp_path}/mlflow.db", 5055)
    names = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION")
    assert [os.environ[name] for name in names] == ["true", "true", "false"]


@pytest.mark.parametrize("uri", ["sqlite:///missing.db", "http://127.0.0.1:5000"])
def test_only_a_database_that_exists_is_shown(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is not there|is not a local database"):
        server_command(uri, 5055)


def test_the_makefile_opens_the_database_by_the_subcommand():
    assert "python -m dmgan mlflow-ui" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_comparison_shows_scores_curves_images_and_colours(database, tmp_path):
    port = free_port()
    words = ["-m", "dmgan", "mlflow-ui", "--mlflow", database, "--artifacts", tmp_path / "mlflow", "--port", str(port)]
    server = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = comparison_address(database, port)
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        profile = f"--user-data-dir={tmp_path}/profile"
        page = subprocess.run([CHROMIUM, *FLAGS, profile, "--dump-dom", address], capture_output=True, text=True).stdout
    finally:
        server.terminate()
        server.wait(timeout=60)
    for name in ("attngan", "dmgan"):
        assert f"synthbirds {name} seed0" in page
        red, green, blue = (int(colour_of(name)[start : start + 2], 16) for start in (1, 3, 5))
        assert f"rgb({red}, {green}, {blue})" in page
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "FID (1)" in text and "generator (1)" in text and "get-artifact?path=images" in page


@pytest.mark.slow
@pytest.mark.parametrize("uri", ["sqlite:///damaged.db", "sqlite:///file/x.db", "nonsense:///x", "http://127.0.0.1:9"])
def test_a_database_that_cannot_be_created_is_one_line(uri, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged.db").write_bytes(b"no database" * 1000)
    (tmp_path / "file").touch()
    assert error_line(capsys, "mlflow-db", "--mlflow", uri).startswith(f"dmgan mlflow-db: --mlflow {uri}: ")


@pytest.mark.slow
def test_a_damaged_database_does_not_stop_the_workflow(tmp_path):
    (command,) = re.findall(r'shell\("(.*mlflow-db.*)"\)', (ROOT / "Snakefile").read_text(encoding="utf-8"))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mlflow.db").write_bytes(b"no database" * 1000)
    command = command.replace("python", sys.executable, 1)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stderr.count("dmgan mlflow-db: --mlflow sqlite:///results/mlflow.db: ") == 1
