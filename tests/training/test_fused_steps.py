"""Training steps with fused blocks change every weight as plain steps do."""

import pytest
import torch

from dmgan.models.fused_discriminator import FusedDiscriminator
from dmgan.options import PLAIN_ENGINE, EngineOptions
from tests.training import without_batch_norm

MODELS = ["dmgan", "dmgan-paper", "attngan", "attngan-dcgan"]  # both norms, with and without an unconditional head


@pytest.mark.parametrize("engine", [{}, {"accumulate": 3}, {"channels_last": True}], ids=["whole", "micro", "layout"])
@pytest.mark.parametrize("name", MODELS)
def test_steps_with_fused_blocks_equal_plain_steps(name, engine):
    """In float64; with several micro-batches every layer makes as many power iterations as in the plain passes."""
    options = EngineOptions(**engine, fused=True), EngineOptions(accumulate=engine.get("accumulate", 1))
    fused, plain = (without_batch_norm.trainer_of(name, each) for each in options)
    spectral = {type(each) is FusedDiscriminator for each in fused.discriminators}
    assert spectral == {name.startswith("dmgan")}
    found, expected = without_batch_norm.train(fused), without_batch_norm.train(plain)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}")
    assert any(not torch.equal(found[key], value) for key, value in expected.items())


def test_plain_steps_fuse_nothing():
    trainer = without_batch_norm.trainer_of("dmgan", PLAIN_ENGINE)
    assert not [each for each in trainer.discriminators if isinstance(each, FusedDiscriminator)]
    assert trainer._generator is trainer.model
