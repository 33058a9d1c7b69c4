"""COCO classes that captions name, and the images that semantic object accuracy (SOA) needs.

The published label files of SOA match substrings with their own word lists. This module uses their words and a few
additional words, such as television, knives and aeroplane, and matches whole words. The published "person" file is
not available: this project chose the words of that class.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from dmgan.runtime.randomness import generator

IMAGES_PER_CAPTION = 3
PERSON_IMAGES = 30_000  # captions of "person", drawn at random, one image each


class ObjectWords(NamedTuple):
    """Words that name a class in a caption."""

    words: tuple[str, ...]  # singular forms; plurals in s and es match too
    but_not: tuple[str, ...] = ()  # phrases that contain one of the words but mean something else


# COCO's 80 classes in its order.
COCO_OBJECTS: dict[str, ObjectWords] = {
    "person": ObjectWords((
        "person", "people", "man", "men", "woman", "women", "boy", "girl", "child", "children", "kid", "baby", "babies",
        "guy", "lady", "ladies", "player",
    ), ("baby elephant", "baby bear", "baby giraffe", "baby zebra", "baby cow", "baby sheep", "baby horse")),
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
    "bear": ObjectWords(("bear",), ("teddy bear", "stuffed bear")),
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
    "bowl": ObjectWords(("bowl",), ("toilet bowl",)),
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
    "bed": ObjectWords(("bed",), ("flower bed", "truck bed", "bed of flowers")),
    "dining table": ObjectWords(("table", "desk")),
    "toilet": ObjectWords(("toilet",), ("toilet paper",)),
    "tv": ObjectWords(("tv", "television", "monitor", "screen")),
    "laptop": ObjectWords(("laptop",)),
    "mouse": ObjectWords(("computer mouse",)),
    "remote": ObjectWords(("remote",)),
    "keyboard": ObjectWords(("keyboard",)),
    "cell phone": ObjectWords(("cell phone", "cellphone", "mobile phone")),
    "microwave": ObjectWords(("microwave",)),
    "oven": ObjectWords(("oven",), ("microwave oven",)),
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


@cache
def _pattern(phrases: tuple[str, ...]) -> re.Pattern:
    """Return a pattern that matches the phrases as whole words, in singular and plural."""
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})(?:s|es)?\b")


def named_coco_classes(caption: str) -> tuple[int, ...]:
    """Return the numbers of the COCO classes that a caption names, ascending.

    Only whole words match, and phrases with another meaning are excluded: "hot dog" does not name a dog, and "woven"
    does not name an oven.
    """
    text = " ".join(re.findall(r"[a-z]+", caption.lower()))
    return tuple(n for n, each in enumerate(COCO_OBJECTS.values()) if _names(each, text))


def _names(each: ObjectWords, text: str) -> bool:
    if each.but_not:
        text = _pattern(each.but_not).sub(" ", text)
    return _pattern(each.words).search(text) is not None


# Plan of the generated images.


class SoaImage(NamedTuple):
    """An image to generate: its COCO class and its caption."""

    class_number: int
    image: int  # index of the captioned image in the data set
    caption: int  # number of the caption among the image's captions


def plan_coco_images(
    captions: Mapping[tuple[int, int], str], seed: int, person_images: int = PERSON_IMAGES
) -> list[SoaImage]:
    """Return three images per caption that names a class; for `person`, one image for each of 30,000 drawn captions.

    captions: text by (image, caption). Images are ordered by class, then in the order of `captions`.
    """
    by_class: list[list[tuple[int, int]]] = [[] for _ in COCO_CLASSES]
    for key, text in captions.items():
        for number in named_coco_classes(text):
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
