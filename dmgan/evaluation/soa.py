"""SOA-C and SOA-I (semantic object accuracy, Hinz et al. 2022): does an image show the objects its caption names?

A caption names classes by the rules below, a detector says which classes an image shows. Recall alone counts: further
objects, their number and their colours do not.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from dmgan.errors import UserError
from dmgan.randomness import generator

IMAGES_PER_CAPTION = 3
PERSON_IMAGES = 30_000  # captions of "person", drawn at random, one image each
HALF = 40  # classes of Top40 and of Bot40


class ObjectWords(NamedTuple):
    """What names a class in a caption."""

    words: tuple[str, ...]  # each also with s or es behind it
    but_not: tuple[str, ...] = ()  # phrases that hold such a word and mean something else


# COCO's 80 classes in its order. The published label files are substring matches with word lists of their own; these
# words are what those files hold (their "person" file is not to be had), matched as whole words instead.
COCO_OBJECTS: dict[str, ObjectWords] = {
    "person": ObjectWords((
        "person", "people", "man", "men", "woman", "women", "boy", "girl", "child", "children", "kid", "baby", "babies",
        "guy", "lady", "ladies", "player",
    )),
    "bicycle": ObjectWords(("bicycle", "bike"), ("dirt bike", "motor bike")),
    "car": ObjectWords(("car", "auto"), ("train car", "cable car", "street car")),
    "motorcycle": ObjectWords(("motorcycle", "motorbike", "motor bike", "scooter", "dirt bike")),
    "airplane": ObjectWords(("airplane", "aeroplane", "plane", "jet", "aircraft"), ("jet ski",)),
    "bus": ObjectWords(("bus",), ("bus stop", "bus station")),
    "train": ObjectWords(("train",), ("train track", "train station")),
    "truck": ObjectWords(("truck", "firetruck")),
    "boat": ObjectWords(("boat", "ship", "sailboat", "motorboat", "rowboat")),
    "traffic light": ObjectWords(("traffic light",)),
    "fire hydrant": ObjectWords(("hydrant",)),
    "stop sign": ObjectWords(("stop sign",)),
    "parking meter": ObjectWords(("parking meter",)),
    "bench": ObjectWords(("bench",)),
    "bird": ObjectWords(("bird", "hummingbird")),
    "cat": ObjectWords(("cat", "kitten")),
    "dog": ObjectWords(("dog", "bulldog"), ("hot dog", "chili dog")),
    "horse": ObjectWords(("horse",)),
    "sheep": ObjectWords(("sheep",)),
    "cow": ObjectWords(("cow",)),
    "elephant": ObjectWords(("elephant",)),
    "bear": ObjectWords(("bear",), ("teddy bear",)),
    "zebra": ObjectWords(("zebra",)),
    "giraffe": ObjectWords(("giraffe",)),
    "backpack": ObjectWords(("backpack",)),
    "umbrella": ObjectWords(("umbrella",)),
    "handbag": ObjectWords(("handbag", "purse")),
    "tie": ObjectWords(("tie",)),
    "suitcase": ObjectWords(("suitcase", "suit case")),
    "frisbee": ObjectWords(("frisbee",)),
    "skis": ObjectWords(("skis",)),
    "snowboard": ObjectWords(("snowboard", "snow board", "snowboarder", "snowboarding")),
    "sports ball": ObjectWords(("ball",)),
    "kite": ObjectWords(("kite",)),
    "baseball bat": ObjectWords(("baseball bat",)),
    "baseball glove": ObjectWords(("baseball glove",)),
    "skateboard": ObjectWords(("skateboard", "skate board", "skateboarder", "skateboarding")),
    "surfboard": ObjectWords(("surfboard", "surf board", "surfer", "surfing")),
    "tennis racket": ObjectWords(("racket",)),
    "bottle": ObjectWords(("bottle",)),
    "wine glass": ObjectWords(("wine glass",)),
    "cup": ObjectWords(("cup",), ("cup cake",)),
    "fork": ObjectWords(("fork",)),
    "knife": ObjectWords(("knife", "knives", "pocketknife")),
    "spoon": ObjectWords(("spoon",)),
    "bowl": ObjectWords(("bowl",)),
    "banana": ObjectWords(("banana",)),
    "apple": ObjectWords(("apple",)),
    "sandwich": ObjectWords(("sandwich",)),
    "orange": ObjectWords(("oranges",)),  # the singular is mostly the colour
    "broccoli": ObjectWords(("broccoli",)),
    "carrot": ObjectWords(("carrot",)),
    "hot dog": ObjectWords(("hot dog", "hotdog", "chili dog")),
    "pizza": ObjectWords(("pizza",)),
    "donut": ObjectWords(("donut", "doughnut")),
    "cake": ObjectWords(("cake", "cheesecake"), ("cup cake", "pan cake")),
    "chair": ObjectWords(("chair",)),
    "couch": ObjectWords(("couch", "sofa")),
    "potted plant": ObjectWords(("potted",)),
    "bed": ObjectWords(("bed",)),
    "dining table": ObjectWords(("table", "desk")),
    "toilet": ObjectWords(("toilet",), ("toilet paper",)),
    "tv": ObjectWords(("tv", "television", "monitor", "screen")),
    "laptop": ObjectWords(("laptop",)),
    "mouse": ObjectWords(("computer mouse",)),
    "remote": ObjectWords(("remote",)),
    "keyboard": ObjectWords(("keyboard",)),
    "cell phone": ObjectWords(("cell phone", "cellphone", "mobile phone")),
    "microwave": ObjectWords(("microwave",)),
    "oven": ObjectWords(("oven",)),
    "toaster": ObjectWords(("toaster",)),
    "sink": ObjectWords(("sink",)),
    "refrigerator": ObjectWords(("refrigerator", "fridge")),
    "book": ObjectWords(("book", "notebook")),
    "clock": ObjectWords(("clock",)),
    "vase": ObjectWords(("vase",)),
    "scissors": ObjectWords(("scissors", "scissor")),
    "teddy bear": ObjectWords(("teddy", "teddybear")),
    "hair drier": ObjectWords(("hair dryer", "hair drier", "hairdryer", "hairdrier")),
    "toothbrush": ObjectWords(("toothbrush", "tooth brush")),
}  # fmt: skip
COCO_CLASSES = tuple(COCO_OBJECTS)
RULES = ("words", "released")


@cache
def _pattern(phrases: tuple[str, ...]) -> re.Pattern:
    """The phrases as whole words, in the singular and in the plural."""
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})(?:s|es)?\b")


def named_coco_classes(caption: str, rule: str = "words") -> tuple[int, ...]:
    """Numbers of the COCO classes that a caption names, ascending.

    words: whole words, without the phrases that mean something else ("hot dog" names no dog). released: the same words
    anywhere in the text, as the published label files were made, so that "woven" names an oven.
    """
    if rule not in RULES:
        raise UserError(f"SOA rule {rule!r}: must be {' or '.join(RULES)}")
    text = " ".join(re.findall(r"[a-z]+", caption.lower()))
    if rule == "released":
        return tuple(n for n, each in enumerate(COCO_OBJECTS.values()) if any(word in text for word in each.words))
    return tuple(n for n, each in enumerate(COCO_OBJECTS.values()) if _names(each, text))


def _names(each: ObjectWords, text: str) -> bool:
    if each.but_not:
        text = _pattern(each.but_not).sub(" ", text)
    return _pattern(each.words).search(text) is not None


# Which images are made.


class SoaImage(NamedTuple):
    """One image to make: of which class it counts, and under which caption."""

    class_number: int
    image: int  # whose caption it is
    caption: int


def plan_coco_images(
    captions: Mapping[tuple[int, int], str], seed: int, rule: str = "words", person_images: int = PERSON_IMAGES
) -> list[SoaImage]:
    """Every caption of a class three times, but of `person` so many captions drawn without return, once each.

    captions: text by (image, caption). Images are ordered by class, then as the captions are.
    """
    by_class: list[list[tuple[int, int]]] = [[] for _ in COCO_CLASSES]
    for key, text in captions.items():
        for number in named_coco_classes(text, rule):
            by_class[number].append(key)
    person = COCO_CLASSES.index("person")
    if len(by_class[person]) > person_images:
        drawn = generator(seed, "SOA captions of person").permutation(len(by_class[person]))[:person_images]
        by_class[person] = [by_class[person][i] for i in np.sort(drawn)]
    return [
        SoaImage(number, *key)
        for number, keys in enumerate(by_class)
        for key in keys
        for _ in range(1 if number == person else IMAGES_PER_CAPTION)
    ]


# What an image shows.


class Detector(Protocol):
    """Says which classes images show."""

    name: str  # as a metric's key has it: SOA-C(NAME)
    protocol: dict[str, object]  # what must agree between two numbers of one column

    def __call__(self, images: list[Tensor]) -> list[set[int]]:
        """Numbers of the classes in each image (3, h, w), 0 to 1."""


# Aggregation.


class Accuracies(NamedTuple):
    """SOA of one image set, shares from 0 to 1."""

    by_class: np.ndarray  # (C,) r_c: share of the images of class c that show it; 0 for a class without images
    images: np.ndarray  # (C,) |I_c|
    soa_c: float
    soa_i: float

    def halves(self) -> tuple[float, float]:
        """Mean r_c of the 40 classes with most images and of the 40 with fewest (fewer where there are fewer)."""
        order = np.argsort(-self.images, kind="stable")
        return float(self.by_class[order[:HALF]].mean()), float(self.by_class[order[-HALF:]].mean())


# SOA-C = (1 / |C|) sum_c r_c;  SOA-I = sum_c |I_c| r_c / sum_c |I_c|
def semantic_object_accuracy(class_of: np.ndarray, shown: np.ndarray, num_classes: int) -> Accuracies:
    """SOA of N pairs of an image and a class: class_of (N,) numbers, shown (N,) whether the image shows its class.

    A class without images counts as 0 in SOA-C, as in the release. UserError without any image.
    """
    if not len(class_of):
        raise UserError("SOA: no caption names a class, so there is nothing to look for; give captions of this set")
    images = np.bincount(class_of, minlength=num_classes)
    hits = np.bincount(class_of, weights=shown, minlength=num_classes)
    by_class = np.divide(hits, images, out=np.zeros(num_classes), where=images > 0)
    return Accuracies(by_class, images, float(by_class.mean()), float(hits.sum() / images.sum()))
