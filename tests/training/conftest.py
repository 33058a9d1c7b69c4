"""Networks that measure snapshots during short trainings."""

import pytest

from dmgan.evaluation.networks.loaded import NetworkFiles


@pytest.fixture(scope="session")
def networks(classifier_folder, damsm_folder, attributes_folder, tmp_path_factory) -> NetworkFiles:
    """The species classifier, the training DAMSM and the attribute classifier."""
    weights = tmp_path_factory.mktemp("weights")
    return NetworkFiles(("species",), classifier_folder, weights, damsm_folder, attributes=attributes_folder)
