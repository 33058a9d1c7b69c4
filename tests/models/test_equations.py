"""Each equation against a naive loop over its letters."""

import copy
import math

import numpy as np
import pytest
import torch

from baselines.attngan import WordAttention
from baselines.controlgan import ChannelAttention, WordLevelDiscriminator
from baselines.dfgan import Affine, OneWayDiscriminator
from baselines.mirrorgan import GlobalLocalAttention
from dmgan.errors import UserError
from dmgan.models.blocks import ConditioningAugmentation
from dmgan.models.discriminators import Discriminator, SpectralNormConv2d
from dmgan.models.dmgan import MemoryOptions, MemoryRefinement
from dmgan.models.initialisation import initialise
from dmgan.models.registry import MODELS, build_model
from dmgan.options import (
    ArchitectureOptions,
    CaptionerOptions,
    LossOptions,
    MatchingOptions,
    TrainingOptions,
    TrainingSettings,
)
from dmgan.text.captioner import Captioner
from dmgan.text.damsm import EncodedCaptions
from dmgan.training.damsm_loss import matching_losses, word_scores
from dmgan.training.gan_losses import adversarial_loss, discriminator_loss, kl_loss
from dmgan.training.optimizers import WeightAverage
from dmgan.training.trainer import Trainer

torch.set_default_dtype(torch.float32)
T, N_W, N_R, SIDE = 4, 5, 3, 2


@pytest.fixture
def refinement():
    torch.manual_seed(0)

    def build(**switches) -> MemoryRefinement:
        return MemoryRefinement(N_R, N_W, 1, MemoryOptions(**switches)).double()

    return build


@pytest.fixture
def R():
    return torch.randn(2, N_R, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def W():
    return torch.randn(2, N_W, T, generator=torch.Generator().manual_seed(2)).double()


def linear(layer, x, relu: bool):
    """One 1x1 convolution at one place."""
    y = layer[0].weight[:, :, 0] @ x + layer[0].bias
    return y.relu() if relu else y


@pytest.mark.parametrize("relu", [True, False])
def test_gated_memory_writing_eq_7_and_8(refinement, R, W, relu):
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


def test_plain_memory_writing_eq_3(refinement, R, W):
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


def test_a_linear_gate_begins_near_a_half(refinement, R, W):
    block = refinement(write_gate="linear", gate_width="vector")
    initialise(block)
    _, gate = block.write(R, W)
    assert gate.shape == (2, 2 * N_R, T)
    assert (gate - 0.5).abs().max() < 0.25 and gate.std() > 0


@pytest.mark.parametrize("key_value", [True, False])
def test_key_addressing_and_value_reading_eq_4_and_5(refinement, R, key_value):
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


@pytest.fixture
def slots():
    return torch.randn(2, 2 * N_R, T, generator=torch.Generator().manual_seed(3)).double()


MASK = torch.tensor([[False] * T, [False, False, True, True]])


def test_the_print_of_kvmgan_eq_4_and_5_cannot_be_meant(refinement, R, slots):
    """Its weights sum to one over pixels j and phi_V(m_i) knows no j: O_i = phi_V(m_i), whatever the image is."""
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
            weights |= {(i, place): each / sum(exps.values()) for place, each in exps.items()}
        for (i, (y, x)), weight in weights.items():
            weights[i, (y, x)] = weight * (len(places) / words if scaled else 1)
            assert float(alpha[b, i, y, x]) == pytest.approx(weights[i, (y, x)], rel=1e-9)
        assert (alpha[b, words:] == 0).all()
        for y, x in places:
            read = sum(weights[i, (y, x)] * linear(block.value, slots[b, :, i], False) for i in range(words))
            torch.testing.assert_close(o[b, :, y, x], read)
        # All words together weigh T / N at a pixel, on average: next to nothing at 64 px, where N is 4096.
        mean = float(alpha[b].sum(dim=0).mean())
        assert mean == pytest.approx(1 if scaled else words / len(places), rel=1e-9)


def test_addressing_over_words_is_dmgan_s_read(refinement, R, slots):
    """With the pair of indices the other way, i pixel and j memory, KVM-GAN Eq. 4-5 are DM-GAN Eq. 4-5."""
    theirs, ours = refinement(relu=False), refinement(relu=False, write_gate="linear", gate_width="vector")
    for name in ("key", "value"):
        getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())
    for one, other in zip(ours.read(R, slots, MASK), theirs.read(R, slots, MASK), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("switches", "complaint"),
    [
        ({"write_gate": "tanh"}, "must be sigmoid or linear or none"),
        ({"write_gate": "none", "share_write": True}, "leave gate_width and share_write out"),
        ({"address_axis": "pixel", "word_mask": "released"}, "word_mask must be corrected"),
    ],
)
def test_switches_that_do_not_go_together_are_refused(switches, complaint):
    with pytest.raises(UserError, match=complaint):
        MemoryOptions(**switches)


@pytest.mark.parametrize("duplicate", [True, False])
def test_gated_response_eq_9(refinement, R, duplicate):
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


def test_concatenated_response_eq_6(refinement, R):
    block = refinement(response="concatenate")
    assert torch.equal(block.respond(R, 2 * R), torch.cat([R, 2 * R], dim=1))


@pytest.mark.parametrize("detach", [True, False])
def test_the_mean_of_the_image_features_is_detached_on_wish(refinement, R, W, detach):
    block = refinement(detach_mean=detach)
    R.requires_grad_()
    m, _ = block.write(R, W)
    assert m.requires_grad
    gradient = torch.autograd.grad(m.sum(), R, allow_unused=True)[0]
    assert (gradient is None) == detach


def test_word_attention_of_attngan_eq_2(R, W):
    torch.manual_seed(0)
    attention = WordAttention(N_R, N_W, "corrected").double()
    U = attention.conv_context.weight[:, :, 0, 0]
    mask = torch.tensor([[False, False, False, True], [False] * T])
    c, beta = attention(R, W, mask)
    words = [U @ W[0, :, i] for i in range(3)]
    for y in range(SIDE):
        for x in range(SIDE):
            exps = [math.exp(float(R[0, :, y, x] @ word)) for word in words]
            expected = sum(e / sum(exps) * word for e, word in zip(exps, words, strict=True))
            torch.testing.assert_close(c[0, :, y, x], expected)
            assert float(beta[0, 3, y, x]) == 0


def test_conditioning_augmentation_is_a_gated_linear_unit():
    torch.manual_seed(0)
    layer = ConditioningAugmentation(N_W, 2)
    s = torch.randn(1, N_W)
    y = layer.fc(s)[0]
    gated = [float(y[i] * torch.sigmoid(y[i + 4])) for i in range(4)]
    mean, logvar = layer(s)
    assert mean[0].tolist() == pytest.approx(gated[:2]) and logvar[0].tolist() == pytest.approx(gated[2:])


def naive_word_score(region, word, gamma1, gamma2) -> float:
    """R(Q, D) of one image (E, R) and one caption (E, T) by loops (AttnGAN Eq. 7-10)."""
    regions, length = region.shape[1], word.shape[1]
    s = [[float(region[:, r] @ word[:, t]) for t in range(length)] for r in range(regions)]
    s_bar = [
        [math.exp(s[r][t]) / sum(math.exp(s[r][k]) for k in range(length)) for t in range(length)]
        for r in range(regions)
    ]
    total = 0.0
    for t in range(length):
        exps = [math.exp(gamma1 * s_bar[r][t]) for r in range(regions)]
        c = sum(exps[r] / sum(exps) * region[:, r] for r in range(regions))
        cosine = float(c @ word[:, t]) / float(c.norm() * word[:, t].norm())
        total += math.exp(gamma2 * cosine)
    return math.log(total)


def test_word_scores_against_the_loop():
    torch.manual_seed(0)
    regions, words = torch.randn(3, 6, 2, 2).double(), torch.randn(2, 6, 5).double()
    lengths = torch.tensor([5, 3])
    words[1, :, 3:] = 0
    scores = word_scores(regions, words, lengths, 4.0, 5.0)
    for i in range(3):
        for j in range(2):
            naive = naive_word_score(regions[i].flatten(1), words[j, :, : lengths[j]], 4.0, 5.0)
            assert float(scores[i, j]) == pytest.approx(naive, rel=1e-12)


def test_gradients_of_word_scores():
    torch.manual_seed(0)
    regions, words = torch.randn(2, 3, 2, 2).double(), torch.randn(3, 3, 4).double()
    lengths = torch.tensor([2, 4, 3])
    given = (regions.requires_grad_(), words.requires_grad_())
    assert torch.autograd.gradcheck(lambda *each: word_scores(*each, lengths, 4.0, 5.0), given)
    padding = torch.autograd.grad(word_scores(*given, lengths, 4.0, 5.0).sum(), words)[0][0, :, 2:]
    assert not padding.any()


def test_other_images_of_the_class_do_not_compete():
    torch.manual_seed(0)
    regions, code = torch.randn(3, 6, 2, 2).double(), torch.randn(3, 6).double()
    words, sentence, lengths = torch.randn(3, 6, 4).double(), torch.randn(3, 6).double(), torch.tensor([4, 4, 4])
    gammas = MatchingOptions()
    losses = matching_losses(regions, code, words, sentence, lengths, torch.tensor([7, 8, 7]), gammas)
    cosine = [[float(torch.cosine_similarity(code[i], sentence[j], dim=0)) for j in range(3)] for i in range(3)]
    allowed = {0: (0, 1), 1: (0, 1, 2), 2: (1, 2)}
    rows = [math.log(sum(math.exp(10 * (cosine[i][j] - cosine[i][i])) for j in allowed[i])) for i in range(3)]
    assert float(losses.sentence0) == pytest.approx(np.mean(rows))
    columns = [math.log(sum(math.exp(10 * (cosine[j][i] - cosine[i][i])) for j in allowed[i])) for i in range(3)]
    assert float(losses.sentence1) == pytest.approx(np.mean(columns))


def judge(unconditional: bool):
    """A discriminator in evaluation mode, real and fake images, sentences, and its probability of being real."""
    torch.manual_seed(0)
    discriminator = Discriminator(16, 3, N_W, "batch", unconditional).double().eval()
    real, fake, sentence = (torch.rand(3, *shape).double() for shape in ((3, 16, 16), (3, 16, 16), (N_W,)))

    @torch.no_grad()
    def D(image, sentence=None) -> float:
        features = discriminator.features(image[None])
        if sentence is None:
            return float(torch.sigmoid(discriminator.unconditional(features)))
        return float(torch.sigmoid(discriminator.conditional(features, sentence[None])))

    return discriminator, real, fake, sentence, D


@pytest.fixture(scope="module")
def judged():
    return judge(unconditional=True)


@pytest.fixture(scope="module")
def judged_in_pairs():
    """The same of a discriminator that judges images together with their sentences only."""
    return judge(unconditional=False)


@pytest.mark.parametrize("half", [True, False])
def test_adversarial_loss_of_the_generator_eq_11(judged, half):
    discriminator, _, fake, sentence, D = judged
    alone = np.mean([math.log(D(x)) for x in fake])
    pair = np.mean([math.log(D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    loss = adversarial_loss(discriminator, fake, sentence, LossOptions(half_adversarial=half))
    assert float(loss) == pytest.approx(-(alone + pair) / 2 if half else -(alone + pair), rel=1e-10)


@pytest.mark.parametrize("mismatched", [True, False])
def test_loss_of_a_discriminator_eq_12(judged, mismatched):
    discriminator, real, fake, sentence, D = judged
    real_alone = np.mean([-math.log(D(x)) for x in real])
    fake_alone = np.mean([-math.log(1 - D(x)) for x in fake])
    real_pair = np.mean([-math.log(D(x, s)) for x, s in zip(real, sentence, strict=True)])
    fake_pair = np.mean([-math.log(1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    wrong_pair = np.mean([-math.log(1 - D(real[k], sentence[k + 1])) for k in range(2)])
    paper = (real_alone + fake_alone + real_pair + fake_pair) / 2
    release = (real_alone + real_pair) / 2 + (fake_alone + fake_pair + wrong_pair) / 3
    loss = discriminator_loss(discriminator, real, fake, sentence, LossOptions(mismatched_captions=mismatched))
    assert float(loss) == pytest.approx(release if mismatched else paper, rel=1e-10)


@pytest.mark.parametrize("half", [True, False])
def test_adversarial_loss_of_pairs_alone(judged_in_pairs, half):
    discriminator, _, fake, sentence, D = judged_in_pairs
    pair = -np.mean([math.log(D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    loss = adversarial_loss(discriminator, fake, sentence, LossOptions(half_adversarial=half))
    assert float(loss) == pytest.approx(pair / 2 if half else pair, rel=1e-10)


@pytest.mark.parametrize("mismatched", [True, False])
def test_loss_of_a_discriminator_of_pairs_alone(judged_in_pairs, mismatched):
    discriminator, real, fake, sentence, D = judged_in_pairs
    real_pair = np.mean([-math.log(D(x, s)) for x, s in zip(real, sentence, strict=True)])
    fake_pair = np.mean([-math.log(1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    wrong_pair = np.mean([-math.log(1 - D(real[k], sentence[k + 1])) for k in range(2)])
    expected = real_pair + (fake_pair + wrong_pair) / 2 if mismatched else (real_pair + fake_pair) / 2
    loss = discriminator_loss(discriminator, real, fake, sentence, LossOptions(mismatched_captions=mismatched))
    assert float(loss) == pytest.approx(expected, rel=1e-10)


def test_loss_of_a_discriminator_of_stackgan_pp(judged):
    discriminator, real, fake, sentence, D = judged
    unconditional = [-math.log(D(x)) for x in real], [-math.log(1 - D(x)) for x in fake]
    conditional = [-math.log(D(x, s)) for x, s in zip(real, sentence, strict=True)]
    fake_pairs = [-math.log(1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)]
    wrong_pairs = [-math.log(1 - D(real[k], sentence[k + 1])) for k in range(2)]
    wrong_images = [-math.log(D(real[k])) for k in range(2)]
    terms = (*unconditional, conditional, fake_pairs, wrong_pairs, wrong_images)
    loss = discriminator_loss(discriminator, real, fake, sentence, LossOptions(mismatched_images_real=True))
    assert float(loss) == pytest.approx(sum(np.mean(each) for each in terms), rel=1e-10)


def test_hinge_losses_of_df_gan_eq_1(judged_in_pairs):
    discriminator, real, fake, sentence, _ = judged_in_pairs

    def D(image, sentence) -> float:
        with torch.no_grad():
            return float(discriminator.conditional(discriminator.features(image[None]), sentence[None]))

    real_pair = np.mean([-min(0, -1 + D(x, s)) for x, s in zip(real, sentence, strict=True)])
    fake_pair = np.mean([-min(0, -1 - D(x, s)) for x, s in zip(fake, sentence, strict=True)])
    wrong_pair = np.mean([-min(0, -1 - D(real[k], sentence[k + 1])) for k in range(2)])
    switches = LossOptions(adversarial="hinge")
    loss = discriminator_loss(discriminator, real, fake, sentence, switches)
    assert float(loss) == pytest.approx(real_pair + (fake_pair + wrong_pair) / 2, rel=1e-10)
    pleased = np.mean([-D(x, s) for x, s in zip(fake, sentence, strict=True)])
    assert float(adversarial_loss(discriminator, fake, sentence, switches)) == pytest.approx(pleased, rel=1e-10)


def test_matching_aware_penalty_is_of_numeric_gradients_and_of_each_pair():
    torch.manual_seed(0)
    discriminator = OneWayDiscriminator(8, 2, N_W).double()
    real, fake, sentence = torch.rand(3, 3, 8, 8).double(), torch.rand(3, 3, 8, 8).double(), torch.rand(3, N_W).double()

    @torch.no_grad()
    def D(x, e) -> float:
        return float(discriminator.conditional(discriminator.features(x[None]), e[None]))

    def squared_norm(function, at) -> float:
        total, step = 0.0, 1e-6
        for i in range(at.numel()):
            moved = torch.zeros_like(at)
            moved.view(-1)[i] = step
            total += ((function(at + moved) - function(at - moved)) / (2 * step)) ** 2
        return total

    norms = [
        math.sqrt(squared_norm(lambda at, e=e: D(at, e), x) + squared_norm(lambda at, x=x: D(x, at), e))
        for x, e in zip(real, sentence, strict=True)
    ]
    without, with_penalty = (
        discriminator_loss(discriminator, real, fake, sentence, LossOptions(matching_aware_penalty=k))
        for k in (0.0, 2e3)
    )
    assert float(with_penalty - without) == pytest.approx(2e3 * np.mean([n**6 for n in norms]), rel=1e-5)


def test_an_unknown_adversarial_loss_is_refused():
    with pytest.raises(UserError, match="adversarial 'lsgan': must be bce or hinge"):
        LossOptions(adversarial="lsgan")


def test_affine_transformation_of_df_gan_eq_2_and_3():
    torch.manual_seed(0)
    affine = Affine(4, 3).double()
    h, c = torch.randn(2, 3, 2, 2).double(), torch.randn(2, 4).double()
    out = affine(h, c)
    for b in range(2):
        gamma, beta = (
            mlp[2].weight @ (mlp[0].weight @ c[b] + mlp[0].bias).relu() + mlp[2].bias
            for mlp in (affine.gamma, affine.beta)
        )
        for i in range(3):
            torch.testing.assert_close(out[b, i], gamma[i] * h[b, i] + beta[i])


def test_interpolated_sentences_of_gan_int_are_drawn_halfway_and_judged_real():
    """GAN-INT: the generator's loss is that of the captions and that of (e_k + e_{k-1}) / 2, same noise."""
    torch.manual_seed(0)
    architecture = ArchitectureOptions(8, 2, 2, 2, 3, 2, 0)
    model = build_model("gan-int-cls", architecture, N_W)
    noise, sentence = torch.randn(4, 3), torch.randn(4, N_W)
    captions = EncodedCaptions(sentence, torch.randn(4, N_W, 2), torch.zeros(4, 2, dtype=bool), torch.full((4,), 2))
    real = [torch.rand(4, 3, 16, 16)]
    settings = TrainingSettings(architecture, TrainingOptions())
    trainer = Trainer(model, None, settings, MODELS["gan-int-cls"].losses, torch.device("cpu"))
    before = copy.deepcopy(model)
    loss = trainer.step(real, captions, torch.arange(4), noise)["adversarial"]
    (discriminator,) = trainer.discriminators  # as the generator met it, but for running statistics

    def persuaded(e) -> float:
        images = before.generate(noise, e, None, None).images[0]
        logits = discriminator.conditional(discriminator.features(images), e)
        return float(torch.log1p(torch.exp(-logits)).mean())

    halfway = torch.stack([(sentence[k] + sentence[k - 1]) / 2 for k in range(4)])
    assert float(loss) == pytest.approx(persuaded(sentence) + persuaded(halfway), rel=1e-4)


def test_channel_attention_of_controlgan(R, W):
    torch.manual_seed(0)
    attention = ChannelAttention(SIDE, N_W).double()
    mask = torch.tensor([[False, False, False, True], [False] * T])
    out = attention(R, W, mask)
    words = [attention.U.weight @ W[0, :, i] for i in range(3)]  # each at the N places
    for channel in range(N_R):
        exps = [math.exp(float(R[0, channel].flatten() @ word)) for word in words]
        expected = sum(e / sum(exps) * word for e, word in zip(exps, words, strict=True))
        torch.testing.assert_close(out[0, channel].flatten(), expected)


def test_word_level_discriminator_of_controlgan(W):
    torch.manual_seed(0)
    critic, n = WordLevelDiscriminator(N_W).double(), torch.randn(2, N_W, SIDE, SIDE).double()
    mask = torch.tensor([[False, False, False, True], [False] * T])
    perceived = [critic.F.weight[:, :, 0, 0] @ n[0, :, y, x] for y in range(SIDE) for x in range(SIDE)]
    total = 0.0
    for i in range(3):
        w = W[0, :, i]
        exps = [math.exp(float(w @ each)) for each in perceived]
        b = sum(e / sum(exps) * each for e, each in zip(exps, perceived, strict=True))
        total += math.exp(5.0 * float(b @ w) / float(b.norm() * w.norm()))
    probability = torch.sigmoid(critic(n, W, mask)[0])
    assert float(probability) == pytest.approx(1 / (1 + math.exp(-math.log(total))), rel=1e-6)


def test_sentence_attention_of_mirrorgan(R):
    torch.manual_seed(0)
    attention, s = GlobalLocalAttention(N_R, N_W, 4).double(), torch.randn(2, 4).double()
    out = attention.sentence(R, s)
    projected = attention.V.weight @ s[1]
    exps = (attention.W.weight[:, :, 0, 0] @ (R[1, :, 0, 1] * projected)).exp()
    torch.testing.assert_close(out[1, :, 0, 1], projected * exps / exps.sum())


def test_cross_entropy_of_the_captioner_is_of_each_word_after_those_before_it():
    torch.manual_seed(0)
    captioner = Captioner(7, 5, CaptionerOptions(embedding_dim=3, hidden_dim=4)).double().eval()
    codes, tokens = torch.randn(2, 5).double(), torch.tensor([[3, 1, 5], [2, 0, 0]])
    mask = torch.tensor([[False, False, False], [False, True, True]])
    surprises = []
    for code, caption in zip(codes, ([3, 1, 5], [2]), strict=True):
        x, state = captioner.read_code(code[None])[:, None], None
        for token in caption:
            hidden, state = captioner.lstm(x, state)
            surprises.append(-float(captioner.logits(hidden[0, 0]).log_softmax(dim=0)[token]))
            x = captioner.embedding.weight[token][None, None]
    assert float(captioner.cross_entropy(codes, tokens, mask)) == pytest.approx(np.mean(surprises), rel=1e-9)


@pytest.mark.parametrize("kl", ["mean", "sum"])
def test_kl_of_a_standard_normal_is_zero_and_eq_13_holds(kl):
    switches = LossOptions(kl=kl)
    assert float(kl_loss(torch.zeros(2, 3), torch.zeros(2, 3), switches)) == 0
    mean, logvar = torch.tensor([[0.5, -1.0], [0.1, 2.0]]), torch.tensor([[0.2, -0.3], [0.0, -1.0]])
    distribution = torch.distributions.Normal(mean, torch.exp(0.5 * logvar))
    divergence = torch.distributions.kl_divergence(distribution, torch.distributions.Normal(0.0, 1.0))
    expected = np.mean([float(divergence[b, 0] + divergence[b, 1]) for b in range(2)])
    assert float(kl_loss(mean, logvar, switches)) == pytest.approx(expected if kl == "sum" else expected / 2, rel=1e-6)


def test_an_unknown_kl_is_refused():
    with pytest.raises(UserError, match="kl 'total': must be mean or sum"):
        LossOptions(kl="total")


def test_spectral_norm_finds_the_largest_singular_value():
    torch.manual_seed(0)
    conv = SpectralNormConv2d(3, 8, 4, 2, 1).double().train()
    for _ in range(200):
        weight = conv.normalised_weight()
    assert float(torch.linalg.svdvals(weight.flatten(1))[0]) == pytest.approx(1.0, rel=1e-6)
    before = conv.module.weight_u.clone()
    conv.eval().normalised_weight()
    assert torch.equal(before, conv.module.weight_u), "no power iteration outside training"


def test_spectral_norm_s_gradient_is_that_of_its_own_call():
    """Two forwards, then the first one's backward: the gradient is the numeric one (reference notes, trap T1)."""
    torch.manual_seed(0)
    conv = SpectralNormConv2d(2, 3, 3, 1, 1).double().train()
    x, weight = torch.randn(1, 2, 4, 4).double(), conv.module.weight_bar
    u0, v0 = conv.module.weight_u.clone(), conv.module.weight_v.clone()
    first = conv(x).square().sum()
    u, v = conv.module.weight_u.clone(), conv.module.weight_v.clone()
    conv(x)
    gradient = torch.autograd.grad(first, weight)[0]
    assert not torch.equal(u, conv.module.weight_u) and not torch.equal(u0, u) and not torch.equal(v0, v)

    def loss_at(w):
        sigma = torch.dot(u, w.flatten(1) @ v)
        return torch.nn.functional.conv2d(x, w / sigma, conv.module.bias, 1, 1).square().sum()

    step = torch.zeros_like(weight)
    step[1, 0, 2, 1] = 1e-6
    numeric = (loss_at(weight.detach() + step) - loss_at(weight.detach() - step)) / 2e-6
    assert float(gradient[1, 0, 2, 1]) == pytest.approx(float(numeric), rel=1e-6)


def test_average_of_weights():
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 1.0)
    average = WeightAverage(layer, 0.9)
    for value in (2.0, 3.0):
        torch.nn.init.constant_(layer.weight, value)
        average.update(layer)
    average.copy_to(layer)
    assert float(layer.weight) == pytest.approx(0.9 * (0.9 * 1 + 0.1 * 2) + 0.1 * 3)
