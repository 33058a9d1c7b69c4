"""Scores of single images: equal to those of R-precision and of the DAMSM loss."""

import numpy as np
import pytest
import torch

from dmgan.data.batches import centre_crop, scaled
from dmgan.evaluation.statistics.retrieval import retrieval_hits
from dmgan.inspection.scores import RANK, SIMILARITY, WORD_SCORE, CaptionScorer, DamsmScorer, draw_candidates
from dmgan.options import MatchingOptions
from dmgan.sampling.trained_model import load_run
from dmgan.training.damsm_loss import matching_scores
from tests.conftest import CPU

CAPTION = "this bird has a red crown and a white belly"


@pytest.fixture(scope="module")
def trained(run_folder):
    return load_run(run_folder, CPU)


@pytest.fixture(scope="module")
def images(dataset) -> np.ndarray:
    return np.stack([centre_crop(dataset, int(index), 32) for index in dataset.indices("test")])


def test_the_scores_are_those_of_the_damsm_loss(trained, images):
    scores = DamsmScorer(trained, []).score(CAPTION, images)
    batch = scaled(torch.from_numpy(images).permute(0, 3, 1, 2))
    captions = trained.damsm.encode_captions([trained.damsm.vocabulary.encode(CAPTION)])
    gammas = MatchingOptions(gamma3=1.0)
    by_word, by_sentence = matching_scores(*trained.damsm.encode_images(batch), captions, gammas)
    assert scores.scorer == "training DAMSM" and set(scores.values) == {WORD_SCORE, SIMILARITY}
    assert scores.values[WORD_SCORE] == pytest.approx(by_word[:, 0].numpy(), rel=1e-5)
    assert scores.values[SIMILARITY] == pytest.approx(by_sentence[:, 0].numpy(), abs=1e-5)


def test_rank_1_is_a_hit_of_r_precision(trained, images, dataset):
    candidates = draw_candidates(dataset, trained.damsm.vocabulary)
    assert len(candidates) == 99 and candidates == draw_candidates(dataset, trained.damsm.vocabulary)
    scores = DamsmScorer(trained, candidates).score(CAPTION, images)
    damsm = trained.damsm
    embeddings = damsm.encode_images(scaled(torch.from_numpy(images).permute(0, 3, 1, 2)))[1].numpy()
    tokens = [damsm.vocabulary.encode(text) for text in [CAPTION, *candidates]]
    sentences = damsm.encode_captions(tokens).sentence.numpy()
    hits = retrieval_hits(embeddings, sentences, np.tile(np.arange(100), (len(images), 1)))
    assert ((scores.values[RANK] == 1) == hits).all()
    assert scores.values[RANK].min() >= 1 and scores.values[RANK].max() <= 100


class KnownEncoder:
    """An encoder whose captions lie at known angles from every image."""

    name = "known"
    _COSINES = {"mine": 0.5, "better": 0.9, "worse": -0.2, "equal": 0.5}

    class extractor:
        prepare = None

        @staticmethod
        def forward(batch):
            return {"embeddings": torch.tensor([[2.0, 0.0]] * len(batch))}

    def caption(self, captions, row, number, options):
        return captions.caption(row, number)

    def encode(self, captions):
        return np.array([[self._COSINES[each], (1 - self._COSINES[each] ** 2) ** 0.5] for each in captions])


def test_the_rank_counts_better_captions_only():
    scorer = CaptionScorer(lambda captions: KnownEncoder(), ["better", "worse", "equal", "mine", "better"], CPU)
    scores = scorer.score("mine", np.zeros((2, 8, 8, 3), np.uint8))
    assert scores.values[RANK].tolist() == [3, 3] and scores.values[SIMILARITY] == pytest.approx([0.5, 0.5])
    assert scores.of_image(1) == {"similarity(known)": pytest.approx(0.5), "rank of 100(known)": 3}


def test_candidates_hold_a_word_of_the_vocabulary(dataset, released, imported):
    vocabulary = load_run(imported, CPU).damsm.vocabulary
    assert all(len(vocabulary.encode(text)) for text in draw_candidates(dataset, vocabulary))
