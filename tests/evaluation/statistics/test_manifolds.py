"""Precision, recall, density and coverage: sides with too few images."""

import numpy as np
import pytest

from dmgan.errors import UserError
from dmgan.evaluation.feature_store import Rows
from dmgan.evaluation.statistics.manifolds import manifold_scores


def test_a_side_without_enough_neighbours_is_refused():
    with pytest.raises(UserError, match="5 real images do not have that many"):
        manifold_scores(*[Rows(np.eye(n, dtype=np.float32)) for n in (9, 5)], np.arange(9), [], np.arange(5), 5)
