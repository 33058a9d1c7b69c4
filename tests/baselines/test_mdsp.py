"""MDSP's modules against naive loops over their letters, its features, and its figures."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from baselines.mdsp import AffineCombination, ContentDiscriminator, channel_means, content_features
from dmgan.data.batches import TrainingBatches
from dmgan.errors import UserError
from dmgan.models.initialisation import initialise
from dmgan.models.registry import MODELS, build_model
from dmgan.models.vgg import CHANNELS, REDUCTION, feature_network, small
from dmgan.options import ArchitectureOptions, LossOptions
from dmgan.report.figures.render import write_figures
from dmgan.sampling.trained_model import load_run
from dmgan.storage.seals import write_sealed_json
from dmgan.training.gan_losses import discriminator_loss, r1_penalty
from tests.conftest import ARCHITECTURE, CPU, TRAINING
from tests.reading import read_csv
from tests.training.short_runs import train_briefly


def random(*shape) -> torch.Tensor:
    """Return float64 noise, a pure function of the shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_mean_features_are_channel_means():
    v = random(2, 3, 4, 5)
    for b in range(2):
        for c in range(3):
            total = sum(v[b, c, y, x] for y in range(4) for x in range(5))
            assert float(channel_means(v)[b, c]) == pytest.approx(float(total) / 20)


def test_the_noise_varies_more_than_the_mean_features_in_the_first_layer(dataset):
    """At initial weights, z's part of the first layer's outputs varies more over images than that of v_g."""
    torch.manual_seed(0)
    model = build_model("mdsp", ARCHITECTURE, 12)
    initialise(model)
    images = TrainingBatches(dataset, model.image_sizes, 16, 8, 0)[0].images
    v_g = channel_means(small()(images[-1]))
    z = torch.randn(len(v_g), ARCHITECTURE.noise_dim)
    widths = [ARCHITECTURE.condition_dim, z.shape[1], v_g.shape[1]]
    _, of_noise, of_features = model.h_net1.fc[0].weight.detach().split(widths, dim=1)
    assert float((v_g @ of_features.t()).std(dim=0).mean()) < float((z @ of_noise.t()).std(dim=0).mean())


def test_affine_combination_equals_a_naive_loop():
    """h' = h W(v) + b(v), with its convolutions written out."""
    torch.manual_seed(0)
    module, h, V = AffineCombination(2).double(), random(1, 2, 3, 3), random(1, 2, 3, 3)

    def convolved(conv, x):
        padded = torch.zeros(x.shape[0], 5, 5, dtype=torch.float64)
        padded[:, 1:4, 1:4] = x
        places = [
            [(conv.weight * padded[:, y : y + 3, x : x + 3]).sum(dim=(1, 2, 3)) for x in range(3)] for y in range(3)
        ]
        return torch.stack([torch.stack(row, dim=1) for row in places], dim=1)

    shared = convolved(module.shared, V[0])
    wanted = h[0] * convolved(module.W, shared) + convolved(module.b, shared)
    torch.testing.assert_close(module(h, V)[0], wanted)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_content_features_are_pooled_images(pooling):
    x = random(1, 3, 8, 8)
    first, second = content_features(x, 2, pooling)
    assert first.shape == (1, 3, 4, 4) and second.shape == (1, 3, 2, 2)
    block = [x[0, 1, y, z] for y in (2, 3) for z in (4, 5)]
    assert float(first[0, 1, 1, 2]) == pytest.approx(float(max(block) if pooling == "max" else sum(block) / 4))
    if pooling == "average":
        assert float(second[0, 1, 0, 1]) == pytest.approx(float(x[0, 1, :4, 4:].mean()))


@pytest.mark.parametrize(
    ("size", "sides"), [(64, (32, 16, 8, 4)), (128, (64, 32, 16, 8, 4)), (256, (128, 64, 32, 16, 8, 4))]
)
def test_the_discriminator_reads_content_features_from_half_its_size_to_4(size, sides):
    """2^n px: n - 2 content features, which add their channels to the convolutions."""
    with_content, without = (ContentDiscriminator(size, 2, 5, content) for content in ("average", "none"))
    assert tuple(each.shape[-1] for each in content_features(torch.zeros(1, 3, size, size), len(sides), "max")) == sides
    assert len(with_content.halve) == len(without.halve) == len(sides)
    more = [
        ours[0].module.weight_bar.shape[1] - theirs[0].module.weight_bar.shape[1]
        for ours, theirs in zip(with_content.halve, without.halve, strict=True)
    ]
    assert more == [0] + [3] * (len(sides) - 1)
    assert with_content.features(torch.zeros(2, 3, size, size)).shape[-1] == 4


def test_content_features_change_the_logits():
    """Without the weights of the content channels the logits are different."""
    torch.manual_seed(0)
    discriminator, images, sentence = (
        ContentDiscriminator(16, 2, 5, "average").eval(),
        torch.randn(2, 3, 16, 16),
        torch.randn(2, 5),
    )
    before = discriminator.conditional(discriminator.features(images), sentence)
    with torch.no_grad():
        discriminator.halve[1][0].module.weight_bar[:, -3:] = 0
    assert (discriminator.conditional(discriminator.features(images), sentence) - before).abs().max() > 1e-4


class Quadratic(torch.nn.Module):
    """D(x) = a |x|^2 without and <w, x> with the sentence: gradients 2 a x and w."""

    has_unconditional_head = True

    def __init__(self, w):
        super().__init__()
        self.w, self.a = w, torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def features(self, images):
        return images.flatten(1)

    def unconditional(self, features):
        return self.a * features.square().sum(dim=1)

    def conditional(self, features, sentence):
        return features @ self.w


def test_r1_penalises_both_heads():
    """gamma / 2 times the mean of |2 a x + w|^2, and its gradient in a: gamma times the mean of <2 a x + w, 2 x>."""
    real, w = random(3, 1, 2, 2), random(4)
    discriminator = Quadratic(w)
    losses = [
        discriminator_loss(
            discriminator,
            real,
            random(3, 1, 2, 2),
            random(3, 5),
            LossOptions(mismatched_captions=False, r1=r1),
            r1_gamma=6.0,
        )
        for r1 in (False, True)
    ]
    x, a = real.flatten(1), float(discriminator.a.detach())
    wanted = sum(float((2 * a * each + w).square().sum()) for each in x) / 3 * 6.0 / 2
    assert float((losses[1] - losses[0]).detach()) == pytest.approx(wanted)
    (slope,) = torch.autograd.grad(losses[1] - losses[0], discriminator.a)
    assert float(slope) == pytest.approx(6.0 * sum(float((2 * a * each + w) @ (2 * each)) for each in x) / 3)
    assert not real.requires_grad


def test_r1_of_an_image_does_not_depend_on_its_batch():
    """There is no batch normalisation: the other images do not change an image's gradient."""
    torch.manual_seed(0)
    discriminator = ContentDiscriminator(16, 2, 5, "average").eval().double()
    images = random(3, 3, 16, 16)
    together, alone = images.clone().requires_grad_(), images[:1].clone().requires_grad_()
    ours = r1_penalty(discriminator.unconditional(discriminator.features(together))[:1], together, 2.0) * 3
    theirs = r1_penalty(discriminator.unconditional(discriminator.features(alone)), alone, 2.0)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-10) and float(theirs) > 0


def test_the_small_feature_network_is_reproducible():
    network, images = small(), torch.rand(2, 3, 32, 32)
    assert network(images).shape == (2, CHANNELS["small"], 2, 2) and network(images).std() > 0
    assert torch.equal(network(images), small()(images)) and network.sha256 == small().sha256
    assert network.sha256.startswith("ba494eabdcddecf0")


@pytest.mark.slow
def test_vgg16_features_are_relu5_3_of_torchvision_s_weights(tmp_path):
    from torchvision.models import vgg16 as build

    torch.manual_seed(0)
    whole = build(weights=None).eval()
    state = {key: value for key, value in whole.state_dict().items() if key.startswith("features.")}
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg16.pth")
    network = feature_network("vgg16", tmp_path / "vgg16.pth")
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    features = network(images)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = ((images + 1) / 2 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        wanted = whole.features[:-1](normalised)  # without the last pooling: relu5_3
    torch.testing.assert_close(features, wanted)
    assert features.shape == (1, 512, 32 // REDUCTION, 32 // REDUCTION) and features.min() >= 0

    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other.pth: .*give --vgg16-weights vgg16-397923af.pth"):
        feature_network("vgg16", tmp_path / "other.pth")
    with pytest.raises(UserError, match="feature_network vgg16: needs VGG-16's weights; .*--feature-network small"):
        feature_network("vgg16", None)


def test_inputs_that_a_model_does_not_read_are_refused(training_inputs, tmp_path):
    inputs = dataclasses.replace(training_inputs, vgg16_weights=tmp_path / "vgg16.pth")
    for name in ("dmgan", "mdsp-a0", "mdsp"):  # ARCHITECTURE has the small feature network
        with pytest.raises(UserError, match="--vgg16-weights .*leave"):
            train_briefly(inputs, tmp_path / "run", name)
    with pytest.raises(UserError, match="--captioner .*: dmgan does not use a captioner; leave the option out"):
        train_briefly(dataclasses.replace(training_inputs, captioner=tmp_path), tmp_path / "run")
    with pytest.raises(UserError, match="stages 5: the features, 1/16 of the last side, are larger"):
        build_model("mdsp", ArchitectureOptions(base_size=8, stages=5, feature_network="small"), 12)


def test_every_ablation_of_the_grid_removes_its_component():
    models = {
        name: build_model(name, ARCHITECTURE, 12) for name in ("mdsp", "mdsp-a0", "mdsp-a1", "mdsp-a2", "mdsp-a7")
    }
    assert [MODELS[name].retrieves for name in models] == [True, False, True, True, True]
    inputs = {name: model.h_net1.fc[0].in_features for name, model in models.items()}
    assert inputs["mdsp"] == inputs["mdsp-a1"] == inputs["mdsp-a0"] + CHANNELS["small"]
    assert inputs["mdsp-a2"] == inputs["mdsp-a7"] == inputs["mdsp-a0"]
    noise, sentence = torch.randn(2, models["mdsp"].noise_dim), torch.randn(2, 12)
    with pytest.raises(ValueError, match="from retrieved features"):
        models["mdsp"].generate(noise, sentence, torch.zeros(2, 12, 3), torch.zeros(2, 3, dtype=torch.bool))


@pytest.mark.slow
def test_a_trained_run_draws_figures_and_refuses_a_changed_data_set(training_inputs, data, tmp_path):
    train_briefly(training_inputs, tmp_path / "run", "mdsp")
    run = load_run(tmp_path / "run", CPU)
    assert run.memory_bank is not None and run.memory_bank.features.name == "small"
    path = tmp_path / "run" / "options.json"
    written = json.loads(path.read_text())
    assert written["inputs"]["features"] == {"name": "small", "sha256": small().sha256}
    write_sealed_json(path, written | {"inputs": written["inputs"] | {"data": {}}})
    with pytest.raises(UserError, match="changed after .* was trained on it"):
        load_run(tmp_path / "run", CPU)

    write_sealed_json(path, written)
    write_figures([tmp_path / "run"], data, tmp_path / "figures", 100, CPU, tmp_path / "memory")
    assert {path.name.split("-")[0] for path in (tmp_path / "memory").iterdir()} == {"sentences", "values"}
    for number in (3, 5):
        with Image.open(tmp_path / "figures" / f"002-figure{number}.png") as picture:
            assert min(picture.size) > 400
        assert (tmp_path / "figures" / f"002-figure{number}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_training_weights_r1_by_r1_gamma(training_inputs, tmp_path):
    first = {}
    for gamma in (0.0, 50.0):
        out, training = tmp_path / f"gamma{gamma:g}", dataclasses.replace(TRAINING, epochs=1, r1_gamma=gamma)
        train_briefly(training_inputs, out, "mdsp", training)
        first[gamma] = float(read_csv(out / "history.csv")[0]["discriminator0"])
    assert first[50.0] > first[0.0]
