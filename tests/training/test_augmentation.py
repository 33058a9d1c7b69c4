"""DiffAugment: the authors' formulas, its random numbers, and its place in the training step."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dmgan.models.registry import MODELS
from dmgan.options import PLAIN_ENGINE, EngineOptions
from dmgan.training.augmentation import NUMBERS, augment, augmentation_numbers
from dmgan.training.trainer import Trainer
from tests.conftest import CPU, TRAINING
from tests.training.device_steps import augmented, inputs_of, make_trainer
from tests.training.short_runs import assert_equal_files, assert_resumes_bit_exactly, train_briefly

ALL = "color,translation,cutout"


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def numbers(**given: float) -> Tensor:
    """Random numbers of four images, in the middle but for the given."""
    names = ("brightness", "saturation", "contrast", "down", "right", "cut_down", "cut_right")
    return torch.tensor([[given.get(name, 0.5) for name in names]]).expand(4, -1)


def test_none_and_the_middle_of_every_number_change_nothing(images):
    assert torch.equal(augment(images, "none", numbers()), images)
    torch.testing.assert_close(augment(images, "color", numbers()), images)
    assert torch.equal(augment(images, "translation", numbers()), images)


def test_color_is_brightness_then_saturation_then_contrast(images):
    found = augment(images, "color", numbers(brightness=0.9, saturation=0.0))
    grey = images.mean(dim=1, keepdim=True) + 0.4
    torch.testing.assert_close(found, grey.expand_as(images))
    found = augment(images, "color", numbers(contrast=0.0))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(found, mean + (images - mean) / 2)
    found = augment(images, "color", numbers(saturation=0.75))
    grey = images.mean(dim=1, keepdim=True)
    torch.testing.assert_close(found, grey + 1.5 * (images - grey))


@pytest.mark.parametrize(("number", "shift"), [(0.0, -2), (0.3, -1), (0.5, 0), (0.7, 1), (0.999, 2), (1 - 2**-24, 2)])
def test_translation_moves_by_up_to_an_eighth_and_fills_with_zeros(images, number, shift):
    padded = F.pad(images, (2, 2, 2, 2))
    down = padded[:, :, 2 - shift : 18 - shift, 2:18]
    assert torch.equal(augment(images, "translation", numbers(down=number)), down)
    right = padded[:, :, 2:18, 2 - shift : 18 - shift]
    assert torch.equal(augment(images, "translation", numbers(right=number)), right)


def test_cutout_hides_half_the_side_about_a_centre_that_may_be_at_the_border(images):
    middle = augment(images, "cutout", numbers())
    assert (middle[:, :, 4:12, 4:12] == 0).all() and (middle != 0).sum() == 4 * 3 * (256 - 64)
    corner = augment(images, "cutout", numbers(cut_down=0.0, cut_right=1 - 2**-24))
    assert (corner[:, :, :4, 12:] == 0).all() and (corner != 0).sum() == 4 * 3 * (256 - 16)
    odd = augment(images[:, :, :15, :15], "cutout", numbers(cut_down=0.0))
    assert (odd == 0).any(dim=1).sum() == 4 * 4 * 8


def test_a_gradient_reaches_every_pixel_that_is_shown(images):
    images.requires_grad_()
    augment(images, ALL, numbers()).square().sum().backward()
    shown = images.grad.abs().sum(dim=1) > 0
    hidden = torch.zeros(16, 16, dtype=torch.bool)
    hidden[4:12, 4:12] = True
    assert torch.equal(shown, ~hidden.expand(4, -1, -1))


def test_the_numbers_are_a_pure_function_of_seed_and_step():
    first = augmentation_numbers(0, 7, 4, 3)
    assert first.shape == (4, 4, 3, NUMBERS) and first.min() >= 0 and first.max() < 1
    assert torch.equal(first, augmentation_numbers(0, 7, 4, 3))
    assert not torch.equal(first, augmentation_numbers(0, 8, 4, 3))
    assert not torch.equal(first, augmentation_numbers(1, 7, 4, 3))


@pytest.fixture
def trainer_of(dataset, damsm_folder, captioner_folder):
    """A function (model, engine) -> trainer on the CPU."""
    return lambda name, engine=PLAIN_ENGINE: make_trainer(name, dataset, damsm_folder, captioner_folder, CPU, engine)


def step_of(trainer: Trainer, policy: str) -> dict[str, float]:
    """Run one step with a policy of DiffAugment and return its losses."""
    trainer.model.begin_step(0, 2)
    losses = trainer.step(*augmented(trainer, inputs_of(trainer, 0), policy, 0))
    return {name: loss.item() for name, loss in losses.items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_with_it_and_none_changes_nothing(name, trainer_of):
    trainer = trainer_of(name)
    trainer.model.begin_step(0, 2)
    plain = {loss: value.item() for loss, value in trainer.step(*inputs_of(trainer, 0)).items()}
    assert step_of(trainer_of(name), "none") == plain
    found = step_of(trainer_of(name), ALL)
    assert found.keys() == plain.keys() and all(map(math.isfinite, found.values()))
    for i in trainer.model.trained_images:
        assert found[f"discriminator{i}"] != plain[f"discriminator{i}"]


def test_fused_blocks_have_the_same_losses(trainer_of):
    expected, found = (step_of(trainer_of("attngan", EngineOptions(fused=fused)), ALL) for fused in (False, True))
    assert found == pytest.approx(expected, rel=2e-3)


def test_micro_batches_read_their_rows_of_the_numbers(trainer_of):
    trainer = trainer_of("dfgan", EngineOptions(accumulate=2))
    inputs = augmented(trainer, inputs_of(trainer, 0), ALL, 0)
    batches = trainer._micro_batches(inputs.images, inputs.captions, inputs.noise, inputs.further)
    assert torch.equal(torch.cat([each.augmentation for each in batches]), inputs.further.augmentation)
    assert all(torch.isfinite(loss) for loss in trainer.step(*inputs).values())


def test_the_generator_learns_through_it(trainer_of):
    trainer = trainer_of("dmgan")
    before = [each.clone() for each in trainer.model.parameters()]
    step_of(trainer, ALL)
    assert all(not torch.equal(new, old) for new, old in zip(trainer.model.parameters(), before, strict=True))


def test_a_training_with_it_resumes_bit_exactly_and_differs_from_one_without(training_inputs, tmp_path, monkeypatch):
    training = dataclasses.replace(TRAINING, epochs=1, diff_augment=ALL)

    def make(out):
        train_briefly(training_inputs, out, "attngan", training)

    assert_resumes_bit_exactly(make, tmp_path, monkeypatch)
    train_briefly(training_inputs, tmp_path / "plain", "attngan", dataclasses.replace(training, diff_augment="none"))
    with pytest.raises(AssertionError):
        assert_equal_files(tmp_path / "run", tmp_path / "plain", "generator.safetensors")
