"""Captions to tokens: the papers' rules, and the vocabulary of released encoders."""

import json
import pickle

import numpy as np
import pytest

from dmgan.data.letters import FOLDED
from dmgan.data.vocabulary import Vocabulary, caption_to_words, fit_caption, pad_captions, read_vocabulary
from dmgan.errors import UserError
from dmgan.runtime.randomness import generator
from tests.data.made_sources import write_captions_pickle

WORDS = Vocabulary(["<end>", "a", "bird", "red", "with", "wings"])


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        (
            "This bird has a Red crown, and it's small.",
            ["this", "bird", "has", "a", "red", "crown", "and", "it", "s", "small"],
        ),
        ("grey\ufffd\ufffdwings", ["grey", "wings"]),
        ("caf\u00e9 bird", ["caf", "bird"]),
        ("\u9ce5 bird", ["bird"]),
        (" .,!? ", []),
    ],
)
def test_words_are_lower_case_ascii(caption, words):
    assert caption_to_words(caption) == words


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Grüner Käfer, STRAẞE", ["gruner", "kafer", "strasse"]),
        ("cafe\u0301 naïve", ["cafe", "naive"]),  # the accent is a character of its own
        ("smørrebrød \u0141ód\u017a", ["smorrebrod", "lodz"]),
        ("\u9ce5 \u043f\u0442\u0438\u0446\u0430 bird", ["\u9ce5", "\u043f\u0442\u0438\u0446\u0430", "bird"]),
        ("This bird's red\ufffd\ufffdcrown", ["this", "bird", "s", "red", "crown"]),
    ],
)
def test_letters_may_be_folded_instead_of_dropped(caption, words):
    assert caption_to_words(caption, FOLDED) == words


def test_the_rule_for_letters_is_stored_with_the_words(tmp_path):
    folded = Vocabulary.of(["grüner Käfer"], FOLDED)
    assert folded.words == ("<end>", "gruner", "kafer") and folded.encode("GRÜNER bird").tolist() == [1]
    assert Vocabulary.of(["grüner Käfer"]).words == ("<end>", "grner", "kfer")  # as the released code
    for vocabulary in (folded, WORDS):
        vocabulary.write(tmp_path / "vocabulary.json")
        assert Vocabulary.read(tmp_path / "vocabulary.json") == vocabulary
    assert json.loads((tmp_path / "vocabulary.json").read_text()) == list(WORDS.words)
    assert Vocabulary(WORDS.words, FOLDED) != WORDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["<end>", []], "must be a list of words"), ([], "must be a list of words"), ({}, "is not a list of words"),
        ({"letters": "other", "words": ["<end>"]}, "letters 'other' is none of released, folded"),
        ({"letters": "folded", "words": "<end>"}, "is not a list of words"),
    ],
)  # fmt: skip
def test_other_content_is_no_vocabulary(content, message, tmp_path):
    (tmp_path / "vocabulary.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"vocabulary.json: .*{message}"):
        Vocabulary.read(tmp_path / "vocabulary.json")


def test_ids_count_from_one_and_unknown_words_are_left_out():
    assert WORDS.encode("A red BIRD with purple wings").tolist() == [1, 3, 2, 4, 5]
    assert WORDS.unknown("a purple bird") == ["purple"]
    assert WORDS.decode([1, 3, 2, 0]) == ["a", "red", "bird"]


def test_a_caption_without_a_known_word_is_refused():
    with pytest.raises(UserError, match="holds no word"):
        WORDS.encode_or_refuse("  ... ")
    with pytest.raises(UserError, match="knows no word of this caption"):
        WORDS.encode_or_refuse("quantum chromodynamics")
    with pytest.raises(UserError, match="must begin with '<end>'"):
        Vocabulary(["bird"])


def test_a_long_caption_keeps_a_random_ordered_subset():
    tokens = np.arange(1, 31)
    kept = fit_caption(tokens, 18, generator(0, "test", 1))
    assert len(set(kept)) == 18 and (np.diff(kept) > 0).all()
    assert np.array_equal(kept, fit_caption(tokens, 18, generator(0, "test", 1)))
    assert not np.array_equal(kept, fit_caption(tokens, 18, generator(0, "test", 2)))
    assert np.array_equal(fit_caption(tokens[:18], 18, generator(0, "test", 1)), tokens[:18])


def test_every_position_is_kept_equally_often():
    counts = np.zeros(30)
    for i in range(2000):
        counts[fit_caption(np.arange(30), 18, generator(0, "subset", i))] += 1
    assert np.abs(counts / 2000 - 0.6).max() < 0.06


def test_captions_are_padded_to_the_longest():
    tokens, lengths = pad_captions([np.array([3, 2]), np.array([1, 2, 3, 4])])
    assert tokens.tolist() == [[3, 2, 0, 0], [1, 2, 3, 4]] and lengths.tolist() == [2, 4]


def test_random_streams_depend_only_on_their_key():
    def draw(*key):
        return generator(*key).integers(2**62, size=4).tolist()

    keys = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 0, 1), (0, "a", 1, 1)]
    assert len({tuple(draw(*key)) for key in keys}) == len(keys)
    assert draw(5, "crop", 7) == draw(5, "crop", 7)
    long = generator(0, "a", 1).integers(2**62, size=100_000)
    assert not set(long) & set(generator(0, "a", 2).integers(2**62, size=1000))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[:3], "is not a list .training captions"),
        (lambda c: c[0], "is not a list .training captions"),
        (lambda c: [*c[:2], {1: "a"}, {"a": 1}], "without a gap"),
        (lambda c: [*c[:2], {0: "<end>", 1: 7}, {"<end>": 0, 7: 1}], "does not number words"),
        (lambda c: [*c[:3], {"<end>": 0, "red": 2, "bird": 1}], "is not the inverse"),
        (lambda c: [*c[:2], {0: "red"}, {"red": 0}], "its word 0 is 'red'"),
        (lambda c: [[[1, 9]], *c[1:]], "not a list of known tokens"),
        (lambda c: [["a red bird"], *c[1:]], "not a list of known tokens"),
    ],
)
def test_an_invalid_captions_pickle_is_refused(spoil, message, tmp_path):
    path = write_captions_pickle(tmp_path / "captions.pickle", ["<end>", "red", "bird", "naïve"])
    assert read_vocabulary(path).words == ("<end>", "red", "bird", "naïve")
    path.write_bytes(pickle.dumps(spoil(pickle.loads(path.read_bytes())), 2))
    with pytest.raises(UserError, match=message):
        read_vocabulary(path)
