"""Stored statistics of real features: the .npz files of FID implementations, with the arrays mu and sigma."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmgan.errors import UserError
from dmgan.evaluation.networks.base import FeatureExtractor
from dmgan.storage import files
from dmgan.storage.npy import read_arrays

_ARRAYS = ("mu", "sigma")
_HINT = "give FID statistics with the arrays mu (D,) and sigma (D, D), such as DM-GAN's bird_val.npz"


class ReferenceStatistics(NamedTuple):
    """Mean and covariance of the features of real images, by an extractor that the file does not name."""

    extractor: FeatureExtractor
    name: str  # of the file
    sha256: str
    mean: np.ndarray  # (D,)
    covariance: np.ndarray  # (D, D)

    @classmethod
    def read(cls, path: Path, extractor: FeatureExtractor) -> "ReferenceStatistics":
        """Read an .npz file; raise UserError if it does not hold statistics of the extractor's features."""
        path = Path(path)
        stored = read_arrays(path, _HINT)
        try:
            arrays = {name: np.asarray(stored[name], dtype=np.float64) for name in _ARRAYS if name in stored}
        except (ValueError, TypeError) as error:  # arrays of text or dates
            raise UserError(f"{path}: cannot be read ({error}); {_HINT}") from error
        if missing := [name for name in _ARRAYS if name not in arrays]:
            raise UserError(f"{path}: has no array {missing[0]}; {_HINT}")
        mean, covariance = (arrays[name] for name in _ARRAYS)
        width = extractor.widths.get("features")
        if mean.shape != (width,) or covariance.shape != (width, width):
            raise UserError(
                f"{path}: holds mu {mean.shape} and sigma {covariance.shape}, but {extractor.name} has {width} "
                "features; give the statistics of this extractor"
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all() and np.allclose(covariance, covariance.T)):
            raise UserError(
                f"{path}: is damaged (values that are not finite, or a sigma that is not symmetric); {_HINT}"
            )
        return cls(extractor, path.name, files.file_sha256(path), mean, covariance)
