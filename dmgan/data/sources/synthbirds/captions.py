"""Captions of drawn birds in the style of CUB's captions, and a parser that reads their attributes."""

import re
from dataclasses import dataclass

import numpy as np

from dmgan.data.sources.synthbirds.attributes import COLOURS, LARGE_PARTS, pick

MIN_WORDS, MAX_WORDS = 8, 22
_FACT_COUNTS = (3, 4, 4, 4, 5, 5)  # numbers of attributes in a caption; one is drawn uniformly

_NOUNS: dict[str, tuple[str, ...]] = {
    "crown": ("crown", "crown", "head", "cap"),
    "throat": ("throat",),
    "breast": ("breast", "breast", "chest"),
    "belly": ("belly", "belly", "abdomen", "underside"),
    "back": ("back",),
    "wing": ("wings",),
    "tail": ("tail",),
    "bill": ("bill", "beak"),
    "legs": ("legs", "feet", "tarsus"),
    "eye_ring": ("eye ring", "eyering"),
    "wing_mark": ("wingbars",),
}
_PLURAL = {"wings", "legs", "feet", "wingbars"}
_COLOUR_WORDS = {colour: (colour,) for colour in COLOURS} | {"grey": ("grey", "gray")}
_EMPHASIS = {"red": "bright", "orange": "bright", "yellow": "bright", "green": "bright", "pink": "bright",
             "blue": "deep", "purple": "deep", "white": "pure", "black": "jet"}  # fmt: skip
_SIZES = {"small": ("small", "small", "little", "tiny"), "medium": ("medium sized",), "large": ("large", "big")}
_SHAPES = {
    "cone": (("short",), ("short", "pointed"), ("short", "thick"), ("conical",)),
    "medium": (("medium sized",), ("medium length",), ("medium sized", "straight")),
    "needle": (("long",), ("long", "thin"), ("long", "pointed"), ("thin",)),
    "hooked": (("hooked",), ("curved",), ("thick", "curved")),
}
_PATTERN_WORDS = {"striped": ("striped", "streaked", "barred"), "spotted": ("spotted", "speckled", "dotted")}
_MARK_NOUNS = {"striped": ("stripes", "streaks", "bars"), "spotted": ("spots", "dots", "speckles")}

# Attribute values of words, for parsing captions; words without an attribute value ("thick") are left out.
_COLOUR_OF = {word: colour for colour, words in _COLOUR_WORDS.items() for word in words}
_SIZE_OF = {word.split()[0]: size for size, words in _SIZES.items() for word in words}
_SHAPE_OF = {"short": "cone", "conical": "cone", "medium": "medium", "long": "needle", "thin": "needle",
             "hooked": "hooked", "curved": "hooked"}  # fmt: skip
_PATTERN_OF = {word: pattern for pattern, words in _PATTERN_WORDS.items() for word in words}
_MARKS_OF = {word: pattern for pattern, words in _MARK_NOUNS.items() for word in words}
_PART_OF = {noun: part for part, nouns in _NOUNS.items() for noun in nouns if " " not in noun}
_NEW_PHRASE = {"a", "an", "the", "this", "its", "it", "has", "features", "with", "whose"}


def write_captions(attributes: dict[str, str], count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Return `count` different captions that are true of a bird with these attributes.

    A caption names three to five attributes, at least three of them colours of large parts, in MIN_WORDS to MAX_WORDS
    words. The first n captions do not depend on `count`.
    """
    captions: dict[str, str] = {}
    while len(captions) < count:
        text = _write_sentence(attributes, rng)
        if MIN_WORDS <= len(text.split()) <= MAX_WORDS and text not in captions:
            captions[text] = _punctuated(text, rng)
    return tuple(captions.values())


def named_attributes(caption: str) -> dict[str, str]:
    """Return the attributes that a caption of this grammar names, as {name: value}; unknown words are skipped."""
    return _Reader().read(caption)


# Parsing


class _Reader:
    """Parser of a caption, from left to right; keeps the words that the next noun or predicate refers to."""

    def __init__(self):
        self.named: dict[str, str] = {}
        self.adjectives: list[str] = []  # adjectives of the next noun
        self.shared: list[str] = []  # adjectives of the noun before an "and": "a red crown and breast"
        self.subject: list[str] = []  # nouns that the next "is" or "are" refers to
        self.predicate = False
        self.patterned = ""  # part that "with white stripes" refers to

    def read(self, caption: str) -> dict[str, str]:
        words = re.findall(r"[a-z]+", caption.lower().replace("eye ring", "eyering"))
        for before, word in zip(["", *words], words):
            if word in ("is", "are"):
                self.predicate = True
            elif word in _NEW_PHRASE:
                self.adjectives, self.shared, self.predicate = [], [], False
            elif word == "bird":
                self._read_bird(after_of="of" in words[: words.index("bird")])
            elif word in _MARKS_OF:
                self._read_marks(word)
            elif word in _PART_OF:
                self._read_part(_PART_OF[word], joined=before == "and" or before in _PART_OF)
            elif self.predicate:
                for noun in self.subject:
                    self._name(noun, word)
            elif word != "and":
                self.adjectives.append(word)
        return self.named

    def _read_bird(self, after_of: bool):
        for word in self.adjectives:
            self._name("bird", word)
        self.adjectives = []
        if not after_of:  # the subject of "the crown of this small bird is red" is the crown
            self.subject = ["bird"]

    def _read_part(self, part: str, joined: bool):
        self.predicate = False
        adjectives = self.adjectives or (self.shared if joined else [])
        for word in adjectives:
            self._name(part, word)
        self.subject = [*self.subject, part] if joined and not adjectives else [part]
        self.adjectives, self.shared, self.patterned = [], adjectives, part
        if part == "wing_mark":
            self.named["wing_pattern"] = "striped"

    def _read_marks(self, word: str):
        for adjective in self.adjectives:
            if adjective in _COLOUR_OF:
                self.named[f"{self.patterned}_mark"] = _COLOUR_OF[adjective]
        self.named[f"{self.patterned}_pattern"] = _MARKS_OF[word]
        self.adjectives, self.shared = [], []

    def _name(self, noun: str, word: str):
        if word in _COLOUR_OF:
            self.named["body" if noun == "bird" else noun] = _COLOUR_OF[word]
        elif noun == "bird" and word in _SIZE_OF:
            self.named["size"] = _SIZE_OF[word]
        elif noun == "bill" and word in _SHAPE_OF:
            self.named["bill_shape"] = _SHAPE_OF[word]
        elif noun in ("wing", "breast") and word in _PATTERN_OF:
            self.named[f"{noun}_pattern"] = _PATTERN_OF[word]


# Choice of phrases


@dataclass(frozen=True)
class _Phrase:
    """A phrase about a bird: "a red crown and breast", or as a clause, "crown and breast are red"."""

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    marks: str = ""  # " with white stripes"

    @property
    def subject(self) -> str:
        return _listed(self.nouns)

    @property
    def plural(self) -> bool:
        return len(self.nouns) > 1 or self.nouns[0] in _PLURAL

    @property
    def predicate(self) -> str:
        return f"{'are' if self.plural else 'is'} {_listed(self.adjectives)}{self.marks}"

    def as_noun(self) -> str:
        text = " ".join([*self.adjectives, self.subject]) + self.marks
        return text if self.nouns[0] in _PLURAL else _with_article(text)

    def as_clause(self) -> str:
        return f"{self.subject} {self.predicate}"

    def as_relative(self) -> str:
        """Return the noun with a relative clause; several nouns get no clause, which would be ambiguous."""
        if len(self.nouns) > 1:
            return self.as_noun()
        subject = self.subject if self.plural else _with_article(self.subject)
        return f"{subject} that {self.predicate}"


def _write_sentence(attributes: dict[str, str], rng: np.random.Generator) -> str:
    budget = pick(rng, _FACT_COUNTS)
    parts = _choose_large_parts(attributes, min(budget, 3 + int(rng.random() < 0.3)), rng)
    budget -= len(parts)
    adjectives, budget = _describe_bird(attributes, parts, budget, rng)
    phrases = []
    for group in _grouped_by_colour(attributes, parts, rng):
        phrase, budget = _describe_parts(attributes, group, budget, rng)
        phrases.append(phrase)
    phrases += _describe_details(attributes, parts, budget, rng)
    phrases = _shuffled(phrases, rng)
    frames = [frame for frame, least in _FRAMES if len(phrases) >= least]
    return pick(rng, frames)(adjectives, phrases, rng)


def _choose_large_parts(attributes, count: int, rng) -> list[str]:
    parts = _shuffled(list(LARGE_PARTS), rng)
    if rng.random() < 0.25:  # prefer parts of one colour, which one phrase can name
        colour = attributes[parts[0]]
        parts.sort(key=lambda part: attributes[part] != colour)
    chosen, others = parts[:count], parts[count:]
    if len({attributes[part] for part in chosen}) == 1:  # prefer a second colour
        chosen[-1] = next((part for part in others if attributes[part] != attributes[chosen[0]]), chosen[-1])
    return chosen


def _grouped_by_colour(attributes, parts: list[str], rng) -> list[list[str]]:
    groups: list[list[str]] = []
    for part in parts:
        same = [group for group in groups if attributes[group[0]] == attributes[part]]
        if same and rng.random() < 0.85:
            same[0].append(part)
        else:
            groups.append([part])
    return groups


def _describe_bird(attributes, parts: list[str], budget: int, rng) -> tuple[tuple[str, ...], int]:
    """Return adjectives of the whole bird, and the remaining number of attributes to name."""
    adjectives = []
    if budget and rng.random() < 0.35:
        adjectives.append(pick(rng, _SIZES[attributes["size"]]))
        budget -= 1
    body = attributes["body"]
    # Avoid repetition such as "a blue bird with a blue back".
    says_more = body != "mixed" and any(attributes[part] != body for part in parts)
    if budget and says_more and rng.random() < 0.5:
        adjectives.append(pick(rng, _COLOUR_WORDS[body]))
        budget -= 1
    return tuple(adjectives), budget


def _describe_parts(attributes, parts: list[str], budget: int, rng) -> tuple[_Phrase, int]:
    """Return a phrase for parts of one colour, and the remaining budget; a single part may be given its pattern."""
    colour = _colour_word(attributes[parts[0]], rng)
    nouns = tuple(pick(rng, _NOUNS[part]) for part in parts)
    pattern = attributes.get(f"{parts[0]}_pattern", "solid")
    if len(parts) == 1 and pattern != "solid" and budget >= 2 and rng.random() < 0.7:
        mark = pick(rng, _COLOUR_WORDS[attributes[f"{parts[0]}_mark"]])
        return _Phrase(nouns, (colour,), f" with {mark} {pick(rng, _MARK_NOUNS[pattern])}"), budget - 2
    return _Phrase(nouns, (colour,)), budget


def _describe_details(attributes, parts: list[str], budget: int, rng) -> list[_Phrase]:
    """Return phrases on bill, legs, eye ring and patterns of unnamed parts, within the remaining budget."""
    details = ["bill", "legs"] + ["eye_ring"] * (attributes["eye_ring"] != "none")
    details += [part for part in ("wing", "breast") if part not in parts and attributes[f"{part}_pattern"] != "solid"]
    details = _shuffled(details, rng)
    if rng.random() < 0.3:  # the bill is the most frequent detail
        details.sort(key=lambda name: name != "bill")
    phrases = []
    for name in details:
        if budget > 0:
            phrase, cost = _describe_detail(attributes, name, budget, rng)
            phrases.append(phrase)
            budget -= cost
    return phrases


def _describe_detail(attributes, name: str, budget: int, rng) -> tuple[_Phrase, int]:
    """Return a phrase and the number of attributes that it names, at most `budget`."""
    noun = pick(rng, _NOUNS[name])
    if name == "bill":
        shape, colour = pick(rng, _SHAPES[attributes["bill_shape"]]), _colour_word(attributes["bill"], rng)
        if budget >= 2 and rng.random() < 0.6:
            return _Phrase((noun,), (*shape, colour)), 2
        return _Phrase((noun,), shape if rng.random() < 0.5 else (colour,)), 1
    if name in ("wing", "breast"):
        pattern = attributes[f"{name}_pattern"]
        if name == "wing" and pattern == "striped" and budget >= 2:
            return _Phrase(("wingbars",), (pick(rng, _COLOUR_WORDS[attributes["wing_mark"]]),)), 2
        return _Phrase((noun,), (pick(rng, _PATTERN_WORDS[pattern]),)), 1
    return _Phrase((noun,), (_colour_word(attributes[name], rng),)), 1


def _colour_word(colour: str, rng) -> str:
    word = pick(rng, _COLOUR_WORDS[colour])
    return f"{_EMPHASIS[colour]} {word}" if colour in _EMPHASIS and rng.random() < 0.12 else word


# Sentence frames: (adjectives of the bird, phrases, rng) -> text


def _frame_has(adjectives, phrases, rng):
    return f"{pick(rng, ('this', 'the'))} {_bird(adjectives)} {_has(rng)} {_nouns(phrases, rng)}"


def _frame_with(adjectives, phrases, rng):
    return f"{_with_article(_bird(adjectives))} {pick(rng, ('with', 'with', 'that has'))} {_nouns(phrases, rng)}"


def _frame_this_is(adjectives, phrases, rng):
    return f"{pick(rng, ('this', 'here'))} is {_with_article(_bird(adjectives))} with {_nouns(phrases, rng)}"


def _frame_is(adjectives, phrases, rng):
    if not adjectives:
        return _frame_has(adjectives, phrases, rng)
    return f"this bird is {_listed(adjectives)} with {_nouns(phrases, rng)}"


def _frame_last_clause(adjectives, phrases, rng):
    link = pick(rng, (", and its", ", and its", " while its"))
    return f"the {_bird(adjectives)} has {_nouns(phrases[:-1], rng)}{link} {phrases[-1].as_clause()}"


def _frame_relative(adjectives, phrases, rng):
    return f"this {_bird(adjectives)} has {phrases[0].as_relative()} and has {_nouns(phrases[1:], rng)}"


def _frame_of(adjectives, phrases, rng):
    first, rest = phrases[0], _nouns(phrases[1:], rng)
    has = pick(rng, ("has", "has", "also has"))
    return f"the {first.subject} of this {_bird(adjectives)} {first.predicate}, and it {has} {rest}"


def _frame_whose(adjectives, phrases, rng):
    return f"{_with_article(_bird(adjectives))} whose {phrases[0].as_clause()}, with {_nouns(phrases[1:], rng)}"


def _frame_clauses(adjectives, phrases, rng):
    clauses = f"its {phrases[-2].as_clause()} and its {phrases[-1].as_clause()}"
    return f"this {_bird(adjectives)} has {_nouns(phrases[:-2], rng)}, {clauses}"


_FRAMES = (  # (frame, minimum number of phrases)
    (_frame_has, 1),
    (_frame_with, 1),
    (_frame_this_is, 1),
    (_frame_is, 1),
    (_frame_last_clause, 2),
    (_frame_relative, 2),
    (_frame_of, 2),
    (_frame_whose, 2),
    (_frame_clauses, 3),
)


def _bird(adjectives) -> str:
    return " ".join([*adjectives, "bird"])


def _has(rng) -> str:
    return pick(rng, ("has", "has", "has", "has", "features"))


def _nouns(phrases, rng) -> str:
    return _listed([phrase.as_noun() for phrase in phrases], oxford=rng.random() < 0.5)


def _listed(items, oxford=False) -> str:
    if len(items) < 3:
        return " and ".join(items)
    return ", ".join(items[:-1]) + (", and " if oxford else " and ") + items[-1]


def _with_article(text: str) -> str:
    return ("an " if text[0] in "aeiou" else "a ") + text


def _punctuated(text: str, rng) -> str:
    text = text[0].upper() + text[1:] if rng.random() < 0.3 else text
    return text + "." if rng.random() < 0.7 else text


def _shuffled(items: list, rng) -> list:
    order = np.argsort(rng.integers(2**62, size=len(items)), kind="stable")
    return [items[i] for i in order]
