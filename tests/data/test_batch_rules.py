"""What training batches hold beside one caption per image, and their order, by `BatchRules`."""

import numpy as np
import pytest
import torch

from dmgan.data.batches import BatchRules, TrainingBatches
from dmgan.errors import UserError

STEPS = range(12)  # two epochs of six batches


def batches(dataset, part=slice(None), **rules) -> TrainingBatches:
    return TrainingBatches(dataset, [32, 16], 4, 60, seed=3, part=part, rules=BatchRules(**rules))


def test_rules_do_not_change_images_and_captions_of_the_plain_batch(dataset):
    plain = batches(dataset).read(0)
    every = batches(dataset, captions_per_image=3, wrong_images="redrawn", wrong_captions=True).read(0)
    assert plain.further_captions == plain.wrong_images == [] and plain.wrong_captions is None
    for field in ("tokens", "lengths", "class_ids"):
        assert torch.equal(getattr(every, field), getattr(plain, field))
    assert all(torch.equal(*pair) for pair in zip(every.images, plain.images, strict=True))
    assert [tuple(each.shape) for each in every.wrong_images] == [(4, 3, 32, 32), (4, 3, 16, 16)]
    assert not torch.equal(every.wrong_images[0], every.images[0])
    assert len(every.further_captions) == 2 and every.to(torch.device("cpu")).wrong_images[0].min() >= -1


def test_further_captions_are_drawn_from_the_captions_of_the_image(dataset):
    rules = batches(dataset, captions_per_image=4)
    repeated = 0
    for step in STEPS:
        for row, index in enumerate(rules.rows(step)):
            own = [dataset.tokens(index, number).tolist() for number in range(dataset.caption_count(index))]
            drawn = [tokens[row, : lengths[row]].tolist() for tokens, lengths in rules.read(step).further_captions]
            assert len(drawn) == 3 and all(each in own for each in drawn)
            repeated += len({tuple(each) for each in drawn}) < 3
    assert repeated, "captions are drawn with replacement"


def drawn_pairs(dataset, rule: str) -> np.ndarray:
    """Return (image of the caption, drawn image) of many mismatched pairs."""
    rules = batches(dataset, wrong_images=rule)
    pairs = []
    for seed in range(400):
        index = int(rules._indices[seed % len(rules._indices)])
        pairs.append((index, rules._wrong_image(index, np.random.default_rng(seed))))
    return np.array(pairs)


def test_a_wrong_image_of_gan_int_cls_is_of_another_class_and_every_class_is_as_likely(dataset):
    classes = dataset.class_ids[drawn_pairs(dataset, "other_class")]
    assert (classes[:, 0] != classes[:, 1]).all()
    assert set(classes[:, 1]) == set(dataset.class_ids[dataset.indices("train")])


def test_a_wrong_image_of_gan_cls_is_another_image_of_any_class(dataset):
    pairs = drawn_pairs(dataset, "other_image")
    assert (pairs[:, 0] != pairs[:, 1]).all()
    classes = dataset.class_ids[pairs]
    assert (classes[:, 0] == classes[:, 1]).any()


def test_a_wrong_image_of_stackgan_pp_is_drawn_once_more_if_its_class_is_the_same(dataset):
    """A share of 1 / classes of the first draws is repeated, so 1 / classes^2 of the pairs have one class."""
    classes = dataset.class_ids[drawn_pairs(dataset, "redrawn")]
    count = len(set(dataset.class_ids[dataset.indices("train")]))
    share = (classes[:, 0] == classes[:, 1]).mean()
    assert 0 < share == pytest.approx(1 / count**2, abs=0.02)


def test_other_classes_need_more_than_one_class(dataset, monkeypatch):
    monkeypatch.setattr(dataset, "class_ids", np.zeros_like(dataset.class_ids))
    with pytest.raises(UserError, match="all training images are of one class"):
        batches(dataset, wrong_images="other_class")


def test_wrong_captions_are_those_of_any_training_image(dataset):
    train = dataset.indices("train")
    every = {tuple(dataset.tokens(i, number).tolist()) for i in train for number in range(dataset.caption_count(i))}
    found = set()
    for step in STEPS:
        tokens, lengths = batches(dataset, wrong_captions=True).read(step).wrong_captions
        assert tokens.shape[0] == lengths.shape[0] == 4
        found |= {tuple(row[:length].tolist()) for row, length in zip(tokens, lengths, strict=True)}
    assert found <= every and len(found) > 10


def test_sorted_batches_hold_the_same_rows_longest_caption_first(dataset):
    plain, ordered = batches(dataset), batches(dataset, sort_by_length=True)
    moved = 0
    for step in STEPS:
        before, after = plain.read(step), ordered.read(step)
        order = [plain.rows(step).tolist().index(each) for each in ordered.rows(step)]
        assert after.lengths.tolist() == sorted(before.lengths.tolist(), reverse=True)
        for field in ("tokens", "lengths", "class_ids"):
            assert torch.equal(getattr(after, field), getattr(before, field)[order])
        assert torch.equal(after.images[0], before.images[0][order])
        moved += order != sorted(order)
    assert moved


def test_smaller_images_show_the_whole_crop(dataset):
    """A model of 16 px on a data set of 32 px reads resized crops of 32 px, not crops of 16 px."""
    whole = TrainingBatches(dataset, [16, 32], 4, 60, seed=3).read(0)
    small = TrainingBatches(dataset, [16], 4, 60, seed=3).read(0)
    assert torch.equal(small.images[0], whole.images[0])


def test_processes_read_their_rows_of_the_wrong_images(dataset):
    whole = batches(dataset, wrong_images="redrawn", sort_by_length=True).read(1)
    part = batches(dataset, part=slice(1, 3), wrong_images="redrawn", sort_by_length=True).read(1)
    assert torch.equal(part.wrong_images[0], whole.wrong_images[0][1:3])
