"""DM-GAN's dynamic memory (Eq. 3-9) and KVM-GAN's variants of it, against naive loops."""

import math

import pytest
import torch

from dmgan.errors import UserError
from dmgan.models.dmgan import MemoryOptions, MemoryRefinement
from dmgan.models.initialisation import initialise
from tests.models.equation_inputs import MASK, N_R, N_W, SIDE, T, image_features, word_features


@pytest.fixture
def R():
    return image_features()


@pytest.fixture
def W():
    return word_features()


@pytest.fixture
def refinement():
    torch.manual_seed(0)

    def build(**variant) -> MemoryRefinement:
        return MemoryRefinement(N_R, N_W, 1, MemoryOptions(**variant)).double()

    return build


@pytest.fixture
def slots():
    return torch.randn(2, 2 * N_R, T, generator=torch.Generator().manual_seed(3)).double()


def linear(layer, x, relu: bool):
    """Return the output of a 1x1 convolution at a single place."""
    y = layer[0].weight[:, :, 0] @ x + layer[0].bias
    return y.relu() if relu else y


@pytest.mark.parametrize("relu", [True, False])
def test_gated_memory_writing_dmgan_eq_7_and_8(refinement, R, W, relu):
    block = refinement(relu=relu)
    m, gate = block.write(R, W)
    for b in range(2):
        r_mean = sum(R[b, :, y, x] for y in range(SIDE) for x in range(SIDE)) / SIDE**2
        for i in range(T):
            w = W[b, :, i]
            g = 1 / (1 + math.exp(-float(block.A.weight[0] @ w + block.B.weight[0] @ r_mean)))
            slot = linear(block.M_w, w, relu) * g + linear(block.M_r, r_mean, relu) * (1 - g)
            assert float(gate[b, 0, i]) == pytest.approx(g, rel=1e-12)
            torch.testing.assert_close(m[b, :, i], slot)


def test_plain_memory_writing_dmgan_eq_3(refinement, R, W):
    block = refinement(write_gate="none")
    m, gate = block.write(R, W)
    assert gate is None
    torch.testing.assert_close(m[1, :, 2], linear(block.M_w, W[1, :, 2], relu=True))


@pytest.mark.parametrize("share_write", [False, True])
@pytest.mark.parametrize("gate_width", ["scalar", "vector"])
def test_linear_memory_writing_kvmgan_eq_1_to_3(refinement, R, W, gate_width, share_write):
    block = refinement(relu=False, write_gate="linear", gate_width=gate_width, share_write=share_write)
    m, gate = block.write(R, W)
    for b in range(2):
        r_mean = sum(R[b, :, y, x] for y in range(SIDE) for x in range(SIDE)) / SIDE**2
        for i in range(T):
            g = block.A.weight @ W[b, :, i] + block.A.bias + block.B.weight @ r_mean
            word, image = linear(block.M_w, W[b, :, i], False), linear(block.M_r, r_mean, False)
            if share_write:
                word, image = linear(block.M, word, False), linear(block.M, image, False)
            assert len(g) == (2 * N_R if gate_width == "vector" else 1)
            torch.testing.assert_close(gate[b, :, i], g)
            torch.testing.assert_close(m[b, :, i], word * g + image * (1 - g))


def test_a_linear_gate_is_initialised_near_one_half(refinement, R, W):
    block = refinement(write_gate="linear", gate_width="vector")
    initialise(block)
    _, gate = block.write(R, W)
    assert gate.shape == (2, 2 * N_R, T)
    assert (gate - 0.5).abs().max() < 0.25 and gate.std() > 0


@pytest.mark.parametrize("key_value", [True, False])
def test_key_addressing_and_value_reading_dmgan_eq_4_and_5(refinement, R, key_value):
    block = refinement(key_value=key_value)
    slots = torch.randn(2, 2 * N_R if key_value else N_R, T, generator=torch.Generator().manual_seed(3)).double()
    mask = torch.tensor([[False] * T, [False, False, True, True]])
    o, alpha = block.read(R, slots, mask)
    for b in range(2):
        real = [i for i in range(T) if not mask[b, i]]
        keys = {i: linear(block.key, slots[b, :, i], True) if key_value else slots[b, :, i] for i in real}
        values = {i: linear(block.value, slots[b, :, i], True) if key_value else slots[b, :, i] for i in real}
        for y in range(SIDE):
            for x in range(SIDE):
                exps = {i: math.exp(float(keys[i] @ R[b, :, y, x])) for i in real}
                weights = {i: exps[i] / sum(exps.values()) for i in real}
                for i in range(T):
                    assert float(alpha[b, i, y, x]) == pytest.approx(weights.get(i, 0.0), rel=1e-9)
                torch.testing.assert_close(o[b, :, y, x], sum(weights[i] * values[i] for i in real))


def test_kvmgan_eq_5_as_printed_does_not_depend_on_the_image(refinement, R, slots):
    """The weights sum to one over pixels j, and phi_V(m_i) does not depend on j: O_i = phi_V(m_i) for every image."""
    block = refinement(relu=False, address_axis="pixel")
    unmasked = torch.zeros(2, T, dtype=torch.bool)
    for image in (R, -3 * R):
        _, alpha = block.read(image, slots, unmasked)
        for i in range(T):
            value = linear(block.value, slots[0, :, i], False)
            printed = sum(alpha[0, i, y, x] * value for y in range(SIDE) for x in range(SIDE))
            torch.testing.assert_close(printed, value)


@pytest.mark.parametrize("scaled", [False, True])
def test_addressing_over_pixels_kvmgan_eq_4(refinement, R, slots, scaled):
    block = refinement(relu=False, address_axis="pixel_scaled" if scaled else "pixel")
    o, alpha = block.read(R, slots, MASK)
    places = [(y, x) for y in range(SIDE) for x in range(SIDE)]
    for b, words in enumerate((4, 2)):
        weights = {}
        for i in range(words):
            key = linear(block.key, slots[b, :, i], False)
            exps = {(y, x): math.exp(float(key @ R[b, :, y, x])) for y, x in places}
            weights |= {(i, place): value / sum(exps.values()) for place, value in exps.items()}
        for (i, (y, x)), weight in weights.items():
            weights[i, (y, x)] = weight * (len(places) / words if scaled else 1)
            assert float(alpha[b, i, y, x]) == pytest.approx(weights[i, (y, x)], rel=1e-9)
        assert (alpha[b, words:] == 0).all()
        for y, x in places:
            read = sum(weights[i, (y, x)] * linear(block.value, slots[b, :, i], False) for i in range(words))
            torch.testing.assert_close(o[b, :, y, x], read)
        # The weights of all words sum to T / N at a pixel, on average: close to 0 at 64 px, where N is 4096.
        mean = float(alpha[b].sum(dim=0).mean())
        assert mean == pytest.approx(1 if scaled else words / len(places), rel=1e-9)


def test_kvmgan_addressing_over_words_equals_dmgan_addressing(refinement, R, slots):
    """With the indices exchanged, i pixel and j memory slot, KVM-GAN Eq. 4-5 are DM-GAN Eq. 4-5."""
    theirs, ours = refinement(relu=False), refinement(relu=False, write_gate="linear", gate_width="vector")
    for name in ("key", "value"):
        getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())
    for one, other in zip(ours.read(R, slots, MASK), theirs.read(R, slots, MASK), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"write_gate": "tanh"}, "must be sigmoid or linear or none"),
        ({"write_gate": "none", "share_write": True}, "omit gate_width and share_write"),
        ({"address_axis": "pixel", "word_mask": "released"}, "word_mask must be corrected"),
    ],
)
def test_contradictory_memory_options_are_refused(variant, message):
    with pytest.raises(UserError, match=message):
        MemoryOptions(**variant)


@pytest.mark.parametrize("duplicate", [True, False])
def test_gated_response_dmgan_eq_9(refinement, R, duplicate):
    block = refinement(duplicate_response=duplicate)
    o = torch.randn(2, N_R, SIDE, SIDE, generator=torch.Generator().manual_seed(4)).double()
    response = block.respond(R, o)
    assert response.shape[1] == (2 * N_R if duplicate else N_R)
    conv = block.response_gate[0]
    for y in range(SIDE):
        for x in range(SIDE):
            pair = torch.cat([R[1, :, y, x], o[1, :, y, x]])
            g = torch.sigmoid(conv.weight[0, :, 0, 0] @ pair + conv.bias[0])
            new = o[1, :, y, x] * g + R[1, :, y, x] * (1 - g)
            torch.testing.assert_close(response[1, :, y, x], torch.cat([new, new]) if duplicate else new)


def test_concatenated_response_dmgan_eq_6(refinement, R):
    block = refinement(response="concatenate")
    assert torch.equal(block.respond(R, 2 * R), torch.cat([R, 2 * R], dim=1))


@pytest.mark.parametrize("detach", [True, False])
def test_detach_mean_stops_the_gradient_of_the_mean_image_features(refinement, R, W, detach):
    block = refinement(detach_mean=detach)
    R.requires_grad_()
    m, _ = block.write(R, W)
    assert m.requires_grad
    gradient = torch.autograd.grad(m.sum(), R, allow_unused=True)[0]
    assert (gradient is None) == detach
