"""Attribute values of synthbirds: those that captions name, and those that images show."""

import numpy as np

from dmgan.data.sources.synthbirds.attributes import SPECIES_ATTRIBUTES
from dmgan.data.sources.synthbirds.captions import named_attributes
from dmgan.evaluation.attribute_values import NAMES, shown_attributes, wanted_values


def test_wanted_values_are_what_captions_name(dataset):
    texts = [dataset.caption(image, 0) for image in range(12)]
    wanted = wanted_values(texts)
    for row, text in zip(wanted, texts, strict=True):
        named = {name: SPECIES_ATTRIBUTES[name][value] for name, value in zip(NAMES, row, strict=True) if value >= 0}
        assert named == named_attributes(text)


def test_images_that_show_everything_score_all_and_others_less(dataset):
    test = dataset.indices("test")
    wanted = wanted_values([dataset.caption(image, 1) for image in test])
    truth = np.array(
        [[SPECIES_ATTRIBUTES[name].index(dataset.attributes(image)[name]) for name in NAMES] for image in test]
    )
    hits, counts = shown_attributes(truth, wanted)
    assert (hits == counts).all() and (counts >= 3).all()
    moved = np.roll(truth, 4, axis=0)  # another species' images
    assert shown_attributes(moved, wanted)[0].sum() < counts.sum()
