"""Telemetry of libraries, which is off: nothing leaves the machine unless a user asks for a download or an upload."""

import os

LOOPBACK = "127.0.0.1"  # servers listen to programs of this machine only
_OFF = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def disable_telemetry() -> None:
    """Turn off the telemetry of MLflow, Gradio and the Hugging Face Hub in this process and those that it starts.

    Call this before the libraries are imported, because some of them read the variables at import time.
    """
    os.environ.update(_OFF)
