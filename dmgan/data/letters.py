"""Rules for letters of captions that are not ASCII: dropped as in the released code, or folded to ASCII letters."""

import unicodedata

RELEASED, FOLDED = "released", "folded"
LETTERS = (RELEASED, FOLDED)
# Letters of the Latin alphabet that Unicode does not decompose.
_LATIN = str.maketrans({
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ħ": "h", "ı": "i", "ŋ": "n",
})  # fmt: skip


def write_letters(word: str, letters: str) -> str:
    """Return a lower-case word as the vocabulary writes it.

    `released` drops every character that is not ASCII ("grüner" becomes "grner"), as the released code of AttnGAN and
    DM-GAN does. `folded` drops the marks of Latin letters ("gruner") and keeps the letters of other alphabets.
    """
    if word.isascii():
        return word
    if letters == RELEASED:
        return word.encode("ascii", "ignore").decode()
    return "".join(map(_folded, word.translate(_LATIN)))


def _folded(letter: str) -> str:
    plain = "".join(each for each in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(each))
    return plain.lower() if plain.isascii() else letter
