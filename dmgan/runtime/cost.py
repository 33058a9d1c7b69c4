"""Cost of a result: the time, the memory and the device that computing it took.

This module does not import torch, because tables are made without it.
"""

import platform
import resource
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in a unit of ru_maxrss


class Cost:
    """Clock of a job from its creation on."""

    def __init__(self, device: "torch.device | None" = None, devices: int = 1):
        """device: that computes, None for the CPU; devices: of the job, one a process."""
        self._device, self._devices, self._started = device, devices, time.monotonic()

    def measured(self, seconds: float | None = None) -> dict[str, object]:
        """Return device, seconds, device-hours and peak memory of this process; seconds: of the whole job, if known.

        RAM is the peak since the process began, of which the job may be a part.
        """
        seconds = time.monotonic() - self._started if seconds is None else seconds
        name, memory = f"CPU ({platform.machine()})", {}
        if self._device is not None and self._device.type == "cuda":
            import torch

            name = torch.cuda.get_device_name(self._device)
            memory["gpu_bytes"] = torch.cuda.max_memory_allocated(self._device)
        memory["ram_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
        return {
            "device": name,
            "devices": self._devices,
            "seconds": round(seconds, 3),
            "device_hours": round(self._devices * seconds / 3600, 6),
            "peak_memory": memory,
        }
