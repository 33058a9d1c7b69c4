"""Facts of the rivals' released code: numbers of parameters, initial weights, rates and noise.

The numbers of parameters were computed from the layers of the released code. "dead": parameters that no forward pass of
the release reads; the models here do not have them.
"""

import dataclasses

import pytest
import torch
from torch import nn

from baselines.dfgan import Affine, DownBlock, OneWayDiscriminator
from dmgan.data.batches import BatchRules, TrainingBatches
from dmgan.models.initialisation import initialise
from dmgan.models.registry import MODELS, build_model, options_of
from dmgan.options import ArchitectureOptions, CaptionerOptions, TrainingOptions
from dmgan.sampling.trained_model import image_noise
from dmgan.text.captioner import Captioner
from dmgan.text.damsm import EncodedCaptions
from dmgan.training.optimizers import WeightAverage
from dmgan.training.train import batch_rules, encode_batch, further_inputs, step_noise
from dmgan.training.trainer import Trainer
from tests.conftest import TRAINING
from tests.training.short_runs import train_briefly

DAMSM_TEXT, CHAR_CNN_RNN = 256, 1024  # dimensions of a sentence feature
COCO = {"generator_width": 48, "discriminator_width": 96, "residual_blocks": 3}
ATTENTIONAL = [6_313_730, 19_424_002, 71_858_946]  # discriminators of AttnGAN's type on CUB
ATTENTIONAL_COCO = [13_304_450, 42_800_258, 160_774_274]
# Model, sizes that differ from its defaults, text, and the release's parameters without dead ones: of the generator, of
# the discriminators
RELEASED = [
    ("dfgan", {}, DAMSM_TEXT, 9_744_131, [6_619_206 - 197_376 + 295_936]),  # dead: shortcuts of equal widths
    ("stackganpp", {}, CHAR_CNN_RNN, 21_239_696, [5_723_906, 18_834_178, 71_269_122]),
    ("stackgan", {}, CHAR_CNN_RNN, 20_020_832 + 37_130_480, [12_407_425, 159_889_538]),
    ("stackgan", {"generator_width": 128, "discriminator_width": 64, "residual_blocks": 4}, CHAR_CNN_RNN,
     10_301_248 + 26_290_080, [5_715_713, 71_269_122]),
    # dead: the projections of words to the places of the other stage and of the other attention
    ("controlgan", {}, DAMSM_TEXT, 28_646_704 - 15_728_640, ATTENTIONAL),
    ("controlgan", COCO, DAMSM_TEXT, 36_733_888 - 15_728_640, ATTENTIONAL_COCO),
    ("mirrorgan", {}, DAMSM_TEXT, 7_105_392, ATTENTIONAL),
    ("mirrorgan", COCO, DAMSM_TEXT, 13_853_408, ATTENTIONAL_COCO),
    # without the biases of convolutions, which are zero in every pass of the release
    ("gan-int-cls", {}, CHAR_CNN_RNN, 18_905_472, [4_030_080]),
    ("gan-cls", {}, CHAR_CNN_RNN, 41_101_080, [36_183_440]),
    ("attngan-dcgan", {}, DAMSM_TEXT, 6_638_960, [71_850_753]),
    ("attngan-dcgan", {"generator_width": 48, "discriminator_width": 96}, DAMSM_TEXT, 12_312_416, [160_761_985]),
]  # fmt: skip
WORD_LEVEL_LAYER = 256 * 256  # of ControlGAN's word-level discriminator, which has no layer in the release


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters() if each.requires_grad)


def initialised(name: str, network: str) -> nn.Module:
    """Return the generator or the discriminators of a model at small sizes, with its initial weights."""
    torch.manual_seed(0)
    given = {"base_size": 16, "generator_width": 8, "discriminator_width": 8, "stages": 2}
    model = build_model(name, options_of(ArchitectureOptions, name, given), 64)
    module = model if network == "generator" else model.discriminators()
    initialise(module, model.initial_weights)
    return module


@pytest.mark.parametrize(("name", "sizes", "text", "generator", "discriminators"), RELEASED)
def test_parameters_at_released_sizes(name, sizes, text, generator, discriminators):
    with torch.device("meta"):
        model = build_model(name, options_of(ArchitectureOptions, name, sizes), text)
        found = [parameters(each) for each in model.discriminators()]
    assert parameters(model) == generator
    own_layer = WORD_LEVEL_LAYER if name == "controlgan" else 0
    assert found == [count + own_layer for count in discriminators]


def test_the_first_stage_of_stackgan_has_half_its_width_at_64_px():
    with torch.device("meta"):
        model = build_model("stackgan", options_of(ArchitectureOptions, "stackgan", {}), CHAR_CNN_RNN)
    assert parameters(model.stage1) == 20_020_832 and parameters(model.stage2) == 37_130_480


def test_the_captioner_of_mirrorgan_has_the_doubled_state():
    """5,768,010 weights in embedding, LSTM and logits for CUB's 5,450 words: a state of 512, not of 256."""
    with torch.device("meta"):
        captioner = Captioner(5450, 2048, CaptionerOptions())
    recurrent = sum(parameters(each) for each in (captioner.embedding, captioner.lstm, captioner.logits))
    assert captioner.lstm.hidden_size == 512 and recurrent == 5_768_010


@pytest.mark.parametrize("network", ["generator", "discriminators"])
@pytest.mark.parametrize("name", ["stackgan", "gan-int-cls"])
def test_normal_initial_weights_as_in_dcgan(name, network):
    module = initialised(name, network)
    kept = [each for each in module.modules() if getattr(each, "keeps_initialisation", False)]
    convolutions = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    layers = [each for each in module.modules() if isinstance(each, convolutions) and each not in kept]
    values = torch.cat([layer.weight.detach().flatten() for layer in layers])
    assert float(values.std()) == pytest.approx(0.02, rel=0.05) and abs(float(values.mean())) < 0.002
    assert len(kept) == (1 if name == "gan-int-cls" else 0), "GAN-INT-CLS keeps Torch 7's uniform linear layers"
    for layer in kept:
        assert float(layer.weight.abs().max()) == pytest.approx(64**-0.5, rel=0.05)
        assert float(layer.weight.std()) == pytest.approx(64**-0.5 / 3**0.5, rel=0.05)


def test_the_affine_transformations_of_df_gan_start_as_the_identity():
    model = initialised("dfgan", "generator")
    h, c = torch.randn(2, 8, 4, 4), torch.randn(2, 164)
    affine = [each for each in model.modules() if isinstance(each, Affine) and each.gamma[2].out_features == 8][0]
    assert torch.equal(affine(h, c), h)
    assert affine.gamma[0].out_features == 8, "hidden layers are as wide as the features"
    block = DownBlock(8, 8)
    assert torch.equal(block(h), torch.nn.functional.avg_pool2d(h, 2)), "the weight of the residual starts at 0"
    (discriminator,) = initialised("dfgan", "discriminators")
    assert isinstance(discriminator, OneWayDiscriminator)
    bound = 27**-0.5  # torch's default: uniform in +-1/sqrt(inputs)
    assert float(discriminator.stem.weight.abs().max()) == pytest.approx(bound, rel=0.05)


def test_the_bias_of_mirrorgans_sentence_projection_starts_at_zero():
    model = initialised("mirrorgan", "generator")
    (refinement,) = model.refine
    assert torch.equal(refinement.attention.V.bias, torch.zeros(8))
    assert refinement.narrow.weight.shape == (16, 24, 1, 1) and refinement.narrow.bias is None


@pytest.mark.parametrize("name", ["dfgan", "gan-int-cls", "gan-cls", "stackgan"])
def test_models_without_averaged_weights_keep_the_last_weights(name):
    assert options_of(TrainingOptions, name, {}).ema_decay == 0
    layer = nn.Linear(3, 2)
    average = WeightAverage(layer, 0.0)
    nn.init.normal_(layer.weight)
    last = layer.weight.detach().clone()
    average.update(layer)
    nn.init.zeros_(layer.weight)
    average.copy_to(layer)
    assert torch.equal(layer.weight, last)


@pytest.mark.parametrize(("name", "epochs"), [("gan-int-cls", 100), ("gan-cls", 40), ("stackgan", 20), ("dmgan", 0)])
def test_epochs_after_which_the_released_rates_are_halved(name, epochs):
    assert options_of(TrainingOptions, name, {}).lr_halving_epochs == epochs


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dmgan", [1, 1, 0.5, 0.5, 0.25, 0.25]), ("stackgan", [1, 1, 0.5, 1, 1, 0.5])],  # StackGAN: three epochs a stage
)
def test_rates_are_halved_again_and_again_and_start_anew_with_a_stage(
    name, expected, training_inputs, tmp_path, monkeypatch
):
    factors = []

    def scale(trainer, factor):
        factors.append(factor)
        scale_learning_rates(trainer, factor)
        rates = [trainer.generator_adam, *trainer.discriminator_adams]
        assert {group["lr"] for adam in rates for group in adam.param_groups} == {2e-4 * factor}

    scale_learning_rates = Trainer.scale_learning_rates
    monkeypatch.setattr(Trainer, "scale_learning_rates", scale)
    train_briefly(training_inputs, tmp_path, name, dataclasses.replace(TRAINING, epochs=6, lr_halving_epochs=2))
    assert factors[:: len(factors) // 6] == expected


def test_sampled_noise_of_df_gan_is_truncated_and_scaled():
    entry = MODELS["dfgan"]
    values = torch.cat([image_noise(0, i, 100, entry.noise_bound, entry.noise_scale) for i in range(200)])
    assert float(values.abs().max()) == pytest.approx(0.88 * 2, rel=0.01)
    assert float(values.std()) == pytest.approx(0.88 * 0.8796, rel=0.02)  # of the standard normal within +-2
    assert all(
        entry.noise_bound is None and entry.noise_scale == 1 for name, entry in MODELS.items() if name != "dfgan"
    )
    kept = image_noise(0, 0, 100).abs() <= 2
    assert torch.equal(image_noise(0, 0, 100, bound=2.0)[kept], image_noise(0, 0, 100)[kept])


def test_the_registry_has_attndcgans_released_residual_blocks_and_weight_of_the_damsm_loss():
    assert options_of(ArchitectureOptions, "attngan-dcgan", {}).residual_blocks == 0
    assert options_of(TrainingOptions, "attngan-dcgan", {}).damsm_weight == 1


def test_sentence_features_of_gan_int_cls_are_means_of_several_captions():
    assert options_of(TrainingOptions, "gan-int-cls", {}).captions_per_image == 4
    assert options_of(TrainingOptions, "gan-cls", {}).captions_per_image == 3


def test_an_image_has_the_mean_sentence_feature_of_its_captions(dataset):
    rules = batch_rules(MODELS["gan-int-cls"].losses, TrainingOptions(captions_per_image=4, sort_by_length=True))
    assert rules == BatchRules(4, True, "other_class", False)
    batch = TrainingBatches(dataset, [32], 4, 60, seed=3, rules=rules).read(0)

    def encode(tokens, lengths) -> EncodedCaptions:
        return EncodedCaptions(tokens[:, :3].double(), tokens[:, None, :], None, lengths)

    captions = encode_batch(batch, encode)
    every = [batch.tokens, *(tokens for tokens, _ in batch.further_captions)]
    torch.testing.assert_close(captions.sentence, torch.stack([each[:, :3].double() for each in every]).mean(dim=0))
    assert len(every) == 4 and torch.equal(captions.words[:, 0], batch.tokens)


def test_noise_of_the_generators_update_differs_from_that_of_the_discriminators(dataset):
    """GAN-INT-CLS: new noise for the captions and for their means; other models draw nothing more."""
    batch = TrainingBatches(dataset, [32], 4, 60, seed=3, rules=BatchRules(wrong_images="other_class")).read(0)

    def noise(rows, purpose) -> torch.Tensor:
        return step_noise(5, 7, rows, 6, purpose)

    further = further_inputs(batch, None, MODELS["gan-int-cls"].losses, noise)
    assert further.generator_noise.shape == (6, 6) and not torch.equal(
        further.generator_noise[:4], noise(4, "training noise")
    )
    assert further_inputs(batch, None, MODELS["gan-cls"].losses, noise).generator_noise is None
