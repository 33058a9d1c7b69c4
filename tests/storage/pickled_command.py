"""A malicious pickle."""

import os
from pathlib import Path


class PickledCommand:
    """Unpickling an instance of this class runs a shell command."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)
