"""The run folder of the generator whose images were measured."""

from pathlib import Path

from dmgan.evaluation.paired_comparison import METRICS
from dmgan.storage import files
from dmgan.training.run_folder import OPTIONS, WEIGHTS


def run_of(out: Path, generator_sha256: str | None) -> Path | None:
    """Return the run folder whose generator was measured; None if metrics.json is written elsewhere.

    It is the folder of metrics.json, or `run` beside it for imported weights.
    """
    out = Path(out)
    if out.name != METRICS or generator_sha256 is None:
        return None
    for folder in (out.parent, out.parent / "run"):
        weights = folder / WEIGHTS
        if (folder / OPTIONS).exists() and weights.exists() and files.file_sha256(weights) == generator_sha256:
            return folder
    return None
