"""Conversion of captions to token ids, by the rules of AttnGAN's and DM-GAN's released data code."""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from dmgan.data.letters import FOLDED, LETTERS, RELEASED, write_letters
from dmgan.errors import UserError
from dmgan.storage.files import read_json, write_json
from dmgan.storage.plain_pickle import load_plain_pickle

END = 0  # id 0 is both the end of a caption and its padding
END_WORD = "<end>"


@cache
def _tokenizer():
    """Return the papers' tokenizer; nltk is imported here, because its import takes seconds and is rarely needed."""
    from nltk.tokenize import RegexpTokenizer

    return RegexpTokenizer(r"\w+")


def caption_to_words(caption: str, letters: str = RELEASED) -> list[str]:
    r"""Return the lower-case `\w+` words of a caption; letters: the rule for characters that are not ASCII.

    As in the released code, a pair of replacement characters, as in CUB's text files, is read as a space.
    """
    text = caption.replace("\ufffd\ufffd", " ")
    if letters == FOLDED:
        text = unicodedata.normalize("NFC", text)  # a letter and its mark as one character of a word
    found = _tokenizer().tokenize(text.lower())
    words = (write_letters(word, letters) for word in found)
    return [word for word in words if word]


class Vocabulary:
    """Words and their ids: id 0 ends and pads a caption, words have ids from 1."""

    def __init__(self, words: Sequence[str], letters: str = RELEASED):
        """Create a vocabulary; words: in the order of their ids, beginning with `<end>`; letters: see letters.py."""
        if letters not in LETTERS:
            raise UserError(f"vocabulary: letters {letters!r} is none of {', '.join(LETTERS)}; prepare the set again")
        if not words or not all(isinstance(word, str) for word in words):
            raise UserError("a vocabulary must be a list of words; prepare the data set again")
        if words[0] != END_WORD or len(set(words)) != len(words):
            raise UserError(f"a vocabulary must begin with {END_WORD!r} and hold every word once")
        self.words, self.letters = tuple(words), letters
        self._ids = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def of(cls, captions: Iterable[str], letters: str = RELEASED) -> "Vocabulary":
        """Return the vocabulary of all words of `captions`, in alphabetical order."""
        found = {word for caption in captions for word in caption_to_words(caption, letters)}
        return cls([END_WORD, *sorted(found)], letters)

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Read a vocabulary written by `write`."""
        content = read_json(path, "prepare the data set, or pretrain the encoders, again")
        if isinstance(content, dict) and set(content) == {"letters", "words"}:
            words, letters = content["words"], content["letters"]
        else:
            words, letters = content, RELEASED
        if not isinstance(words, list):
            raise UserError(f"{path}: is not a list of words; prepare the data set again")
        try:
            return cls(words, letters)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Write the words as a JSON list, position = id; with a rule other than the released code's, name the rule."""
        words = list(self.words)
        write_json(path, words if self.letters == RELEASED else {"letters": self.letters, "words": words})

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.words, self.letters) == (other.words, other.letters)

    def __hash__(self) -> int:
        return hash((self.words, self.letters))

    def encode(self, caption: str) -> np.ndarray:
        """Return the token ids (number of known words,) int32; unknown words are left out. May be empty."""
        words = caption_to_words(caption, self.letters)
        return np.array([self._ids[word] for word in words if word in self._ids], dtype=np.int32)

    def unknown(self, caption: str) -> list[str]:
        """Return the caption's words that are not in this vocabulary."""
        return [word for word in caption_to_words(caption, self.letters) if word not in self._ids]

    def encode_or_refuse(self, caption: str) -> np.ndarray:
        """Return the token ids of a user's caption; UserError if the caption holds no known word."""
        if not caption_to_words(caption, self.letters):
            raise UserError(f"caption {caption!r}: holds no word; write a sentence such as 'this bird has a red crown'")
        tokens = self.encode(caption)
        if not len(tokens):
            known = ", ".join(self.words[1:13])
            raise UserError(
                f"caption {caption!r}: the text encoder knows no word of this caption; "
                f"use words of its training captions ({known}, ... {len(self) - 1} in all)"
            )
        return tokens

    def decode(self, tokens: Iterable[int]) -> list[str]:
        """Return the words of token ids, without end and padding."""
        return [self.words[token] for token in tokens if token != END]


def fit_caption(tokens: np.ndarray, limit: int, random: np.random.Generator) -> np.ndarray:
    """Return at most `limit` tokens; a longer caption is cut to a random subset, in order (released get_caption)."""
    if len(tokens) <= limit:
        return tokens
    kept = np.sort(random.permutation(len(tokens))[:limit])
    return tokens[kept]


def pad_captions(captions: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens (B, T) int64, padded with 0 to the longest caption of the batch, and lengths (B,) int64."""
    lengths = np.array([len(tokens) for tokens in captions], dtype=np.int64)
    padded = np.full((len(captions), lengths.max()), END, dtype=np.int64)
    for row, tokens in zip(padded, captions, strict=True):
        row[: len(tokens)] = tokens
    return padded, lengths


def read_vocabulary(path: Path) -> Vocabulary:
    """Read captions.pickle ([training captions, test captions, ixtoword, wordtoix]) as a vocabulary.

    UserError if the file has another structure, if its two maps differ, or if a token is not in the maps.
    """
    content = load_plain_pickle(path)
    hint = "give the captions.pickle that was released with the encoders"
    kinds = [type(each) for each in content] if type(content) in (list, tuple) else []
    if kinds != [list, list, dict, dict]:
        raise UserError(f"{path}: is not a list [training captions, test captions, ixtoword, wordtoix]; {hint}")
    training, test, words, ids = content
    if set(words) != set(range(len(words))) or not all(type(word) is str for word in words.values()):
        raise UserError(f"{path}: its ixtoword does not number words from 0 without a gap; {hint}")
    if ids != {word: number for number, word in words.items()}:
        raise UserError(f"{path}: its wordtoix is not the inverse of its ixtoword; {hint}")
    if words.get(0) != END_WORD:
        raise UserError(f"{path}: its word 0 is {words.get(0)!r}, not {END_WORD!r}; {hint}")
    for caption in (caption for captions in (training, test) for caption in captions):
        if type(caption) is not list or not all(type(token) is int and 0 <= token < len(words) for token in caption):
            raise UserError(f"{path}: holds a caption that is not a list of known tokens; {hint}")
    return Vocabulary([words[number] for number in range(len(words))])
