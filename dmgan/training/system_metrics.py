"""Use of the machine while a network trains, by MLflow's monitors; MLflow shows it as system metrics."""

import importlib.util

import torch

from dmgan.runtime.progress import log

_PREFIX = "system/"  # by which MLflow recognises system metrics


class SystemMetrics:
    """Readings of CPU and RAM, of the memory that torch has on a GPU, and with the package nvidia-ml-py of the GPUs.

    They are read in the training process when rows are sent, without a thread of their own, so that they stop with it
    and share its error handling.
    """

    def __init__(self):
        """Set up the monitors; without the package psutil there are none."""
        self._monitors = []
        if importlib.util.find_spec("psutil") is None:
            log("MLflow: no system metrics; install the package psutil to log them")
            return
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

        self._monitors = [CPUMonitor()]
        if importlib.util.find_spec("pynvml") is not None:
            from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

            try:
                self._monitors.append(GPUMonitor())
            except RuntimeError as error:
                log(f"MLflow: no metrics of GPUs ({error})")

    def read(self) -> dict[str, float]:
        """Return the readings by name."""
        found = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= {_PREFIX + name: value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        if torch.cuda.is_initialized():
            found[f"{_PREFIX}gpu_memory_allocated_megabytes"] = torch.cuda.memory_allocated() / 1e6
            found[f"{_PREFIX}gpu_memory_reserved_megabytes"] = torch.cuda.memory_reserved() / 1e6
        return found
