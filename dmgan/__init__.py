"""Reference reproduction and benchmarking suite for text-to-image GANs.

The names of `__all__` are the Python interface, defined in dmgan/api.py; they are imported when they are first used, so
that `import dmgan` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dmgan.api import EvaluationOptions, GeneratedImage, Model, NetworkFiles, OwnImages, UserError, evaluate, load

__version__ = "0.1.0"
__all__ = ["EvaluationOptions", "GeneratedImage", "Model", "NetworkFiles", "OwnImages", "UserError", "evaluate", "load"]


def __getattr__(name: str) -> object:
    """Import a name of the Python interface."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("dmgan.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
