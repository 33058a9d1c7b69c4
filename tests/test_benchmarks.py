"""The benchmarks' frame, and the yardstick that speed is measured against."""

import torch

from benchmarks.yardstick import YardstickGenerator
from dmgan.models.dmgan import DMGAN
from dmgan.models.interface import initialise
from tests.conftest import ARCHITECTURE


def test_the_yardstick_generates_what_dmgan_does():
    torch.manual_seed(0)
    ours = DMGAN(ARCHITECTURE, 16, word_mask="released").double()
    initialise(ours)
    yardstick = YardstickGenerator(ARCHITECTURE, 16).double()
    yardstick.load_state_dict(ours.state_dict(), strict=True)
    sentence, words = torch.randn(3, 16).double(), torch.randn(3, 16, 7).double()
    noise, mask = torch.randn(3, ours.noise_dim).double(), torch.arange(7) >= torch.tensor([[7], [4], [5]])
    for mode in (True, False):
        z, epsilon = noise.split([ARCHITECTURE.noise_dim, ARCHITECTURE.condition_dim], dim=1)
        images, attention, mean, logvar = yardstick.train(mode)(z, sentence, words, mask, epsilon)
        expected = ours.train(mode).generate(noise, sentence, words, mask)
        torch.testing.assert_close(images, expected.images, rtol=0, atol=1e-10)
        torch.testing.assert_close(attention, expected.attention, rtol=0, atol=1e-10)
        torch.testing.assert_close([mean, logvar], [expected.mean, expected.logvar], rtol=0, atol=1e-10)
        assert expected.images[-1].std() > 0.1
