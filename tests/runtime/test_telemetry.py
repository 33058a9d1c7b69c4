"""Telemetry is off in every process that the command line starts."""

import os
import subprocess
import sys

from dmgan.__main__ import main
from dmgan.runtime.telemetry import disable_telemetry


def test_the_libraries_read_the_variables(monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    disable_telemetry()
    code = (
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "from huggingface_hub.constants import HF_HUB_DISABLE_TELEMETRY\n"
        "print(is_telemetry_disabled(), HF_HUB_DISABLE_TELEMETRY)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "True"]


def test_the_command_line_turns_telemetry_off_before_a_subcommand_runs(monkeypatch):
    for name in ("DO_NOT_TRACK", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    main(["parameters", "--out", "/dev/null/refused"])
    assert (os.environ["DO_NOT_TRACK"], os.environ["GRADIO_ANALYTICS_ENABLED"]) == ("true", "False")
