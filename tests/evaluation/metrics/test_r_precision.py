"""R-precision of an image set: against the loop over images, and embeddings that have no cosine."""

import functools
import re

import numpy as np
import pytest

from dmgan.data.vocabulary import fit_caption
from dmgan.errors import UserError
from dmgan.evaluation.controls import control_images
from dmgan.evaluation.feature_store import Rows, StoredFeatures
from dmgan.evaluation.image_sets import ImageSet
from dmgan.evaluation.metrics.base import Measurement, Result
from dmgan.evaluation.metrics.r_precision import RPrecision
from dmgan.evaluation.networks.damsm import read_damsm_encoders
from dmgan.evaluation.statistics import uncertainty
from dmgan.options import EvaluationOptions
from dmgan.runtime.randomness import generator
from dmgan.text.damsm import Damsm
from tests.conftest import CPU
from tests.evaluation.statistics.test_retrieval import literal_hit


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(uncertainty, "RESAMPLES", 100)


@pytest.fixture
def noise(dataset, damsm_folder, tmp_path):
    """The encoder of R-precision, noise images, and embeddings for them that are drawn here."""
    (encoder,) = read_damsm_encoders(Damsm.read(damsm_folder), damsm_folder, None, dataset, CPU)
    subject = control_images("noise", dataset, Damsm.read(damsm_folder), 32, EvaluationOptions(), tmp_path, CPU)
    return encoder, subject, np.random.default_rng(0).normal(size=(len(subject), 16)).astype(np.float32)


def r_precision(encoder, subject, embeddings, dataset, **options) -> Result:
    """R-precision of images with these embeddings (N, E)."""
    stored = {encoder.extractor.name: StoredFeatures({"embeddings": Rows(embeddings)}, {}, "")}
    measurement = Measurement(subject, dataset, EvaluationOptions(**options), stored, {}, np.empty(0, int))
    return RPrecision(encoder).compute(measurement)


@pytest.mark.parametrize(("value", "what"), [(np.nan, "is not finite"), (np.inf, "is not finite"), (0, "has length 0")])
@pytest.mark.parametrize("side", ["image", "caption"])
def test_an_embedding_without_a_cosine_is_an_error_by_name(noise, dataset, monkeypatch, value, what, side):
    """A NaN would count as a miss, and a dead encoder as a hit of every image."""
    encoder, subject, embeddings = noise
    if side == "image":
        embeddings[3] = value
        name = "noise image 3"
    else:
        row, encode = 2, encoder.encode
        monkeypatch.setattr(
            encoder,
            "encode",
            lambda captions: np.where(np.arange(len(captions))[:, None] == row, value, encode(captions)),
        )
        name = f"caption {subject.captions[2]} of {dataset.name(subject.test_images[2])}"
    with pytest.raises(UserError, match=rf"{re.escape(name)}: its embedding by training-damsm {what}") as caught:
        r_precision(encoder, subject, embeddings, dataset)
    assert "\n" not in str(caught.value)


@functools.cache
def drawn_embedding(caption: tuple[int, ...]) -> np.ndarray:
    """An embedding (16,) that depends on the caption's tokens alone."""
    return np.random.default_rng(caption).normal(size=16).astype(np.float32)


@pytest.mark.parametrize(("limit", "read"), [(0, 2), (3, 3), (3, 2)])
def test_r_precision_of_an_image_set_equals_the_loop(noise, dataset, damsm_folder, monkeypatch, limit, read):
    """Captions, classes and mismatched captions image by image; `read`: words of a caption that the generator read."""
    encoder, subject, _ = noise
    monkeypatch.setattr(encoder, "encode", lambda captions: np.stack([drawn_embedding(each) for each in captions]))
    random, test = np.random.default_rng(0), dataset.indices("test")
    shown, which = random.choice(test, 200), random.integers(3, size=200)
    heard = [np.sort(random.permutation(dataset.tokens(*each))[:read]) for each in zip(shown, which, strict=True)]
    sha256 = Damsm.read(damsm_folder).sha256["vocabulary.json"]
    changed = {"test_images": shown, "captions": which, "tokens": heard, "inputs": {"vocabulary_sha256": sha256}}
    subject = ImageSet(**subject._asdict() | changed)

    def words(image, caption):
        tokens = dataset.tokens(image, caption)
        return tuple(fit_caption(tokens, limit or 99, generator(7, "judged words", image, caption)).tolist())

    own = [words(*each) for each in zip(shown, which, strict=True)]
    if limit == read:
        own = [tuple(each.tolist()) for each in heard]
    noises = 2 * random.normal(size=(200, 16)).astype(np.float32)
    embeddings = np.stack([drawn_embedding(each) for each in own]) + noises
    pool = sorted(((i, c) for i in test for c in range(3)), key=lambda each: dataset.class_ids[each[0]])
    draws, hits = generator(7, "mismatched captions").random((200, 99)), []
    for i, image in enumerate(shown):
        others = [each for each in pool if dataset.class_ids[each[0]] != dataset.class_ids[image]]
        mismatched = [words(*others[int(draw * len(others))]) for draw in draws[i]]
        hits.append(literal_hit(embeddings[i], drawn_embedding(own[i]), [drawn_embedding(each) for each in mismatched]))
    result = r_precision(encoder, subject, embeddings, dataset, seed=7, caption_words=limit)
    assert result.hits.tolist() == hits and 50 < sum(hits) < 190
    assert result.protocol["captions"] == ("3 words at most of each" if limit else "whole")
